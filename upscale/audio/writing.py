"""Writing WAV, FLAC and AIFF, atomically: a file is there whole or not at all."""

import io
import logging
import os
from pathlib import Path
from types import TracebackType

import numpy as np
import soundfile

from upscale import atomic
from upscale.errors import UserError

FORMATS = {".wav": "WAV", ".flac": "FLAC", ".aiff": "AIFF", ".aif": "AIFF"}
DEFAULT_SUBTYPES = {".wav": "FLOAT", ".flac": "PCM_24", ".aiff": "PCM_24", ".aif": "PCM_24"}
SUBTYPES = {
    ".wav": ("PCM_16", "PCM_24", "FLOAT"),
    ".flac": ("PCM_16", "PCM_24"),
    ".aiff": ("PCM_16", "PCM_24", "FLOAT"),
    ".aif": ("PCM_16", "PCM_24", "FLOAT"),
}
BYTES = {"PCM_16": 2, "PCM_24": 3, "FLOAT": 4}
FULL_SCALE = {"PCM_16": 2**15, "PCM_24": 2**23}
MAX_BYTES = 2**32 - 2**12  # WAV and AIFF headers count their bytes in 32 bits
BLOCK_SAMPLES = 2**18
SFC_SET_ADD_PEAK_CHUNK = 0x1050

logger = logging.getLogger(__name__)


def write(path: str | Path, wav: np.ndarray, sample_rate: int, subtype: str | None = None, seed: int = 0) -> None:
    """Write `wav` `[C, T]` as WAV, FLAC or AIFF, by the suffix of `path`. See `Writer`."""
    with Writer(path, sample_rate, wav.shape[0], subtype=subtype, seed=seed) as writer:
        writer.write(wav)


class Writer:
    """Writes blocks `[C, T]` to a WAV, FLAC or AIFF file that appears under its name when the `with` block ends well.

    `subtype` is `PCM_16`, `PCM_24` or (not FLAC) `FLOAT`; left out, WAV gets `FLOAT` and the others `PCM_24`.
    At 16 bit, triangular dither of ±1 step is added: the same for the same `seed`, however the blocks are cut.
    Integer formats end at full scale: samples beyond it are clipped, counted in `num_clipped` and warned about;
    `FLOAT` keeps them. The same samples give the same bytes.

    Raises `UserError` for a format that does not exist and for anything the file system refuses (no such folder,
    no permission, disk full): nothing is left behind then, and a file that was there before stays as it was.
    """

    def __init__(
        self, path: str | Path, sample_rate: int, channels: int, subtype: str | None = None, seed: int = 0
    ) -> None:
        self.path = Path(path)
        suffix = self.path.suffix.lower()
        if suffix not in SUBTYPES:
            raise UserError(f"{self.path}: can write .wav, .flac and .aiff, not '{suffix}'")
        self.subtype = subtype or DEFAULT_SUBTYPES[suffix]
        if self.subtype not in SUBTYPES[suffix]:
            raise UserError(
                f"{self.path}: a {suffix} file cannot be {self.subtype}; use {' or '.join(SUBTYPES[suffix])}"
            )
        self.sample_rate, self.channels = sample_rate, channels
        self.num_samples = 0
        self.num_clipped = 0
        self._generator = np.random.Generator(np.random.PCG64(seed))
        self._temporary = atomic.temporary_path(self.path)

    def __enter__(self) -> "Writer":
        try:
            self._sink = _Sink(self._temporary)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written ({error.strerror})") from error
        try:
            self._file = soundfile.SoundFile(
                self._sink,
                "w",
                samplerate=self.sample_rate,
                channels=self.channels,
                subtype=self.subtype,
                format=FORMATS[self.path.suffix.lower()],
            )
        except soundfile.LibsndfileError as error:
            self._discard()
            raise UserError(
                f"{self.path}: no {self.subtype} file has {self.channels} channels at {self.sample_rate} Hz"
            ) from error
        # libsndfile stamps float files with the time of day otherwise.
        soundfile._snd.sf_command(self._file._file, SFC_SET_ADD_PEAK_CHUNK, soundfile._ffi.NULL, 0)
        return self

    def write(self, block: np.ndarray) -> None:
        """Append `[C, T]`."""
        if block.ndim != 2 or block.shape[0] != self.channels:
            raise ValueError(f"expected [{self.channels}, T], got {list(block.shape)}")
        for start in range(0, block.shape[1], BLOCK_SAMPLES):
            self._append(block[:, start : start + BLOCK_SAMPLES].T)

    def _append(self, samples: np.ndarray) -> None:
        if not np.isfinite(samples).all():
            raise ValueError(f"{self.path}: refusing to write samples that are not finite numbers")
        self.num_samples += len(samples)
        num_bytes = self.num_samples * self.channels * BYTES[self.subtype]
        if self.path.suffix.lower() != ".flac" and num_bytes > MAX_BYTES:
            raise UserError(f"{self.path}: longer than such a file can be (4 GiB); write .flac instead")
        try:
            self._file.write(self._encoded(samples))
        except (AssertionError, soundfile.LibsndfileError) as error:  # AssertionError: wrote fewer than asked
            raise self._failure() from error
        if self._sink.error is not None:
            raise self._failure() from self._sink.error

    def _encoded(self, samples: np.ndarray) -> np.ndarray:
        """`[T, C]` floats -> what libsndfile stores without touching it again."""
        if self.subtype == "FLOAT":
            return np.ascontiguousarray(samples, dtype=np.float32)
        scale = FULL_SCALE[self.subtype]
        scaled = samples.astype(np.float64) * scale
        if self.subtype == "PCM_16":
            # The two uniform values of one sample lie side by side in the stream: block edges do not matter.
            scaled += self._generator.random((*samples.shape, 2)).sum(axis=-1) - 1.0
        self.num_clipped += int(np.count_nonzero(np.abs(samples) > 1.0))  # not the one step that dither may add
        steps = np.clip(np.rint(scaled), -scale, scale - 1)
        return steps.astype(np.int16) if self.subtype == "PCM_16" else steps.astype(np.int32) << 8

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._discard()
        if kind is None and self.num_clipped:
            logger.warning("%s: %d samples beyond full scale were clipped", self.path, self.num_clipped)

    def _finish(self) -> None:
        if self.num_samples == 0 and self.path.suffix.lower() == ".flac":
            raise UserError(f"{self.path}: a .flac file cannot be empty, and there are no samples; write .wav")
        try:
            self._file.close()
            if self._sink.error is not None:
                raise self._sink.error
            os.fsync(self._sink.fileno())
            self._sink.close()
            os.replace(self._temporary, self.path)
        except (OSError, soundfile.LibsndfileError) as error:
            raise self._failure(error) from error

    def _discard(self) -> None:
        """Close everything and remove the temporary file, where it is still there."""
        if hasattr(self, "_file") and not self._file.closed:
            self._file.close()
        self._sink.close()
        self._temporary.unlink(missing_ok=True)

    def _failure(self, error: Exception | None = None) -> UserError:
        cause = self._sink.error or error
        reason = getattr(cause, "strerror", None) or cause or "the disk took less than was written"
        return UserError(f"{self.path}: cannot be written ({reason})")


class _Sink(io.FileIO):
    """A file that remembers why a write failed: libsndfile's callbacks cannot raise, and closing hides errors."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "xb+")
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:  # type: ignore[override]
        written = 0
        try:
            while written < len(data):
                written += super().write(memoryview(data)[written:])
        except OSError as error:
            self.error = self.error or error
        return written
