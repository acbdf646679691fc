"""Where samples come from: libsndfile for the formats it holds exactly, FFmpeg (inside PyAV) for everything else.

A source opens one regular file, describes it by its `AudioInfo`, and yields float32 parts `[C, n]` from an offset on.
Whatever is wrong with the file is a `UserError`, and memory does not grow with what a header claims.
"""

import io
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import av
import numpy as np
import soundfile

from upscale.audio.mpeg import header_frame_offset
from upscale.errors import UserError

MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 1_000, 768_000
MAX_CHANNELS = 64
MAX_LEVEL = 1e4  # full scale is 1: beyond this a file holds integers or damage, not audio
PART_SAMPLES = 65_536
MAX_FRAMES = 2**62  # libsndfile reports more where a header states no length, and cannot read such a file

# How files begin that libsndfile reads: WAV (also big-endian and 64-bit), FLAC, AIFF, Ogg, CAF, AU.
# MP3 is not left to it, although it could: FFmpeg trims MP3 to the sample.
LIBSNDFILE_MAGIC = (b"RIFF", b"RIFX", b"RF64", b"riff", b"fLaC", b"FORM", b"OggS", b"caff", b".snd")
# These restart at any sample; after a seek, lossy codecs give slightly different samples.
LOSSLESS = ("PCM_", "FLOAT", "DOUBLE")

# FFmpeg also "plays" playlists, scripts and pictures, which can name other files and hosts: audio containers only.
FFMPEG_FORMATS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,dts,dtshd,eac3,flac,flv,iff,loas,matroska,mov,mp3,mpc,mpc8,"
    "mpeg,mpegts,ogg,oma,rm,tak,truehd,tta,voc,w64,wav,wv,xwma"
)
# What libraries throw at damaged files, besides their own errors: Python's, out of their bindings.
DAMAGE = (av.error.FFmpegError, soundfile.LibsndfileError, OSError, ValueError, RuntimeError, OverflowError)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AudioInfo:
    """What a file's header says, in samples of one channel and, for lossy codecs, kbit/s.

    `num_samples` is exact for intact WAV, FLAC, AIFF, Ogg and for MP3 with a LAME or Xing header; an estimate for
    other files; None where the header is silent. What reading returns is what counts.
    """

    path: Path
    sample_rate: int
    channels: int
    num_samples: int | None
    codec: str
    bitrate: int | None


class Source(Protocol):
    """An open file."""

    info: AudioInfo

    def parts(self, start: int, num_samples: int | None) -> Iterator[np.ndarray]:
        """The samples `start : start + num_samples`, in parts `[C, n]`."""

    def close(self) -> None:
        """Close the file."""


@contextmanager
def opened(path: Path) -> Iterator[Source]:
    """The source that reads this file, closed at the end."""
    if not path.is_file():
        reason = "no such file" if not path.exists() else "not a file"
        raise UserError(f"{path}: {reason}; give the path of an audio file")
    try:
        source = _open(path)
    except UserError:
        raise
    except DAMAGE as error:
        raise UserError(f"{path}: cannot be read as audio ({_reason(error)})") from error
    try:
        yield source
    except UserError:
        raise
    except DAMAGE as error:
        raise UserError(f"{path}: is damaged ({_reason(error)})") from error
    finally:
        source.close()


def _open(path: Path) -> Source:
    source: Source | None = None
    with open(path, "rb") as file:
        magic = file.read(4)
    if magic in LIBSNDFILE_MAGIC:
        with suppress(soundfile.LibsndfileError):  # a codec inside that FFmpeg may know
            source = _SoundFileSource(path)
    source = source or _FFmpegSource(path)
    rate, channels = source.info.sample_rate, source.info.channels
    if not MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE or not 1 <= channels <= MAX_CHANNELS:
        source.close()
        raise UserError(f"{path}: cannot be read as audio (its header says {rate} Hz, {channels} channels)")
    return source


def _reason(error: Exception) -> str:
    return (str(getattr(error, "strerror", None) or error).strip() or type(error).__name__).splitlines()[0]


class _SoundFileSource:
    """Samples through libsndfile."""

    def __init__(self, path: Path) -> None:
        self.file = soundfile.SoundFile(os.fsencode(path))
        if self.file.subtype.startswith("MPEG") or self.file.frames > MAX_FRAMES:
            self.file.close()
            raise soundfile.LibsndfileError(0, f"{path}: MP3 in WAV, or FLAC without a length: for FFmpeg")
        self.lossless = self.file.subtype.startswith(LOSSLESS)
        seconds = self.file.frames / max(1, self.file.samplerate)
        bitrate = None if self.lossless or not seconds else round(path.stat().st_size * 8 / seconds / 1000)
        self.info = AudioInfo(
            path, self.file.samplerate, self.file.channels, self.file.frames, self.file.subtype.lower(), bitrate
        )

    def parts(self, start: int, num_samples: int | None) -> Iterator[np.ndarray]:
        if self.lossless:
            self.file.seek(min(start, self.file.frames))
            start = 0
        yield from _cut(self._decoded(), start, num_samples, self.info.path)

    def _decoded(self) -> Iterator[np.ndarray]:
        # In parts of fixed size: the number of samples that a header promises allocates nothing.
        while len(part := self.file.read(PART_SAMPLES, dtype="float32", always_2d=True)):
            yield np.ascontiguousarray(part.T)

    def close(self) -> None:
        self.file.close()


