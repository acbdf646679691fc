"""How a model was trained: the runs of `train.py` behind a checkpoint, the first one first."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

CONFIG, COMMAND, RESULT = "config.yaml", "command.txt", "result.json"


def training_of(model: Path, stored: Mapping[str, Any]) -> dict[str, Any]:
    """For `model.yaml`: the runs behind a checkpoint, or of a bundle what its own `model.yaml` says (`stored`)."""
    if model.is_dir():
        return dict(stored.get("training", {}))
    return {"runs": list(runs_behind(model, seen=set()))}


def runs_behind(model: Path, seen: set[Path]) -> Iterator[dict[str, Any]]:
    """The run that wrote a checkpoint, after the runs that it started from; each run once."""
    folder = run_folder(model)
    if folder in seen:
        return
    seen.add(folder)
    if not (folder / CONFIG).is_file():
        yield {"name": model.name, "started_from": []}
        return
    config = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
    started_from = starting_points(config)
    for path in started_from:
        yield from runs_behind(path, seen)
    result = json.loads((folder / RESULT).read_text(encoding="utf-8")) if (folder / RESULT).is_file() else {}
    yield {
        "name": config.get("name", folder.name),
        "command": command(folder),
        "started_from": [run_folder(path).name for path in started_from],
        "steps": result.get("steps"),
        "seconds": result.get("seconds"),
    }


def run_folder(model: Path) -> Path:
    """RUN of RUN/checkpoints/NAME.ckpt; a bundle's own folder."""
    model = model.resolve()
    return model.parent.parent if model.is_file() else model


def starting_points(config: Mapping[str, Any]) -> list[Path]:
    """The checkpoints and bundles that a run took weights from: `ckpt=`, and `init.PART=` for each part."""
    given = [config.get("ckpt"), *values(config.get("init") or {})]
    return list(dict.fromkeys(Path(path) for path in given if path))


def values(tree: Mapping[str, Any]) -> Iterator[Any]:
    """`init.level.frame_network=PATH` is a mapping in a mapping."""
    for value in tree.values():
        yield from values(value) if isinstance(value, Mapping) else [value]


def command(folder: Path) -> str:
    """The command line that started the run."""
    path = folder / COMMAND
    return path.read_text(encoding="utf-8").strip() if path.is_file() else "python train.py ..."
