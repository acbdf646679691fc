"""clean -> encoder -> decoder -> degraded: the same shape, aligned to the sample."""

from typing import TypeVar

import numpy as np
import torch

from upscale.audio import resample
from upscale.codec.container import decode_file, encode_file
from upscale.codec.lame import decode_frames, encode_frames
from upscale.codec.spec import SAMPLE_RATES, CodecSpec
from upscale.codec.vorbis import decode_vorbis, encode_vorbis
from upscale.errors import UserError

Wav = TypeVar("Wav", np.ndarray, torch.Tensor)
OPUS_RATE = 48_000


def roundtrip(wav: Wav, spec: CodecSpec, sample_rate: int = 44_100) -> Wav:
    """`[C, T]` in, the same shape and kind out: what a player makes of the encoded file. Failures raise.

    Samples beyond ±1 are encoded as they are: nothing is clipped before or after.
    """
    if isinstance(wav, torch.Tensor):
        return torch.from_numpy(roundtrip(wav.detach().cpu().numpy(), spec, sample_rate)).to(wav.device)
    _check(wav, sample_rate)
    if spec.first_bitrate is not None:
        wav = _first_generation(wav, spec, sample_rate)
    num_samples = wav.shape[1]
    if num_samples == 0:
        return wav
    if _is_fast(wav, spec):
        return decode_frames(encode_frames(wav, spec, sample_rate), num_samples)
    if spec.codec == "vorbis":
        degraded = decode_vorbis(encode_vorbis(wav, spec.bitrate, sample_rate))
    elif spec.codec == "opus":
        decoded = decode_file(encode_file(resample(wav, sample_rate, OPUS_RATE), spec, OPUS_RATE))
        degraded = resample(decoded, OPUS_RATE, sample_rate)
    else:
        degraded = decode_file(encode_file(wav, spec, sample_rate))
    if degraded.shape[1] < num_samples:
        raise RuntimeError(f"{spec} returned {degraded.shape[1]} samples of {num_samples}")
    return np.ascontiguousarray(degraded[:, :num_samples])


def encode(wav: Wav, spec: CodecSpec, sample_rate: int = 44_100) -> bytes:
    """`[C, T]` -> a complete file (MP3 with its LAME header, M4A, Ogg) that any player opens. Opus is 48 kHz inside."""
    if isinstance(wav, torch.Tensor):
        return encode(wav.detach().cpu().numpy(), spec, sample_rate)
    _check(wav, sample_rate)
    if spec.first_bitrate is not None:
        wav = _first_generation(wav, spec, sample_rate)
    if spec.codec == "vorbis":
        return encode_vorbis(wav, spec.bitrate, sample_rate)
    if spec.codec == "opus":
        return encode_file(resample(wav, sample_rate, OPUS_RATE), spec, OPUS_RATE)
    return encode_file(wav, spec, sample_rate)


def _first_generation(wav: np.ndarray, spec: CodecSpec, sample_rate: int) -> np.ndarray:
    first = CodecSpec(codec=spec.codec, bitrate=spec.first_bitrate or spec.bitrate)
    padded = np.pad(wav, ((0, 0), (spec.first_offset, 0)))
    return roundtrip(padded, first, sample_rate)[:, spec.first_offset :]


def _is_fast(wav: np.ndarray, spec: CodecSpec) -> bool:
    """lameenc takes 16-bit integers and has no switch for plain stereo; FFmpeg takes floats beyond ±1 as well."""
    plain_stereo = spec.stereo == "plain" and wav.shape[0] == 2
    return spec.codec == "mp3" and not plain_stereo and float(np.abs(wav).max()) <= 1.0


def _check(wav: np.ndarray, sample_rate: int) -> None:
    if wav.ndim != 2 or wav.shape[0] not in (1, 2):
        raise UserError(f"codecs take [1, T] or [2, T], not {list(wav.shape)}")
    if sample_rate not in SAMPLE_RATES:
        raise UserError(f"codecs take {SAMPLE_RATES} Hz, not {sample_rate}: resample first")
    if not np.isfinite(wav).all():
        raise UserError("codecs take finite samples only")