class _FFmpegSource:
    """Samples through FFmpeg, which removes encoder delay and padding where the file declares them."""

    def __init__(self, path: Path) -> None:
        # FFmpeg gets an open file, not a name: names can be protocols ("http:", "concat:") to it.
        self.file = _Tail(path, header_frame_offset(path))
        try:
            self.container = av.open(
                self.file, "r", options={"format_whitelist": FFMPEG_FORMATS}, metadata_errors="replace"
            )
            self.info = self._describe(path)
        except BaseException:
            self.file.close()
            raise

    def _describe(self, path: Path) -> AudioInfo:
        streams = [stream for stream in self.container.streams.audio if stream.codec_context is not None]
        if not streams:
            raise UserError(f"{path}: holds no audio that FFmpeg can decode")
        self.stream = streams[0]
        context = self.stream.codec_context
        self.layout = context.layout.name
        bitrate = self.stream.bit_rate or self.container.bit_rate
        duration, time_base = self.stream.duration, self.stream.time_base
        num_samples = None
        if duration is not None and time_base is not None:
            num_samples = max(0, round(duration * time_base * context.sample_rate))
        return AudioInfo(
            path,
            context.sample_rate,
            context.channels,
            num_samples,
            context.name.removesuffix("float"),
            round(bitrate / 1000) if bitrate and context.codec.lossy else None,
        )

    def parts(self, start: int, num_samples: int | None) -> Iterator[np.ndarray]:
        # Decoded from the beginning even for an offset: only so are the samples those of a whole read.
        yield from _cut(self._decoded(), start, num_samples, self.info.path)

    def _decoded(self) -> Iterator[np.ndarray]:
        """Frames as float32 `[C, n]`. Rate and channels may change on the way: the first ones hold."""
        resampler, form = self._resampler(), None
        for frame in self._frames():
            frame.pts = None
            if form not in (None, _form(frame)):
                yield from (converted.to_ndarray() for converted in resampler.resample(None))
                resampler = self._resampler()
            form = _form(frame)
            yield from (converted.to_ndarray() for converted in resampler.resample(frame))
        yield from (converted.to_ndarray() for converted in resampler.resample(None))

    def _resampler(self) -> av.AudioResampler:
        return av.AudioResampler(format="fltp", layout=self.layout, rate=self.info.sample_rate)

    def _frames(self) -> Iterator[av.AudioFrame]:
        num_packets, num_broken = 0, 0
        for packet in self.container.demux(self.stream):
            num_packets += 1
            try:
                yield from self.stream.codec_context.decode(packet)
            except av.error.EOFError:
                return
            except av.error.FFmpegError:
                num_broken += 1  # as FFmpeg and every player do: on with the next one
        if num_broken == num_packets:
            raise UserError(f"{self.info.path}: is damaged (not one of {num_packets} frames can be decoded)")
        if num_broken:
            logger.warning("%s: %d broken frames of %d were skipped", self.info.path, num_broken, num_packets)

    def close(self) -> None:
        self.container.close()
        self.file.close()


class _Tail(io.FileIO):
    """A file from an offset on, for FFmpeg."""

    def __init__(self, path: Path, offset: int) -> None:
        super().__init__(path, "rb")
        self.offset = offset
        super().seek(offset)

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        try:
            return super().seek(position + self.offset if whence == os.SEEK_SET else position, whence) - self.offset
        except OSError:  # a damaged index points before the beginning
            return -1

    def tell(self) -> int:
        return super().tell() - self.offset


def _form(frame: av.AudioFrame) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate


def _cut(decoded: Iterator[np.ndarray], start: int, num_samples: int | None, path: Path) -> Iterator[np.ndarray]:
    """The samples `start : start + num_samples` of a stream of parts, checked."""
    position, stop = 0, None if num_samples is None else start + num_samples
    for wav in decoded:
        part = wav[:, max(0, start - position) : None if stop is None else max(0, stop - position)]
        position += wav.shape[1]
        if part.shape[1]:
            peak = np.abs(part).max()
            if not peak <= MAX_LEVEL:  # also where it is not a number
                raise UserError(f"{path}: holds samples that are not audio (largest {peak:g}, full scale is 1)")
            yield part
        if stop is not None and position >= stop:
            return
