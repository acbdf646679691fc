"""One operation in several forms: the functions here pick the form that is fastest where they run.

Shapes: B batch, T time or samples, C channels in, O channels out, K taps, N coefficients per band, L filter taps.
Frames are [B, T, C].

- plain: PyTorch's own operations; under autocast, while a model is compiled or exported, and on any other device.
- CPU: `cpu_conv`, `pointwise`, `cpu_wavelet`.
- GPU: `fused`, `blocked_conv`, `fused_transform`, where Triton is there.

The ``zero`` transforms continue a signal with silence: N = (T + L - 1) // 2.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upscale.models.ops import fused, fused_transform
from upscale.models.ops.blocked_conv import conv_in_blocks
from upscale.models.ops.cpu_conv import SameConv, image_conv, pad
from upscale.models.ops.cpu_wavelet import AnalyseRows, SynthesiseRows
from upscale.models.ops.plain_wavelet import analyse_by_conv, synthesise_by_conv
from upscale.models.ops.pointwise import GatePair, NormGelu, plain_gate_pair, plain_norm_gelu

LONG_ROW = 256  # samples from which the wavelet transform for rows pays


def runs_plain(frames: Tensor) -> bool:
    on_cpu = frames.device.type == "cpu"
    return not on_cpu or torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu")


def same_conv(frames: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """[B, T, C], [O, C, K] -> [B, T, O]. An even kernel pads (K-1)//2 before and K//2 after, as Keras' 'same'."""
    if weight.shape[-1] == 1:
        return F.linear(frames, weight[..., 0], bias)
    if fused.runs_fused(frames):
        return conv_in_blocks(frames, weight, bias)
    if runs_plain(frames):
        return image_conv(pad(frames, weight.shape[-1]), weight, bias)
    return SameConv.apply(frames, weight, bias)


