"""Writing WAV and FLAC, atomically: a file is there whole or not at all."""

import logging
import os
import tempfile
from pathlib import Path
from types import TracebackType

import numpy as np
import soundfile

from upscale.errors import UserError

DEFAULT_SUBTYPES = {".wav": "FLOAT", ".flac": "PCM_24"}
SUBTYPES = {".wav": ("PCM_16", "PCM_24", "FLOAT"), ".flac": ("PCM_16", "PCM_24")}
FULL_SCALE = {"PCM_16": 2**15, "PCM_24": 2**23}

logger = logging.getLogger(__name__)


def write(path: str | Path, wav: np.ndarray, sample_rate: int, subtype: str | None = None, seed: int = 0) -> None:
    """Write `wav` `[C, T]` as WAV or FLAC, by the suffix of `path`. See `Writer`."""
    with Writer(path, sample_rate, wav.shape[0], subtype=subtype, seed=seed) as writer:
        writer.write(wav)


class Writer:
    """Writes blocks `[C, T]` to a WAV or FLAC file that appears under its name when the `with` block ends well.

    `subtype` is `PCM_16`, `PCM_24` or (WAV only) `FLOAT`; left out, WAV gets `FLOAT` and FLAC `PCM_24`.
    At 16 bit, triangular dither of ±1 step is added, the same for the same `seed` however the blocks are cut.
    Integer formats end at full scale: samples beyond it are clipped, counted in `num_clipped`, and warned about;
    `FLOAT` keeps them.
    """

    def __init__(
        self, path: str | Path, sample_rate: int, channels: int, subtype: str | None = None, seed: int = 0
    ) -> None:
        self.path = Path(path)
        suffix = self.path.suffix.lower()
        if suffix not in SUBTYPES:
            raise UserError(f"{self.path}: can write .wav and .flac, not '{suffix}'")
        self.subtype = subtype or DEFAULT_SUBTYPES[suffix]
        if self.subtype not in SUBTYPES[suffix]:
            raise UserError(f"{self.path}: a {suffix} file cannot be {self.subtype}; use one of {SUBTYPES[suffix]}")
        self.sample_rate, self.channels = sample_rate, channels
        self.num_clipped = 0
        self._generator = np.random.Generator(np.random.PCG64(seed))

    def __enter__(self) -> "Writer":
        try:
            handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.", suffix=".part")
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written ({error.strerror})") from error
        self._temporary = Path(name)
        os.close(handle)
        self._file = soundfile.SoundFile(
            name,
            "w",
            samplerate=self.sample_rate,
            channels=self.channels,
            subtype=self.subtype,
            format=self.path.suffix[1:].upper(),
        )
        return self

    def write(self, block: np.ndarray) -> None:
        """Append `[C, T]`."""
        if block.ndim != 2 or block.shape[0] != self.channels:
            raise ValueError(f"expected [{self.channels}, T], got {list(block.shape)}")
        if not np.isfinite(block).all():
            raise ValueError(f"{self.path}: refusing to write samples that are not finite numbers")
        self._file.write(self._encoded(block.T))

    def _encoded(self, samples: np.ndarray) -> np.ndarray:
        """`[T, C]` floats -> what libsndfile stores without touching it again."""
        if self.subtype == "FLOAT":
            return samples.astype(np.float32)
        scale = FULL_SCALE[self.subtype]
        scaled = samples.astype(np.float64) * scale
        if self.subtype == "PCM_16":
            # The sum of two uniform values: drawn in one call per sample, so that block edges do not matter.
            scaled += self._generator.random((*samples.shape, 2)).sum(axis=-1) - 1.0
        steps = np.rint(scaled)
        self.num_clipped += int(np.count_nonzero((steps < -scale) | (steps > scale - 1)))
        steps = np.clip(steps, -scale, scale - 1)
        return steps.astype(np.int16) if self.subtype == "PCM_16" else steps.astype(np.int32) << 8

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._file.close()
            if kind is None:
                with open(self._temporary, "rb") as written:
                    os.fsync(written.fileno())
                os.replace(self._temporary, self.path)
        finally:
            self._temporary.unlink(missing_ok=True)
        if self.num_clipped:
            logger.warning("%s: %d samples beyond full scale were clipped", self.path, self.num_clipped)
