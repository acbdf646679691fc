"""MP3 by LAME: bare frames through its library where that is exported, else a file through FFmpeg, to the same bit."""

from typing import TYPE_CHECKING

import numpy as np

from upscale.audio import mpeg
from upscale.codec import lame
from upscale.codec.container import decode_file, encode_file

if TYPE_CHECKING:
    from upscale.codec.spec import CodecSpec

BITRATES = mpeg.BITRATES[1, 3]  # of MPEG-1 layer III
FF_QP2LAMBDA = 118  # FFmpeg's unit of quality


def encode(wav: np.ndarray, spec: "CodecSpec", sample_rate: int) -> bytes:
    """`[C, T]` -> an MP3 file with its LAME header."""
    return mpeg.with_true_length(_encode_file(wav, spec, sample_rate), wav.shape[1])


def degrade(wav: np.ndarray, spec: "CodecSpec", sample_rate: int) -> np.ndarray:
    """`[C, T]` -> encoded and decoded."""
    if lame.is_available():
        return lame.decode_frames(lame.encode_frames(wav, spec, sample_rate), wav.shape[1])
    return decode_file(_encode_file(wav, spec, sample_rate))


def _encode_file(wav: np.ndarray, spec: "CodecSpec", sample_rate: int) -> bytes:
    return encode_file(
        wav,
        sample_rate,
        encoder="libmp3lame",
        container="mp3",
        bitrate=None if spec.mode == "vbr" else spec.bitrate,
        options=_options(spec),
    )


def _options(spec: "CodecSpec") -> dict[str, str]:
    options = {"compression_level": str(spec.quality), "joint_stereo": str(int(spec.stereo == "joint"))}
    if spec.mode == "abr":
        options["abr"] = "1"
    if spec.mode == "vbr":
        options |= {"flags": "+qscale", "global_quality": str(lame.VBR_BITRATES[spec.bitrate] * FF_QP2LAMBDA)}
    return options
