"""Three short songs in a folder, and the evaluation as the command line runs it."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from upscale.audio import write
from upscale.evaluation.results import read_csv
from upscale.evaluation.task import evaluate

RATE = 44_100
CONFIG = Path(__file__).parents[2] / "conf" / "evaluate"


def song(seed: int, seconds: float = 1.0, channels: int = 2) -> np.ndarray:
    """Noise and partials that fade, up to 20 kHz, with something of its own in each channel."""
    random = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    partials = sum(np.sin(2 * np.pi * (110 + 40 * seed) * n * time + n) / n for n in range(1, 60))
    wav = 0.1 * partials + 0.02 * random.standard_normal((channels, len(time)))
    return (wav * (0.6 + 0.4 * np.cos(2 * np.pi * 3 * time))).astype(np.float32)


@pytest.fixture(scope="session")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("songs")
    for seed, name in enumerate(["one", "album/two", "album/three (live) [x=1]"], start=1):
        path = folder / f"{name}.wav"
        path.parent.mkdir(exist_ok=True)
        write(path, song(seed), RATE, subtype="FLOAT")
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Any]:
    """`run(data=..., system=...)` -> the rows, the JSON table and the folder of one evaluation; no pictures."""
    count = 0

    def call(**settings: Any) -> Any:
        nonlocal count
        count += 1
        output = tmp_path / f"run{count}"
        with initialize_config_dir(str(CONFIG), version_base="1.3"):
            config = compose("evaluate")
        config.merge_with({"bitrates": [64, 128], "pictures": False, "json": str(output / "table.json")})
        config.merge_with({"output": str(output), **settings})
        evaluate(config)
        table = json.loads((output / "table.json").read_text())
        return SimpleNamespace(rows=read_csv(output / "results.csv"), table=table, folder=output)

    return call
