"""Ogg Vorbis through libsndfile, which carries libvorbis: PyAV's FFmpeg has only its own experimental encoder."""

import io

import numpy as np
import soundfile

# libvorbis at 44.1 kHz: the nominal stereo bitrate of each whole quality (`oggenc -q`).
QUALITIES = {64: 0, 80: 1, 96: 2, 112: 3, 128: 4, 160: 5, 192: 6, 224: 7, 256: 8, 320: 9}


def encode_vorbis(wav: np.ndarray, bitrate: int, sample_rate: int) -> bytes:
    """`[C, T]` -> the bytes of an Ogg file."""
    buffer = io.BytesIO()
    with soundfile.SoundFile(
        buffer,
        "w",
        samplerate=sample_rate,
        channels=wav.shape[0],
        format="OGG",
        subtype="VORBIS",
        compression_level=1.0 - QUALITIES[bitrate] / 10,
    ) as file:
        file.write(wav.T)
    return buffer.getvalue()


def decode_vorbis(data: bytes) -> np.ndarray:
    """The bytes of an Ogg file -> `[C, T]`."""
    wav, _ = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    return np.ascontiguousarray(wav.T)
