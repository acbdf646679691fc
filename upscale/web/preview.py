"""Before and after as one file of interleaved 16-bit samples, so that the player gets both sides at once, in step.

    frame n:  before[0] .. before[C-1]  after[0] .. after[C-1]      little-endian, at the file's own sample rate

A byte range of it is a stretch of time. The browser decodes nothing, because browsers' decoders trim differently.
"""

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import numpy as np

from upscale import audio

FULL_SCALE = 2**15
BLOCK_SECONDS = 5.0


def write_preview(path: Path, before: Path, after: Path) -> tuple[int, float]:
    """Write the preview of two audio files of equal length and channels.

    Returns the number of samples and by how many dB `after` is louder (RMS; 0 where one side is silent).
    """
    info = audio.probe(after)
    block_samples = round(BLOCK_SECONDS * info.sample_rate)
    pairs = zip_longest(audio.blocks(before, block_samples), audio.blocks(after, block_samples))
    num_samples, energies = 0, np.zeros(2)
    with path.open("wb") as file:
        for pair in _checked(pairs):
            frames = np.concatenate(pair, axis=0).T
            steps = np.clip(np.rint(frames * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1)
            file.write(steps.astype("<i2").tobytes())
            num_samples += len(frames)
            energies += [np.sum(side.astype(np.float64) ** 2) for side in pair]
    louder_db = 10 * np.log10(energies[1] / energies[0]) if energies.min() > 0 else 0.0
    return num_samples, float(louder_db)


def open_preview(path: Path, channels: int) -> np.ndarray:
    """The frames as int16 `[T, 2 * C]`, read from disk where they are used."""
    return np.memmap(path, dtype="<i2", mode="r").reshape(-1, 2 * channels)


def read_preview(path: Path, channels: int, start: int, num_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Before and after, float32 `[C, T]`, from sample `start` on."""
    frames = open_preview(path, channels)[start : start + num_samples]
    both = frames.T.astype(np.float32) / FULL_SCALE
    return both[:channels], both[channels:]


def _checked(pairs: Iterator[tuple[np.ndarray, np.ndarray]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for before, after in pairs:
        assert before is not None and after is not None and before.shape == after.shape, "restoring changed the shape"
        yield before, after