def norm_gelu(frames: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """[B, T, C] -> [B, T, C]: LayerNorm over channels, then GELU (tanh form)."""
    return (plain_norm_gelu if runs_plain(frames) else NormGelu.apply)(frames, weight, bias, eps)


def conv_norm_gelu(frames: Tensor, conv: nn.Conv1d, norm: nn.LayerNorm) -> Tensor:
    """[B, T, C] -> [B, T, O]: `same_conv`, then `norm_gelu`."""
    if fused.runs_fused(frames):
        return fused.conv_norm_gelu(frames, conv, norm)
    assert conv.bias is not None
    return norm_gelu(same_conv(frames, conv.weight, conv.bias), norm.weight, norm.bias, norm.eps)


def gate_pair(x: Tensor, x_conv: Any, y: Tensor, y_conv: Any, norm: nn.LayerNorm | None = None) -> Tensor:
    """[B, T, C] twice -> [B, T, 2C]: each times a sigmoid of its own 1x1 convolution, then LayerNorm over all."""
    last = (None, None, 0.0) if norm is None else (norm.weight, norm.bias, norm.eps)
    gates = (x, x_conv.weight[..., 0], x_conv.bias, y, y_conv.weight[..., 0], y_conv.bias)
    if fused.runs_fused(x):
        return fused.FusedGatePair.apply(*gates, *last)
    return (plain_gate_pair if runs_plain(x) else GatePair.apply)(*gates, *last)


def analyse(wav: Tensor, filters: Tensor, before: int = 0, after: int = 0) -> tuple[Tensor, Tensor]:
    """Correlate [B, C, T], with zeros before and after it, with filters [2, L]; every second value: two [B, C, N]."""
    if _in_rows(wav, filters):
        approx, detail = _analyse_rows(wav, filters, before, after).chunk(2, dim=1)
        return approx, detail
    return analyse_by_conv(wav, filters, before, after)


def analyse_joined(wav: Tensor, filters: Tensor, before: int = 0, after: int = 0) -> Tensor:
    """As `analyse`, the bands side by side in one tensor: [B, 2C, N]."""
    if _in_rows(wav, filters):
        return _analyse_rows(wav, filters, before, after)
    return torch.cat(analyse_by_conv(wav, filters, before, after), dim=1)


def synthesise(bands: Tensor, filters: Tensor, crop: int = 0) -> Tensor:
    """The transpose of `analyse_joined`: bands [B, 2C, N] -> [B, C, 2N + L - 2 - 2 * crop]."""
    if _in_rows(bands, filters):
        length = 2 * bands.shape[-1] + filters.shape[-1] - 2 - 2 * crop
        return SynthesiseRows.apply(bands, filters, crop, length)
    return synthesise_by_conv(bands, filters, crop)


def analyse_zero(wav: Tensor, filters: Tensor) -> Tensor:
    """[B, C, T] -> [B, 2C, N]."""
    if _transform_runs_fused(wav, filters) and wav.shape[:2].numel() <= fused_transform.MOST_CLIPS:
        return fused_transform.analyse_channels(wav, filters)
    return analyse_joined(wav, filters, *_zeros_around(wav, filters))


def analyse_zero_bands(wav: Tensor, filters: Tensor) -> tuple[Tensor, Tensor]:
    """[B, C, T] -> approx and detail, [B, C, N] each."""
    if _transform_runs_fused(wav, filters):
        num_taps = filters.shape[-1]
        num_coefficients = (wav.shape[-1] + num_taps - 1) // 2
        bands = fused_transform.FusedAnalyse.apply(wav.transpose(1, 2), filters, num_taps - 2, num_coefficients)
        return bands[0].transpose(1, 2), bands[1].transpose(1, 2)
    return analyse(wav, filters, *_zeros_around(wav, filters))


def synthesise_zero(bands: Tensor, filters: Tensor, length: int | None = None) -> Tensor:
    """[B, 2C, N] -> [B, C, T], the inverse of `analyse_zero`; T is `length`, or the even number that N stands for."""
    num_taps = filters.shape[-1]
    if _transform_runs_fused(bands, filters) and bands.shape[:2].numel() <= 2 * fused_transform.MOST_CLIPS:
        even = 2 * bands.shape[-1] - num_taps + 2
        return fused_transform.synthesise_channels(bands, filters, even if length is None else length)
    wav = synthesise(bands, filters, crop=num_taps - 2)
    return wav if length is None else wav.narrow(-1, 0, length)


def synthesise_zero_halves(frames: Tensor, filters: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Frames [B, N, 2C] -> the first half of the channels of the inverse, [B, T, C // 2], and the rest."""
    if frames.shape[-1] % 4 == 0 and _transform_runs_fused(frames, filters):
        return fused_transform.FusedSynthesise.apply(frames, filters, filters.shape[-1] - 2, length)
    return halves(synthesise_zero(frames.transpose(1, 2), filters, length).transpose(1, 2))


def halves(frames: Tensor) -> tuple[Tensor, Tensor]:
    """The first half of the channels of [B, T, C] and the rest."""
    half = frames.shape[-1] // 2
    return frames[..., :half], frames[..., half:]


def _transform_runs_fused(signal: Tensor, filters: Tensor) -> bool:
    return not filters.requires_grad and fused.runs_fused(signal)


def _in_rows(signal: Tensor, filters: Tensor) -> bool:
    """Whether the form for samples that lie one after the other can be used, and pays."""
    if runs_plain(signal) or filters.requires_grad:  # asked first: an exported graph must not depend on the length
        return False
    return signal.is_contiguous() and signal.shape[-1] >= LONG_ROW and signal.dtype == filters.dtype


def _analyse_rows(wav: Tensor, filters: Tensor, before: int, after: int) -> Tensor:
    num_coefficients = (wav.shape[-1] + before + after - filters.shape[-1]) // 2 + 1
    return AnalyseRows.apply(wav, filters, before, num_coefficients)


def _zeros_around(wav: Tensor, filters: Tensor) -> tuple[int, int]:
    before = filters.shape[-1] - 2
    # A zero too many is never reached at stride 2; an exported graph has it always, to hold for any length.
    return before, before + (1 if torch.compiler.is_compiling() else wav.shape[-1] % 2)
