"""The bytes of one clip inside a shard, and reading any part of them without touching the rest."""

import io
import struct
import wave

import numpy as np
import soundfile

from upscale.seeds import derive_seed

FORMATS = ("wav", "flac")
FULL_SCALE = 32_768.0


def to_pcm16(wav: np.ndarray, key: str) -> np.ndarray:
    """float32 `[C, T]` within ±1 -> int16 `[T, C]`.

    Samples that are 16-bit already stay as they are; others get triangular dither, seeded by the clip's key.
    """
    steps = wav.T.astype(np.float64) * FULL_SCALE
    if not np.array_equal(steps, np.rint(steps)):
        rng = np.random.default_rng(derive_seed("dither", key))
        steps += rng.random(steps.shape) - rng.random(steps.shape)
    return np.clip(np.rint(steps), -FULL_SCALE, FULL_SCALE - 1).astype("<i2")


def encode_clip(pcm: np.ndarray, sample_rate: int, file_format: str) -> bytes:
    """int16 `[T, C]` -> the bytes of a WAV or FLAC file."""
    buffer = io.BytesIO()
    if file_format == "flac":
        soundfile.write(buffer, pcm, sample_rate, format="FLAC", subtype="PCM_16")
        return buffer.getvalue()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(pcm.shape[1])
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(pcm.tobytes())
    return buffer.getvalue()


class ClipReader:
    """A WAV or FLAC file in memory (a slice of a mapped shard). Anything else raises ValueError.

    16-bit WAV is read in place: the cost depends on the samples asked for, not on the length of the clip.
    """

    def __init__(self, data: memoryview) -> None:
        self._pcm = _pcm16_view(data)
        self._file: soundfile.SoundFile | None = None
        if self._pcm is not None:
            self._frames, self.sample_rate = self._pcm
            self.num_samples, self.channels = self._frames.shape
            return
        try:
            self._file = soundfile.SoundFile(io.BytesIO(data))
        except soundfile.LibsndfileError as error:
            raise ValueError(f"not a WAV or FLAC file ({error.error_string})") from error
        self.num_samples, self.channels = self._file.frames, self._file.channels
        self.sample_rate = self._file.samplerate

    def read(self, start: int, num_samples: int) -> np.ndarray:
        """float32 `[C, num_samples]`; raises ValueError where the clip does not hold that many."""
        if self._file is None:
            part = self._frames[start : start + num_samples].T / np.float32(FULL_SCALE)
        else:
            try:
                self._file.seek(start)
                part = self._file.read(num_samples, dtype="float32", always_2d=True).T
            except soundfile.LibsndfileError as error:
                raise ValueError(f"damaged FLAC data ({error.error_string})") from error
        if part.shape[1] != num_samples:
            raise ValueError(f"ends after {start + part.shape[1]} of {start + num_samples} samples")
        return np.ascontiguousarray(part, dtype=np.float32)


def _pcm16_view(data: memoryview) -> tuple[np.ndarray, int] | None:
    """int16 `[T, C]` and the sample rate of a 16-bit PCM WAV, or None where it is something else.

    RIFF: "RIFF" size "WAVE", then chunks of a four-letter name, a size and a body padded to an even length.
    """
    if bytes(data[:4]) != b"RIFF" or bytes(data[8:12]) != b"WAVE":
        return None
    channels = sample_rate = 0
    position = 12
    while position + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, position)
        position += 8
        if name == b"fmt ":
            kind, channels, sample_rate, _, _, bits = struct.unpack_from("<HHIIHH", data, position)
            if (kind, bits) != (1, 16) or channels < 1:
                return None
        if name == b"data" and channels:
            if position + size > len(data):
                raise ValueError(f"ends after {len(data) - position} of {size} bytes")
            num_samples = size // (2 * channels)
            values = np.frombuffer(data, "<i2", count=num_samples * channels, offset=position)
            return values.reshape(num_samples, channels), sample_rate
        position += size + size % 2
    return None
