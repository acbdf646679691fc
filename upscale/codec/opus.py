"""Opus in Ogg, by libopus through FFmpeg. Inside it is always 48 kHz."""

from typing import TYPE_CHECKING

import numpy as np

from upscale.audio import resample
from upscale.codec.container import decode_file, encode_file

if TYPE_CHECKING:
    from upscale.codec.spec import CodecSpec

# Opus below 64 kbit/s codes low frequencies with its speech coder, which is up to 4 samples early in stereo.
BITRATES = (64, 80, 96, 112, 128, 160, 192, 224, 256)
OPUS_RATE = 48_000


def encode(wav: np.ndarray, spec: "CodecSpec", sample_rate: int) -> bytes:
    """`[C, T]` -> the bytes of an Ogg file."""
    wav = resample(wav, sample_rate, OPUS_RATE)
    return encode_file(wav, OPUS_RATE, encoder="libopus", container="ogg", sample_format="flt", bitrate=spec.bitrate)


def degrade(wav: np.ndarray, spec: "CodecSpec", sample_rate: int) -> np.ndarray:
    """`[C, T]` -> encoded and decoded."""
    return resample(decode_file(encode(wav, spec, sample_rate)), OPUS_RATE, sample_rate)
