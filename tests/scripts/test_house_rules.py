"""One trainer, one place for metrics, few scripts: what the folders promise."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
METRICS = {"sdr", "si_sdr", "lsd", "visqol", "level_difference", "multi_resolution_stft"}


def sources(*folders: str) -> Iterator[tuple[Path, ast.Module]]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT), ast.parse(path.read_text(encoding="utf-8"))


def test_nothing_outside_the_library_trains() -> None:
    """Benchmarks measure training steps; nothing else in scripts/ has a backward pass or an optimizer."""
    for path, tree in sources("scripts"):
        if "benchmarks" in path.parts:
            continue
        names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not names & {"backward", "optim"}, path


def test_metrics_are_defined_in_upscale_metrics_alone() -> None:
    for path, tree in sources("scripts", "upscale"):
        if path.is_relative_to("upscale/metrics"):
            continue
        defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert not defined & METRICS, path


def test_scripts_and_models_are_ten_files_at_most() -> None:
    for folder in ("scripts", "upscale/models"):
        assert len(list((ROOT / folder).glob("*.py"))) <= 10, folder


def test_no_path_is_bent_to_import_from() -> None:
    bent = "sys.path" + "."
    for path, _ in sources("scripts", "tests", "upscale"):
        assert bent not in (ROOT / path).read_text(encoding="utf-8"), path
