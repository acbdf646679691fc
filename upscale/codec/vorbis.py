"""Vorbis in Ogg through libsndfile, which carries libvorbis: PyAV's FFmpeg has only its own experimental encoder."""

import io
from typing import TYPE_CHECKING

import numpy as np
import soundfile

if TYPE_CHECKING:
    from upscale.codec.spec import CodecSpec

# libvorbis at 44.1 kHz: the nominal stereo bitrate of each whole quality (`oggenc -q`).
QUALITIES = {64: 0, 80: 1, 96: 2, 112: 3, 128: 4, 160: 5, 192: 6, 224: 7, 256: 8, 320: 9}
BITRATES = tuple(QUALITIES)


def encode(wav: np.ndarray, spec: "CodecSpec", sample_rate: int) -> bytes:
    """`[C, T]` -> the bytes of an Ogg file."""
    buffer = io.BytesIO()
    with soundfile.SoundFile(
        buffer,
        "w",
        samplerate=sample_rate,
        channels=wav.shape[0],
        format="OGG",
        subtype="VORBIS",
        compression_level=1.0 - QUALITIES[spec.bitrate] / 10,
    ) as file:
        file.write(wav.T)
    return buffer.getvalue()


def degrade(wav: np.ndarray, spec: "CodecSpec", sample_rate: int) -> np.ndarray:
    """`[C, T]` -> encoded and decoded."""
    decoded, _ = soundfile.read(io.BytesIO(encode(wav, spec, sample_rate)), dtype="float32", always_2d=True)
    return np.ascontiguousarray(decoded.T)
