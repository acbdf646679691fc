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
from upscale.models.ops import fused, fused_transform
from upscale.models.ops.cpu_wavelet import AnalyseRows, SynthesiseRows
from upscale.models.ops.dispatch import runs_plain

Mode = Literal["periodization", "zero"]
LONG = 256  # samples, from which the form for rows pays


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


def analyse(wav: Tensor, filters: Tensor, before: int = 0, after: int = 0) -> tuple[Tensor, Tensor]:
    """Correlate [B, C, T], with zeros before and after it, with filters [2, L]; every second value: two [B, C, N].

    As an image of height 1, the signal may lie in memory with channels first or last, and the bands lie alike.
    """
    if in_rows(wav, filters):
        approx, detail = analyse_in_rows(wav, filters, before, after).chunk(2, dim=1)
        return approx, detail
    C, image = wav.shape[1], wav.unsqueeze(2)
    if before != after:
        image = F.pad(image, (0, after - before))
    weights = (taps.expand(C, 1, 1, -1) for taps in filters)
    approx, detail = (F.conv2d(image, taps, stride=(1, 2), padding=(0, before), groups=C) for taps in weights)
    return approx.squeeze(2), detail.squeeze(2)


def synthesise(bands: Tensor, filters: Tensor, crop: int = 0) -> Tensor:
    """The transpose of `analyse`: bands [B, 2C, N] -> [B, C, 2N + L - 2 - 2 * crop]."""
    if in_rows(bands, filters):
        length = 2 * bands.shape[-1] + filters.shape[-1] - 2 - 2 * crop
        return SynthesiseRows.apply(bands, filters, crop, length)
    C = bands.shape[1] // 2
    taps = filters[:, None].expand(2, C, -1).reshape(2 * C, 1, 1, -1)
    both = F.conv_transpose2d(bands.unsqueeze(2), taps, stride=(1, 2), padding=(0, crop), groups=2 * C).squeeze(2)
    return both[:, :C] + both[:, C:]


def analyse_in_rows(wav: Tensor, filters: Tensor, before: int, after: int) -> Tensor:
    """As `analyse`, the bands in one tensor."""
    num_coefficients = (wav.shape[-1] + before + after - filters.shape[-1]) // 2 + 1
    return AnalyseRows.apply(wav, filters, before, num_coefficients)


def in_rows(signal: Tensor, filters: Tensor) -> bool:
    """Whether the form for samples that lie one after the other can be used, and pays."""
    if runs_plain(signal) or filters.requires_grad:  # asked first: an exported graph must not depend on the length
        return False
    return signal.is_contiguous() and signal.shape[-1] >= LONG and signal.dtype == filters.dtype


def wrap(wav: Tensor, left: int, right: int) -> Tensor:
    """Continue [..., T] as a circle, by more than one turn where the filters are longer than the signal."""
    T = wav.shape[-1]
    before = torch.arange(-left, 0, device=wav.device) % T
    after = torch.arange(T, T + right, device=wav.device) % T
    return torch.cat([wav[..., before], wav, wav[..., after]], dim=-1)


class Bank(nn.Module):
    """Two filters [2, L] of an orthogonal wavelet: fixed, or where learning starts."""

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

    def fuses(self, signal: Tensor) -> bool:
        return self.mode == "zero" and not self.filters.requires_grad and fused.runs_fused(signal)


class DWT(Bank):
    """[B, C, T] -> [B, 2C, N]: the C approx channels, then the C detail channels."""

    def forward(self, wav: Tensor) -> Tensor:
        if self.fuses(wav) and wav.shape[:2].numel() <= fused_transform.MOST_CLIPS:
            return fused_transform.analyse_channels(wav, self.filters)
        wav, before, after = self.extend(wav)
        if in_rows(wav, self.filters):
            return analyse_in_rows(wav, self.filters, before, after)
        return torch.cat(analyse(wav, self.filters, before, after), dim=1)

    def bands(self, wav: Tensor) -> tuple[Tensor, Tensor]:
        """Approx and detail, [B, C, N] each."""
        if self.fuses(wav):
            num_coefficients = (wav.shape[-1] + self.num_taps - 1) // 2
            frames, crop = wav.transpose(1, 2), self.num_taps - 2
            approx, detail = fused_transform.FusedAnalyse.apply(frames, self.filters, crop, num_coefficients)
            return approx.transpose(1, 2), detail.transpose(1, 2)
        wav, before, after = self.extend(wav)
        return analyse(wav, self.filters, before, after)

    def extend(self, wav: Tensor) -> tuple[Tensor, int, int]:
        """The signal, and how many zeros belong before and after it."""
        if self.mode == "zero":
            before = self.num_taps - 2
            # A zero too many is never reached at stride 2; an exported graph has it always, to hold for any length.
            odd = 1 if torch.compiler.is_compiling() else wav.shape[-1] % 2
            return wav, before, before + odd
        even = torch.cat([wav, wav[..., -1:]], dim=-1) if wav.shape[-1] % 2 else wav
        return wrap(even, left=self.num_taps // 2 - 1, right=self.num_taps // 2 - 1), 0, 0


class IDWT(Bank):
    """[B, 2C, N] -> [B, C, T]: the inverse of DWT of the same wavelet and mode.

    N coefficients stand for an even and an odd number of samples; `length` says which, the even one by default.
    """

    def forward(self, bands: Tensor, length: int | None = None) -> Tensor:
        even = 2 * bands.shape[-1] - self.num_taps + 2
        if self.fuses(bands) and bands.shape[:2].numel() <= 2 * fused_transform.MOST_CLIPS:
            return fused_transform.synthesise_channels(bands, self.filters, even if length is None else length)
        if self.mode == "zero":
            wav = synthesise(bands, self.filters, crop=self.num_taps - 2)
        else:
            margin = self.num_taps // 4 + 1  # coefficients beyond the edge that still reach the first and last sample
            wide = wrap(bands, left=margin, right=margin)
            start = 2 * margin + self.num_taps // 2 - 1
            wav = synthesise(wide, self.filters)[..., start : start + 2 * bands.shape[-1]]
        return wav if length is None else wav.narrow(-1, 0, length)

    def halves(self, frames: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """Frames [B, N, 2C] -> the first half of the channels of the inverse [B, T, C // 2] and the rest."""
        if frames.shape[-1] % 4 == 0 and self.fuses(frames):
            return fused_transform.FusedSynthesise.apply(frames, self.filters, self.num_taps - 2, length)
        return halves(self(frames.transpose(1, 2), length).transpose(1, 2))


def halves(frames: Tensor) -> tuple[Tensor, Tensor]:
    """The first half of the channels of [B, T, C] and the rest."""
    half = frames.shape[-1] // 2
    return frames[..., :half], frames[..., half:]


def reconstruction_penalty(dwt: DWT, idwt: IDWT) -> Tensor:
    """How far synthesis is from undoing analysis: the squared error on an impulse at an even and at an odd time.

    Both transforms are linear and repeat every two samples, so zero means perfect reconstruction of everything.
    """
    length = 4 * dwt.num_taps
    impulses = dwt.filters.new_zeros(2, 1, length)
    impulses[0, 0, length // 2] = impulses[1, 0, length // 2 + 1] = 1
    return (idwt(dwt(impulses), length=length) - impulses).square().sum()
