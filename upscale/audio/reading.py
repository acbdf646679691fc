"""Reading: libsndfile for the formats it knows exactly, FFmpeg (inside PyAV) for MP3, M4A and everything else.

Both sources are read as a stream of blocks, and `read` is those blocks joined: a file is the same to the sample
whether it is read whole, from an offset, or piece by piece.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile

from upscale.errors import UserError

MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 1_000, 768_000
MAX_CHANNELS = 64
MAX_VALUES = 2**30  # float32 values that `read` holds at most: 4 GiB, more than three hours of stereo
MAX_LEVEL = 1e4  # full scale is 1: beyond this a file holds integers or damage, not audio
READ_SAMPLES = 65_536

# FFmpeg also "plays" playlists, scripts and pictures, which can name other files and hosts: audio containers only.
FFMPEG_FORMATS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,dts,dtshd,eac3,flac,flv,iff,loas,matroska,mov,mp3,mpc,mpc8,"
    "mpeg,mpegts,ogg,oma,rm,tak,truehd,tta,voc,w64,wav,wv,xwma"
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AudioInfo:
    """What a file's header says. `bitrate` is in kbit/s, for lossy codecs only."""

    path: Path
    sample_rate: int
    channels: int
    num_samples: int | None
    codec: str
    bitrate: int | None


def probe(path: str | Path) -> AudioInfo:
    """Look at a file without decoding it."""
    source = _open(Path(path))
    try:
        return source.info
    finally:
        source.close()


def read(path: str | Path, start: int = 0, num_samples: int | None = None) -> tuple[np.ndarray, int]:
    """The samples `start : start + num_samples` (fewer where the file ends), float32 `[C, T]`, and the sample rate."""
    with _reading(Path(path)) as source:
        parts, held = [], 0
        for part in source.parts(start, num_samples):
            held += part.size
            if held > MAX_VALUES:
                raise UserError(
                    f"{path}: too long to be held in memory; read it in parts (start, num_samples) or blocks"
                )
            parts.append(part)
        empty = np.zeros((source.info.channels, 0), dtype=np.float32)
        return np.concatenate([empty, *parts], axis=1), source.info.sample_rate


def blocks(path: str | Path, block_samples: int) -> Iterator[np.ndarray]:
    """The file in blocks `[C, block_samples]` (the last one shorter), at constant memory."""
    with _reading(Path(path)) as source:
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


class _SoundFileSource:
    """Samples through libsndfile."""

    def __init__(self, path: Path) -> None:
        self.file = soundfile.SoundFile(str(path))
        lossy = self.file.subtype in ("VORBIS", "OPUS")
        seconds = self.file.frames / self.file.samplerate
        bitrate = round(path.stat().st_size * 8 / seconds / 1000) if lossy and seconds else None
        self.info = AudioInfo(
            path, self.file.samplerate, self.file.channels, self.file.frames, self.file.subtype.lower(), bitrate
        )

    def parts(self, start: int, num_samples: int | None) -> Iterator[np.ndarray]:
        if start >= self.file.frames:
            return
        self.file.seek(start)
        remaining = self.file.frames - start if num_samples is None else num_samples
        while remaining > 0:
            part = self.file.read(min(READ_SAMPLES, remaining), dtype="float32", always_2d=True).T
            if part.shape[1] == 0:
                return
            remaining -= part.shape[1]
            yield _checked(np.ascontiguousarray(part), self.info.path)

    def close(self) -> None:
        self.file.close()


class _FFmpegSource:
    """Samples through FFmpeg. Encoder delay and padding are removed by FFmpeg where the file declares them."""

    def __init__(self, path: Path) -> None:
        options = {"protocol_whitelist": "file", "format_whitelist": FFMPEG_FORMATS}
        self.container = av.open(str(path), options=options, metadata_errors="replace")
        if not self.container.streams.audio:
            self.container.close()
            raise UserError(f"{path}: holds no audio")
        self.stream = self.container.streams.audio[0]
        context = self.stream.codec_context
        bitrate = self.stream.bit_rate or self.container.bit_rate
        self.info = AudioInfo(
            path,
            context.sample_rate,
            context.channels,
            self._declared_samples(),
            context.name.removesuffix("float"),
            round(bitrate / 1000) if bitrate else None,
        )

    def _declared_samples(self) -> int | None:
        duration, time_base = self.stream.duration, self.stream.time_base
        if duration is None or time_base is None:
            return None
        return round(duration * time_base * self.stream.codec_context.sample_rate)

    def parts(self, start: int, num_samples: int | None) -> Iterator[np.ndarray]:
        # Decoded from the beginning even for an offset: only so are the samples the same as those of a whole read.
        position, stop = 0, None if num_samples is None else start + num_samples
        for wav in self._decoded():
            part = wav[:, max(0, start - position) : None if stop is None else max(0, stop - position)]
            position += wav.shape[1]
            if part.shape[1]:
                yield _checked(part, self.info.path)
            if stop is not None and position >= stop:
                return

    def _decoded(self) -> Iterator[np.ndarray]:
        layout = self.stream.codec_context.layout.name
        resampler = av.AudioResampler(format="fltp", layout=layout, rate=self.info.sample_rate)
        num_broken = 0
        for packet in self.container.demux(self.stream):
            try:
                frames: list[Any] = list(packet.decode())
            except av.error.InvalidDataError:
                num_broken += 1
                continue
            for frame in frames:
                frame.pts = None
                for converted in resampler.resample(frame):
                    yield converted.to_ndarray()
        for converted in resampler.resample(None):
            yield converted.to_ndarray()
        if num_broken:
            logger.warning("%s: %d broken frames were skipped", self.info.path, num_broken)

    def close(self) -> None:
        self.container.close()


def _open(path: Path) -> _SoundFileSource | _FFmpegSource:
    """The source that reads this file."""
    if not path.exists():
        raise UserError(f"{path}: no such file")
    if path.is_dir():
        raise UserError(f"{path}: is a folder, not an audio file")
    source = _open_any(path)
    rate, channels = source.info.sample_rate, source.info.channels
    if not MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE or not 1 <= channels <= MAX_CHANNELS:
        source.close()
        raise UserError(f"{path}: {rate} Hz and {channels} channels are not something this program can read")
    return source


def _open_any(path: Path) -> _SoundFileSource | _FFmpegSource:
    try:
        source = _SoundFileSource(path)
        if source.file.format not in ("MP3", "MPEG"):
            return source
        source.close()  # libsndfile reads MP3 as well, but FFmpeg is the one that trims it to the sample
    except soundfile.LibsndfileError:
        pass
    try:
        return _FFmpegSource(path)
    except (av.error.FFmpegError, OSError) as error:
        raise UserError(f"{path}: cannot be read as audio ({error.strerror or error})") from error


@contextmanager
def _reading(path: Path) -> Iterator[_SoundFileSource | _FFmpegSource]:
    """A source whose every failure is the user's: the file is damaged."""
    source = _open(path)
    try:
        yield source
    except (av.error.FFmpegError, soundfile.LibsndfileError) as error:
        raise UserError(f"{path}: is damaged ({error})") from error
    finally:
        source.close()


def _checked(wav: np.ndarray, path: Path) -> np.ndarray:
    peak = np.abs(wav).max(initial=0.0)
    if not peak <= MAX_LEVEL:  # also true for NaN
        raise UserError(f"{path}: holds samples that are not audio (largest {peak:g} where full scale is 1)")
    return wav
