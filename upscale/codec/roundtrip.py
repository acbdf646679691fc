"""clean -> encoder -> decoder -> degraded: the same shape, aligned to the sample."""

from typing import TypeVar

import numpy as np
import torch

from upscale.codec.spec import CodecSpec
from upscale.codec.table import CODECS, SAMPLE_RATES
from upscale.errors import UserError

Wav = TypeVar("Wav", np.ndarray, torch.Tensor)


def roundtrip(wav: Wav, spec: CodecSpec, sample_rate: int = 44_100) -> Wav:
    """`[C, T]` in, the same shape and kind out: what a player makes of the encoded file, with lag 0.

    Encoders get floats: nothing is rounded or clipped on the way in or out, and what lies beyond ±1 stays there, as
    with FFmpeg. An encoder or decoder that fails raises; nothing of `wav` is ever returned in its place.
    """
    if isinstance(wav, torch.Tensor):
        return torch.from_numpy(roundtrip(wav.detach().cpu().numpy(), spec, sample_rate)).to(wav.device)
    _check(wav, sample_rate)
    num_samples = wav.shape[1]
    if num_samples == 0:
        return wav
    degraded = CODECS[spec.codec].degrade(_first_generation(wav, spec, sample_rate), spec, sample_rate)
    if degraded.shape[1] < num_samples:
        raise RuntimeError(f"{spec} returned {degraded.shape[1]} samples of {num_samples}")
    return np.ascontiguousarray(degraded[:, :num_samples])


def encode(wav: Wav, spec: CodecSpec, sample_rate: int = 44_100) -> bytes:
    """`[C, T]` -> a complete file (MP3 with its LAME header, M4A, Ogg) that any player opens. Opus is 48 kHz inside."""
    if isinstance(wav, torch.Tensor):
        return encode(wav.detach().cpu().numpy(), spec, sample_rate)
    _check(wav, sample_rate)
    return CODECS[spec.codec].encode(_first_generation(wav, spec, sample_rate), spec, sample_rate)


def _first_generation(wav: np.ndarray, spec: CodecSpec, sample_rate: int) -> np.ndarray:
    """The input of the encoder: `wav`, or `wav` after a first round trip at `first_bitrate`."""
    if spec.first_bitrate is None:
        return wav
    first = CodecSpec(codec=spec.codec, bitrate=spec.first_bitrate)
    padded = np.pad(wav, ((0, 0), (spec.first_offset, 0)))
    return roundtrip(padded, first, sample_rate)[:, spec.first_offset :]


def _check(wav: np.ndarray, sample_rate: int) -> None:
    if wav.ndim != 2 or wav.shape[0] not in (1, 2):
        raise UserError(f"codecs take [1, T] or [2, T], not {list(wav.shape)}")
    if sample_rate not in SAMPLE_RATES:
        raise UserError(f"codecs take {SAMPLE_RATES} Hz, not {sample_rate}: resample first")
    if not np.isfinite(wav).all():
        raise UserError("codecs take finite samples only")
