"""Orthonormal wavelet transforms over time, exact for any length and any orthogonal wavelet of PyWavelets.

Shapes: B batch, C channels, T samples, N coefficients per band, L filter taps.

One analysis step correlates the extended signal with the reversed decomposition filters and keeps every second value:

    approx[k] = sum_j lowpass[j] * x[2k - left + j]        detail[k] the same with highpass

The two ways to extend a finite signal both conserve energy and reconstruct exactly, and equal PyWavelets' modes:

- ``periodization``: the signal is a circle (an odd one repeats its last sample first). N = ceil(T / 2).
- ``zero``: silence on both sides. N = floor((T + L - 1) / 2), a few more than half. Nothing wraps from the end to the
  start, so a chunk of a song gives what the whole song gives, and that is why the models use it.

PyWavelets' `dmey` is the one exception to "exact": it is a truncated filter, and reconstructs to 1e-2 there as here.

Source: Mallat, "A Wavelet Tour of Signal Processing", chapter 7; PyWavelets' documentation of signal extension modes.
"""

from typing import Literal

import pywt
import torch
from torch import Tensor, nn

from upscale.errors import UserError
from upscale.models.layers.receptive_field import Interval
from upscale.models.ops.dispatch import (
    analyse_joined,
    analyse_zero,
    analyse_zero_bands,
    synthesise,
    synthesise_zero,
    synthesise_zero_halves,
)

Mode = Literal["periodization", "zero"]


def orthogonal_filters(wavelet: str) -> Tensor:
    """Analysis filters [2, L] (lowpass, highpass) in the order of correlation, float64.

    Raises UserError for a name that PyWavelets does not know and for a wavelet that is not orthogonal.
    """
    if wavelet not in pywt.wavelist(kind="discrete"):
        raise UserError(f"wavelet={wavelet} is not a wavelet of PyWavelets; try db4 or sym8")
    filters = pywt.Wavelet(wavelet)
    if not filters.orthogonal:
        raise UserError(f"wavelet={wavelet} is not orthogonal; choose from the haar, db, sym and coif families")
    return torch.tensor([filters.dec_lo, filters.dec_hi], dtype=torch.float64).flip(-1)


def wrap(wav: Tensor, left: int, right: int) -> Tensor:
    """Continue [..., T] as a circle, by more than one turn where the filters are longer than the signal."""
    T = wav.shape[-1]
    before = torch.arange(-left, 0, device=wav.device) % T
    after = torch.arange(T, T + right, device=wav.device) % T
    return torch.cat([wav[..., before], wav, wav[..., after]], dim=-1)


class Bank(nn.Module):
    """Two filters [2, L] of an orthogonal wavelet: fixed, or the start of learned ones."""

    filters: Tensor

    def __init__(self, wavelet: str = "db4", mode: Mode = "periodization", learnable: bool = False) -> None:
        super().__init__()
        self.mode = mode
        filters = orthogonal_filters(wavelet).to(torch.get_default_dtype())
        if learnable:
            self.filters = nn.Parameter(filters)
        else:
            self.register_buffer("filters", filters, persistent=False)  # the name of the wavelet says them

    @property
    def num_taps(self) -> int:
        return self.filters.shape[-1]


class DWT(Bank):
    """[B, C, T] -> [B, 2C, N]: the C approx channels, then the C detail channels."""

    def forward(self, wav: Tensor) -> Tensor:
        if self.mode == "zero":
            return analyse_zero(wav, self.filters)
        even = torch.cat([wav, wav[..., -1:]], dim=-1) if wav.shape[-1] % 2 else wav
        return analyse_joined(wrap(even, left=self.num_taps // 2 - 1, right=self.num_taps // 2 - 1), self.filters)

    def bands(self, wav: Tensor) -> tuple[Tensor, Tensor]:
        """Approx and detail of the ``zero`` extension, [B, C, N] each."""
        return analyse_zero_bands(wav, self.filters)

    def reads(self, span: Interval) -> Interval:
        """Of the ``zero`` extension: approx[k] reads samples 2k - (L - 2) to 2k + 1."""
        return 2 * span[0] - self.num_taps + 2, 2 * span[1] + 1


class IDWT(Bank):
    """[B, 2C, N] -> [B, C, T]: the inverse of DWT of the same wavelet and mode.

    N coefficients stand for an even and an odd number of samples; `length` says which, the even one by default.
    """

    def forward(self, bands: Tensor, length: int | None = None) -> Tensor:
        if self.mode == "zero":
            return synthesise_zero(bands, self.filters, length)
        margin = self.num_taps // 4 + 1  # coefficients beyond the edge that still reach the first and last sample
        start = 2 * margin + self.num_taps // 2 - 1
        wide = synthesise(wrap(bands, left=margin, right=margin), self.filters)
        wav = wide[..., start : start + 2 * bands.shape[-1]]
        return wav if length is None else wav.narrow(-1, 0, length)

    def halves(self, frames: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """``zero`` extension, frames [B, N, 2C] -> the first half of the channels [B, T, C // 2] and the rest."""
        return synthesise_zero_halves(frames, self.filters, length)

    def reads(self, span: Interval) -> Interval:
        """Of the ``zero`` extension: sample t comes from coefficients t // 2 to (t + L - 2) // 2."""
        return span[0] // 2, (span[1] + self.num_taps - 2) // 2


def reconstruction_penalty(dwt: DWT, idwt: IDWT) -> Tensor:
    """How far synthesis is from undoing analysis: the squared error on an impulse at an even and at an odd time.

    Both transforms are linear and repeat every two samples, so zero means perfect reconstruction of everything.
    """
    length = 4 * dwt.num_taps
    impulses = dwt.filters.new_zeros(2, 1, length)
    impulses[0, 0, length // 2] = impulses[1, 0, length // 2 + 1] = 1
    return (idwt(dwt(impulses), length=length) - impulses).square().sum()
