"""Metrics of the waveform itself: SDR, SI-SDR and the level difference.

All three take every channel's samples jointly, as one long vector: a quiet side channel does not count as much as
a loud mid. A reference of all zeros has no ratio to anything, and gives NaN whatever the estimate is.
"""

import torch
from torch import Tensor

from upscale.metrics.arrays import LIMIT_DB, Array, compare, energy, ratio_db


def sdr(reference: Array, estimate: Array) -> Array:
    """Signal-to-distortion ratio in dB, higher is better: `[..., C, T] -> [...]`.

    10 log10(|reference|² / |reference - estimate|²), the plain SNR of MDX challenges. Nothing is forgiven: neither
    level nor delay (BSS-Eval's SDR forgives a 512-tap filter and is another figure). Limited to ±200 dB, which
    identical signals reach; NaN for an all-zero reference.
    """
    return compare(_sdr, reference, estimate)


def _sdr(reference: Tensor, estimate: Tensor) -> Tensor:
    signal = energy(reference)
    return _undefined_where_silent(ratio_db(signal, energy(reference - estimate)), signal)


def si_sdr(reference: Array, estimate: Array) -> Array:
    """Scale-invariant SDR in dB, higher is better: `[..., C, T] -> [...]`.

    The reference is scaled by a = <reference, estimate> / |reference|², then 10 log10(|a reference|² /
    |a reference - estimate|²) (Le Roux et al., "SDR - half-baked or well done?", ICASSP 2019). The mean is *not*
    removed (torchmetrics: `zero_mean=False`), and one scale serves all channels. Limited to ±200 dB: an all-zero
    estimate scores -200. NaN for an all-zero reference.
    """
    return compare(_si_sdr, reference, estimate)


def _si_sdr(reference: Tensor, estimate: Tensor) -> Tensor:
    signal = energy(reference)
    target = project(reference, estimate)
    projected, error = energy(target), energy(target - estimate)
    worst = torch.full_like(error, -LIMIT_DB)
    return _undefined_where_silent(torch.where(projected == 0, worst, ratio_db(projected, error)), signal)


def project(reference: Tensor, estimate: Tensor, noise_energy: float = 0.0) -> Tensor:
    """The estimate's share of the reference: a reference, a = <reference, estimate> / (|reference|² + noise_energy)."""
    scale = (reference * estimate).sum(dim=(-2, -1)) / (energy(reference) + noise_energy)
    return scale[..., None, None] * reference


def level_difference(reference: Array, estimate: Array) -> Array:
    """How much louder the estimate is, in dB: 10 log10(|estimate|² / |reference|²); 0 is best. `[..., C, T] -> [...]`.

    LAME scales music down before it encodes (0.45 dB up to 160 kbit/s), which SDR sees and SI-SDR does not.
    An all-zero estimate gives -200 dB; an all-zero reference NaN.
    """
    return compare(_level_difference, reference, estimate)


def _level_difference(reference: Tensor, estimate: Tensor) -> Tensor:
    signal = energy(reference)
    return _undefined_where_silent(ratio_db(energy(estimate), signal), signal)


def _undefined_where_silent(value: Tensor, reference_energy: Tensor) -> Tensor:
    return torch.where(reference_energy == 0, torch.full_like(value, float("nan")), value)
