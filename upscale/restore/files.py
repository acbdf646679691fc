"""One file in, one restored file out, at constant memory and with one constant gain.

Reading, restoring and writing overlap (a thread each). How loud the result is, and how high its true peak reaches,
is known only at the end, so restored blocks first go to an unnamed temporary file beside the output (float32, about
1.3 GB for an hour of stereo; it vanishes even if the process is killed), then, times the gain, to the output.
The output appears under its name only when everything, tags and file time included, is in it.
"""

import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import InitVar, dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np

from upscale import atomic, audio
from upscale.audio.convert import FILTER_WIDTH, resample
from upscale.errors import UserError
from upscale.restore.chunks import Overlap
from upscale.restore.prefetch import prefetch
from upscale.restore.restorer import CHUNK_SECONDS, Restorer
from upscale.restore.tags import copy_tags
from upscale.seeds import derive_seed

BLOCK_SECONDS = 4.0
OVERSAMPLING = 4
Progress = Callable[[float], None]


@dataclass(frozen=True)
class FileOptions:
    """How a restored file is written.

    `subtype`: `PCM_16`, `PCM_24` or `FLOAT`; none: 24 bit in FLAC, float in WAV. `mix`: 0 is the input, 1 the model's
    output. `restore_level`: false, the output is as loud (RMS) as the input; true, it keeps the level that the model
    gives, which is the music's level before it was encoded (LAME turns it down by up to half a decibel).
    `ceiling_db`: highest true peak of the output, in dBTP. `match_level` is the deprecated name of `restore_level`.
    """

    subtype: str | None = None
    mix: float = 1.0
    restore_level: bool = False
    ceiling_db: float = -0.1
    bitrate: float | None = None
    match_level: InitVar[bool | None] = None

    def __post_init__(self, match_level: bool | None) -> None:
        if match_level is not None:
            warnings.warn(deprecated_name("match_level", "restore_level"), FutureWarning, stacklevel=3)
            object.__setattr__(self, "restore_level", self.restore_level or match_level)


def deprecated_name(old: str, new: str) -> str:
    """The line that a user of an option's old name gets."""
    return f"{old} is deprecated: use {new}, which does the same"


@dataclass(frozen=True)
class FileResult:
    """The file that was written. `gain_db`: the one gain between the model's output and the file."""

    output: Path
    sample_rate: int
    channels: int
    num_samples: int
    gain_db: float
    true_peak_db: float
    elapsed_seconds: float
    lost_tags: tuple[str, ...] = ()


class Meter:
    """Running energy of input and output, and the output's true peak (4 times oversampled)."""

    def __init__(self) -> None:
        self.energy_in = self.energy_out = self.peak = 0.0
        self.num_samples = 0
        oversample = partial(resample, orig_rate=1, new_rate=OVERSAMPLING)
        self._oversampled = Overlap(oversample, context=2 * FILTER_WIDTH, hop=2**16, rate=Fraction(OVERSAMPLING))

    def update(self, restored: np.ndarray) -> None:
        self.num_samples += restored.shape[-1]
        self.energy_out += _energy(restored)
        self._see(restored)
        self._see(self._oversampled.push(restored[None]))

    def finish(self) -> None:
        self._see(self._oversampled.flush())

    def gain(self, options: FileOptions) -> float:
        """The file's one gain: that which matches the levels, lowered until the true peak is below the ceiling."""
        keep = 1.0
        if not options.restore_level and self.energy_in > 0 and self.energy_out > 0:
            keep = float(np.sqrt(self.energy_in / self.energy_out))
        ceiling = 10 ** (options.ceiling_db / 20)
        return min(keep, ceiling / self.peak) if self.peak > 0 else keep

    def _see(self, wav: np.ndarray | None) -> None:
        if wav is not None:
            self.peak = max(self.peak, float(np.abs(wav).max(initial=0.0)))


def restore_file(
    restorer: Restorer,
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    options: FileOptions | None = None,
    progress: Progress | None = None,
) -> FileResult:
    """Restore `source` to `target` (.flac or .wav). `progress` is called with the seconds of sound done so far."""
    source, target = Path(source), Path(target)
    options = options or FileOptions()
    started = time.monotonic()
    info = audio.probe(source)
    if target.exists() and target.samefile(source):
        raise UserError(f"{target} is the input itself: give another output")
    target.parent.mkdir(parents=True, exist_ok=True)
    meter = Meter()
    with _spool(target.parent) as spool, atomic.replacing(target, target.suffix) as staged:
        for restored in prefetch(_restore(restorer, source, info.sample_rate, options, meter)):
            meter.update(restored)
            spool.write(np.ascontiguousarray(restored.T, dtype=np.float32).data)
            if progress is not None:
                progress(meter.num_samples / info.sample_rate)
        meter.finish()
        if meter.num_samples == 0:
            raise UserError(f"{source}: holds no sound")
        gain = meter.gain(options)
        seed = derive_seed("dither", os.fsencode(source.name))
        with audio.Writer(staged, info.sample_rate, info.channels, subtype=options.subtype, seed=seed) as writer:
            for block in _unspool(spool, info.channels, round(BLOCK_SECONDS * info.sample_rate)):
                writer.write(block * np.float32(gain))
        lost_tags = copy_tags(source, staged)
        _copy_time(source, staged)
    return FileResult(
        output=target,
        sample_rate=info.sample_rate,
        channels=info.channels,
        num_samples=meter.num_samples,
        gain_db=_decibels(gain),
        true_peak_db=_decibels(gain * meter.peak),
        elapsed_seconds=time.monotonic() - started,
        lost_tags=tuple(lost_tags),
    )


def _restore(
    restorer: Restorer, source: Path, sample_rate: int, options: FileOptions, meter: Meter
) -> Iterator[np.ndarray]:
    stream = restorer.stream(sample_rate, bitrate=options.bitrate, mix=options.mix, chunk_seconds=CHUNK_SECONDS)
    with closing(prefetch(audio.blocks(source, round(BLOCK_SECONDS * sample_rate)))) as blocks:
        for block in blocks:
            meter.energy_in += _energy(block)
            yield stream.push(block)
    yield stream.flush()


@contextmanager
def _spool(folder: Path) -> Iterator[IO[bytes]]:
    try:
        with tempfile.TemporaryFile(dir=folder) as spool:
            yield spool
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror or error})") from error


def _unspool(spool: IO[bytes], channels: int, block_samples: int) -> Iterator[np.ndarray]:
    spool.seek(0)
    size = block_samples * channels * np.dtype(np.float32).itemsize
    while data := spool.read(size):
        yield np.frombuffer(data, dtype=np.float32).reshape(-1, channels).T


def _copy_time(source: Path, target: Path) -> None:
    times = source.stat()
    os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))


def _energy(wav: np.ndarray) -> float:
    flat = wav.ravel().astype(np.float64)
    return float(flat @ flat)


def _decibels(amplitude: float) -> float:
    return round(20 * float(np.log10(max(amplitude, 1e-10))), 3)
