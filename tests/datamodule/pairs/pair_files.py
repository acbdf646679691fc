"""Writing the files of a pair."""

from pathlib import Path

import numpy as np

from upscale import audio

SAMPLE_RATE = 44_100


def store(path: Path, wav: np.ndarray, sample_rate: int = SAMPLE_RATE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    audio.write(path, wav, sample_rate, subtype="PCM_16")
