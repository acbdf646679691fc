"""Reading files: their headers, all their samples, or one block after the other.

A file is the same to the sample whether it is read whole, from an offset, or in blocks: all three walk one stream.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from upscale.audio.sources import AudioInfo, opened
from upscale.errors import UserError

MAX_VALUES = 2**29  # float32 values that `read` holds: 2 GiB, more than 100 minutes of stereo at 44.1 kHz


def probe(path: str | Path) -> AudioInfo:
    """Look at a file without decoding it. Raises `UserError` where it is no audio file."""
    with opened(Path(path)) as source:
        return source.info


def read(path: str | Path, start: int = 0, num_samples: int | None = None) -> tuple[np.ndarray, int]:
    """The samples `start : start + num_samples` (fewer where the file ends), float32 `[C, T]`, and the sample rate.

    MP3 comes without encoder delay and padding where the file tells them (a LAME or Xing header), as from FFmpeg.
    Raises `UserError` for a missing, damaged or foreign file, and for one too long to be held (see `blocks`).
    """
    with opened(Path(path)) as source:
        parts, held = [np.zeros((source.info.channels, 0), dtype=np.float32)], 0
        for part in source.parts(start, num_samples):
            held += part.size
            if held > MAX_VALUES:
                raise UserError(f"{path}: too long to be held in memory at once; read it in parts or cut it")
            parts.append(part)
        return np.concatenate(parts, axis=1), source.info.sample_rate


def blocks(path: str | Path, block_samples: int) -> Iterator[np.ndarray]:
    """The samples of `read`, in blocks `[C, block_samples]` (the last one shorter), at constant memory."""
    with opened(Path(path)) as source:
        held: list[np.ndarray] = []
        num_held = 0
        for part in source.parts(0, None):
            held.append(part)
            num_held += part.shape[1]
            if num_held < block_samples:
                continue
            joined = np.concatenate(held, axis=1)
            num_whole = num_held - num_held % block_samples
            for start in range(0, num_whole, block_samples):
                yield joined[:, start : start + block_samples]
            held, num_held = [joined[:, num_whole:]], num_held - num_whole
        if num_held:
            yield np.concatenate(held, axis=1)
