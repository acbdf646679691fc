"""Metrics of the spectrum: log-spectral distance, multi-resolution STFT distance, error above and below a cut-off.

Every spectrum here is `scipy.signal.stft`'s with its defaults: periodic Hann window, scaled by 1 / sum(window), half
a window of zeros before and after, and zeros up to a whole hop. So clips shorter than a window need no rule of
their own. Frames are handled in blocks, so that a whole song takes little more memory than its samples.

Shapes: wav [..., C, T], spectrum [..., C, F, K] with F frames and K = n_fft / 2 + 1 bins.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from upscale.metrics.arrays import Array, compare, ratio_db

POWER_FLOOR = 1e-10
"""Added to the power before a logarithm: -100 dB below a full-scale sine's bin. LSD depends on it above all."""
NUM_FFT, HOP = 2048, 512
RESOLUTIONS = (512, 1024, 2048)
_BLOCK_FRAMES = 256


def spectrum_blocks(wav: Tensor, num_fft: int = NUM_FFT, hop: int = HOP) -> Iterator[Tensor]:
    """The complex STFT of `[..., C, T]`, at most 256 frames at a time: `[..., C, F, K]`."""
    window = torch.hann_window(num_fft, periodic=True, dtype=wav.dtype, device=wav.device)
    num_frames = 1 + -(-wav.shape[-1] // hop)
    for first in range(0, num_frames, _BLOCK_FRAMES):
        last = min(first + _BLOCK_FRAMES, num_frames)
        start, end = first * hop - num_fft // 2, (last - 1) * hop + num_fft - num_fft // 2
        inside = wav[..., max(start, 0) : min(end, wav.shape[-1])]
        block = torch.nn.functional.pad(inside, (max(-start, 0), max(end - wav.shape[-1], 0)))
        yield torch.fft.rfft(block.unfold(-1, num_fft, hop) * window) / window.sum()


def _power(spectrum: Tensor) -> Tensor:
    return spectrum.real.square() + spectrum.imag.square()


def lsd(reference: Array, estimate: Array) -> Array:
    """Log-spectral distance, lower is better: `[..., C, T] -> [...]`.

    Dimensionless: 1.0 is a root mean square difference of 10 dB.
    Hann 2048, hop 512; d = log10(power of reference + 1e-10) - log10(power of estimate + 1e-10); root mean square of d
    over bins, then the mean over frames and channels. Scale and floor are part of the definition: LSDs of different
    definition must not be compared. The floor also makes it defined for silence: 0 where both are silent.
    """
    return compare(_lsd, reference, estimate)


def _lsd(reference: Tensor, estimate: Tensor) -> Tensor:
    total, num_frames = torch.zeros((), dtype=reference.dtype), 0
    for clean, other in zip(spectrum_blocks(reference), spectrum_blocks(estimate), strict=True):
        log_power, other_power = (torch.log10(_power(spectrum) + POWER_FLOOR) for spectrum in (clean, other))
        distance = frame_distance(log_power, other_power, dim=-1)
        total = total.to(distance.device) + distance.sum(dim=-1)
        num_frames += clean.shape[-2]
    return (total / num_frames).mean(dim=-1)


def frame_distance(log_power: Tensor, other: Tensor, dim: int, floor: float = 0.0) -> Tensor:
    """Root of `floor` plus the mean square difference over the bins, which lie along `dim`."""
    return ((log_power - other).square().mean(dim=dim) + floor).sqrt()


def multi_resolution_stft(reference: Array, estimate: Array) -> Array:
    """Multi-resolution STFT distance, dimensionless, lower is better: `[..., C, T] -> [...]`.

    For Hann windows of 512, 1024 and 2048 samples at a quarter window's hop: spectral convergence
    ‖|X| - |Y|‖ / ‖|X|‖ (Frobenius norm over channels, frames and bins) plus the mean absolute difference of the
    natural logarithms of the magnitudes (floor: power + 1e-10); the mean over the three (the terms of Yamamoto et
    al., "Parallel WaveGAN", ICASSP 2020). NaN for an all-zero reference, where the convergence has no meaning.
    """
    return compare(_multi_resolution_stft, reference, estimate)


def _multi_resolution_stft(reference: Tensor, estimate: Tensor) -> Tensor:
    distances = [_stft_distance(reference, estimate, num_fft) for num_fft in RESOLUTIONS]
    return torch.stack(distances).mean(dim=0)


def _stft_distance(reference: Tensor, estimate: Tensor, num_fft: int) -> Tensor:
    axes = (-3, -2, -1)
    sums, count = torch.zeros(3, *reference.shape[:-2], dtype=reference.dtype, device=reference.device), 0
    hop = num_fft // 4
    for clean, other in zip(
        spectrum_blocks(reference, num_fft, hop), spectrum_blocks(estimate, num_fft, hop), strict=True
    ):
        log_distance = (torch.log(_power(clean) + POWER_FLOOR) - torch.log(_power(other) + POWER_FLOOR)).abs() / 2
        sums[0] += (clean.abs() - other.abs()).square().sum(dim=axes)
        sums[1] += _power(clean).sum(dim=axes)
        sums[2] += log_distance.sum(dim=axes)
        count += clean.shape[-3] * clean.shape[-2] * clean.shape[-1]
    convergence = torch.where(sums[1] == 0, torch.full_like(sums[1], float("nan")), (sums[0] / sums[1]).sqrt())
    return convergence + sums[2] / count


def codec_cutoff(clean: Array, degraded: Array, sample_rate: int) -> float:
    """The frequency in Hz above which a codec kept nothing, measured on one clip `[C, T]`.

    The upper edge of the highest bin (21.5 Hz wide at 44.1 kHz) whose power, summed over the clip, is at least a tenth
    of the clean clip's. Bins 100 dB under the strongest clean one hold no music and count as not kept.
    Half the sample rate where the codec kept everything, 0 where the clip is silent.
    """
    clean_power, degraded_power = (_power_by_bin(torch.as_tensor(wav).double()) for wav in (clean, degraded))
    kept = (degraded_power >= 0.1 * clean_power) & (clean_power > 1e-10 * clean_power.max())
    if not kept.any():
        return 0.0
    return min((int(kept.nonzero().max()) + 0.5) * sample_rate / NUM_FFT, sample_rate / 2)


def _power_by_bin(wav: Tensor) -> Tensor:
    """`[C, T] -> [K]`, of whole windows side by side: a clip's hard edges against padding would fill every bin."""
    short = max(NUM_FFT - wav.shape[-1], 0)
    frames = torch.nn.functional.pad(wav, (0, short)).unfold(-1, NUM_FFT, NUM_FFT)
    window = torch.hann_window(NUM_FFT, periodic=True, dtype=wav.dtype, device=wav.device)
    blocks = (_power(torch.fft.rfft(block * window)).sum(dim=(0, 1)) for block in frames.split(_BLOCK_FRAMES, dim=1))
    return torch.stack(list(blocks)).sum(dim=0)


def error_below(reference: Array, estimate: Array, cutoff_hz: float, sample_rate: int) -> Array:
    """Error below a frequency in dB relative to the reference there, lower is better: `[..., C, T] -> [...]`.

    10 log10(sum |X - Y|² / sum |X|²) over all channels, frames and the bins centred below `cutoff_hz` (Hann 2048, hop
    512). 0 dB: as wrong as silence would be. Limited to ±200 dB; NaN where the reference has nothing there.
    """
    return compare(lambda x, y: _band_error(x, y, slice(0, _first_bin(cutoff_hz, sample_rate))), reference, estimate)


def error_above(reference: Array, estimate: Array, cutoff_hz: float, sample_rate: int) -> Array:
    """The same at and above a frequency: what a codec removed and a model may restore. Doing nothing is 0 dB."""
    return compare(lambda x, y: _band_error(x, y, slice(_first_bin(cutoff_hz, sample_rate), None)), reference, estimate)


def _first_bin(cutoff_hz: float, sample_rate: int) -> int:
    """The lowest bin centred at or above the frequency."""
    return int(-(-cutoff_hz * NUM_FFT // sample_rate))


def _band_error(reference: Tensor, estimate: Tensor, bins: slice) -> Tensor:
    axes = (-3, -2, -1)
    signal = torch.zeros(reference.shape[:-2], dtype=reference.dtype, device=reference.device)
    error = torch.zeros_like(signal)
    for clean, other in zip(spectrum_blocks(reference), spectrum_blocks(estimate), strict=True):
        signal = signal + _power(clean[..., bins]).sum(dim=axes)
        error = error + _power((clean - other)[..., bins]).sum(dim=axes)
    return torch.where(signal == 0, torch.full_like(signal, float("nan")), ratio_db(error, signal))
