"""Folders laid out as people have them, filled with a second of noise each."""

from pathlib import Path

import numpy as np
import pytest
import soundfile


@pytest.fixture
def touch():
    """touch(path): an audio file there, different for every name."""

    def make(path: Path, seconds: float = 0.2, rate: int = 44_100, channels: int = 2) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(sum(map(ord, path.as_posix()[-40:])))
        soundfile.write(path, 0.1 * rng.standard_normal((round(seconds * rate), channels)), rate)
        return path

    return make
