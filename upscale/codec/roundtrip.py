"""clean -> encoder -> decoder -> degraded: the same shape, aligned to the sample."""

from typing import TypeVar

import numpy as np
import torch

from upscale.audio import resample
from upscale.codec import lame
from upscale.codec.container import decode_file, encode_file
from upscale.codec.gapless import with_true_length
from upscale.codec.spec import SAMPLE_RATES, CodecSpec
from upscale.codec.vorbis import decode_vorbis, encode_vorbis
from upscale.errors import UserError

Wav = TypeVar("Wav", np.ndarray, torch.Tensor)
OPUS_RATE = 48_000
AAC_PADDING = 1_024  # M4A tells its length in milliseconds: with a frame to spare nothing is cut off


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
    if spec.first_bitrate is not None:
        wav = _first_generation(wav, spec, sample_rate)
    degraded = _coded(wav, spec, sample_rate)
    if degraded.shape[1] < num_samples:
        raise RuntimeError(f"{spec} returned {degraded.shape[1]} samples of {num_samples}")
    return np.ascontiguousarray(degraded[:, :num_samples])


def _coded(wav: np.ndarray, spec: CodecSpec, sample_rate: int) -> np.ndarray:
    """Encoded and decoded, aligned at the start; the end may be longer than it was."""
    if spec.codec == "mp3":
        if lame.is_available():
            return lame.decode_frames(lame.encode_frames(wav, spec, sample_rate), wav.shape[1])
        return decode_file(encode_file(wav, spec, sample_rate))
    if spec.codec == "vorbis":
        return decode_vorbis(encode_vorbis(wav, spec.bitrate, sample_rate))
    if spec.codec == "opus":
        decoded = decode_file(encode_file(resample(wav, sample_rate, OPUS_RATE), spec, OPUS_RATE))
        return resample(decoded, OPUS_RATE, sample_rate)
    return decode_file(encode_file(np.pad(wav, ((0, 0), (0, AAC_PADDING))), spec, sample_rate))


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
    if spec.codec == "aac":
        return encode_file(wav, spec, sample_rate)
    return with_true_length(encode_file(wav, spec, sample_rate), wav.shape[1])


def _first_generation(wav: np.ndarray, spec: CodecSpec, sample_rate: int) -> np.ndarray:
    first = CodecSpec(codec=spec.codec, bitrate=spec.first_bitrate or spec.bitrate)
    padded = np.pad(wav, ((0, 0), (spec.first_offset, 0)))
    return roundtrip(padded, first, sample_rate)[:, spec.first_offset :]


def _check(wav: np.ndarray, sample_rate: int) -> None:
    if wav.ndim != 2 or wav.shape[0] not in (1, 2):
        raise UserError(f"codecs take [1, T] or [2, T], not {list(wav.shape)}")
    if sample_rate not in SAMPLE_RATES:
        raise UserError(f"codecs take {SAMPLE_RATES} Hz, not {sample_rate}: resample first")
    if not np.isfinite(wav).all():
        raise UserError("codecs take finite samples only")
