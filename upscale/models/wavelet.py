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
import torch.nn.functional as F
from torch import Tensor, nn

from upscale.errors import UserError

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


def num_coefficients(num_samples: int, num_taps: int, mode: Mode) -> int:
    """Length of each band of a signal of `num_samples`."""
    if mode == "zero":
        return (num_samples + num_taps - 1) // 2
    return (num_samples + 1) // 2


def wrap(wav: Tensor, left: int, right: int) -> Tensor:
    """Continue [..., T] as a circle, by more than one turn where the filters are longer than the signal."""
    T = wav.shape[-1]
    before = torch.arange(-left, 0, device=wav.device) % T
    after = torch.arange(T, T + right, device=wav.device) % T
    return torch.cat([wav[..., before], wav, wav[..., after]], dim=-1)


class DWT(nn.Module):
    """[B, C, T] -> [B, 2C, N]: the C approx channels, then the C detail channels."""

    filters: Tensor

    def __init__(self, wavelet: str = "db4", mode: Mode = "periodization") -> None:
        super().__init__()
        self.mode = mode
        self.register_buffer("filters", orthogonal_filters(wavelet).to(torch.get_default_dtype()), persistent=False)

    def forward(self, wav: Tensor) -> Tensor:
        B, C, _ = wav.shape
        bands = F.conv1d(self.extend(wav).reshape(B * C, 1, -1), self.filters[:, None], stride=2)
        return bands.reshape(B, C, 2, -1).transpose(1, 2).reshape(B, 2 * C, -1)

    def extend(self, wav: Tensor) -> Tensor:
        T, num_taps = wav.shape[-1], self.filters.shape[-1]
        if self.mode == "zero":
            return F.pad(wav, (num_taps - 2, num_taps - 2 + T % 2))
        even = F.pad(wav, (0, T % 2), mode="replicate")
        return wrap(even, left=num_taps // 2 - 1, right=num_taps // 2 - 1)


class IDWT(nn.Module):
    """[B, 2C, N] -> [B, C, T]: the inverse of DWT of the same wavelet and mode.

    N coefficients stand for an even and an odd number of samples; `length` says which, the even one by default.
    """

    filters: Tensor

    def __init__(self, wavelet: str = "db4", mode: Mode = "periodization") -> None:
        super().__init__()
        self.mode = mode
        self.register_buffer("filters", orthogonal_filters(wavelet).to(torch.get_default_dtype()), persistent=False)

    def forward(self, bands: Tensor, length: int | None = None) -> Tensor:
        B, C = bands.shape[0], bands.shape[1] // 2
        num_taps = self.filters.shape[-1]
        if self.mode == "zero":
            start, full = num_taps - 2, 2 * bands.shape[-1] - num_taps + 2
        else:
            margin = num_taps // 4 + 1  # coefficients beyond the edge that still reach the first and last sample
            start, full = 2 * margin + num_taps // 2 - 1, 2 * bands.shape[-1]
            bands = wrap(bands, left=margin, right=margin)
        pairs = bands.reshape(B, 2, C, -1).transpose(1, 2).reshape(B * C, 2, -1)
        wav = F.conv_transpose1d(pairs, self.filters[:, None], stride=2)
        wav = wav[..., start : start + full].reshape(B, C, full)
        return wav if length is None else wav[..., :length]
