"""AAC-LC in M4A, by FFmpeg's own encoder."""

from typing import TYPE_CHECKING

import numpy as np

from upscale.codec.container import decode_file, encode_file

if TYPE_CHECKING:
    from upscale.codec.spec import CodecSpec

# AAC takes any number, up to 264 kbit/s a channel at 44.1 kHz; these hold for mono and stereo alike.
BITRATES = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256)
PADDING = 1_024  # M4A states its length in milliseconds: one frame more keeps the end from being cut off


def encode(wav: np.ndarray, spec: "CodecSpec", sample_rate: int) -> bytes:
    """`[C, T]` -> the bytes of an M4A file."""
    return encode_file(wav, sample_rate, encoder="aac", container="ipod", bitrate=spec.bitrate)


def degrade(wav: np.ndarray, spec: "CodecSpec", sample_rate: int) -> np.ndarray:
    """`[C, T]` -> encoded and decoded."""
    return decode_file(encode(np.pad(wav, ((0, 0), (0, PADDING))), spec, sample_rate))
