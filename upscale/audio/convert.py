"""Sample rate, channel count and true peak. Everything takes and returns `[..., C, T]`, NumPy or Torch as given.

PyTorch is imported at the first use, and NumPy arrays do without it where it is not installed (exported models).
"""

from fractions import Fraction
from functools import lru_cache
from math import gcd
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from scipy.signal import resample_poly

from upscale.errors import UserError

if TYPE_CHECKING:
    import torch

Wav = TypeVar("Wav", np.ndarray, "torch.Tensor")

# torchaudio holds one filter per output phase: 44.1 kHz <-> 48 kHz needs 160 x 300 taps, 44,100 -> 44,101 Hz
# would need gigabytes. Above this many taps SciPy's polyphase form of the same filter does the same job.
MAX_KERNEL_SIZE = 2**22
MAX_RATIO = 2**16
FILTER_WIDTH = 64  # zero crossings a side; with the two values below what librosa calls "kaiser_best"
ROLLOFF = 0.9475937167399596
KAISER_BETA = 14.769656459379492


def resample(wav: Wav, orig_rate: int, new_rate: int) -> Wav:
    """`[..., T]` -> `[..., ceil(T * new_rate / orig_rate)]`, without delay."""
    if orig_rate == new_rate:
        return wav
    if wav.shape[-1] == 0:
        return wav
    up, down = new_rate // gcd(orig_rate, new_rate), orig_rate // gcd(orig_rate, new_rate)
    kernel_size = up * (down + 2 * FILTER_WIDTH * max(1, down // up))
    if isinstance(wav, np.ndarray):
        if kernel_size > MAX_KERNEL_SIZE or not _has_torch():
            return _resample_polyphase(wav, up, down)
        return _resample_sinc(_as_tensor(wav), up, down).numpy()
    if kernel_size > MAX_KERNEL_SIZE:
        return _as_tensor(_resample_polyphase(wav.detach().cpu().numpy(), up, down)).to(wav.device)
    return _resample_sinc(wav, up, down)


def _resample_sinc(wav: "torch.Tensor", up: int, down: int) -> "torch.Tensor":
    from torchaudio.functional import resample as sinc_resample

    return sinc_resample(
        wav,
        down,
        up,
        lowpass_filter_width=FILTER_WIDTH,
        rolloff=ROLLOFF,
        resampling_method="sinc_interp_kaiser",
        beta=KAISER_BETA,
    )


def _resample_polyphase(wav: np.ndarray, up: int, down: int) -> np.ndarray:
    """torchaudio's filter, as one prototype at `up` times the input's rate that all output phases share."""
    num_samples = -(-wav.shape[-1] * up // down)
    up, down = _nearest_ratio(up, down)
    taps = _prototype(up, down).astype(wav.dtype, copy=False)
    resampled = resample_poly(wav, up, down, axis=-1, window=taps).astype(wav.dtype, copy=False)[..., :num_samples]
    missing = num_samples - resampled.shape[-1]
    return np.pad(resampled, [(0, 0)] * (wav.ndim - 1) + [(0, missing)], mode="edge") if missing else resampled


def _nearest_ratio(up: int, down: int) -> tuple[int, int]:
    """A ratio of numbers up to `MAX_RATIO`, so that a rate like 767,999 Hz does not ask for gigabytes of filter.

    Two fractions p/q differ by 1/q**2 at least: an hour of music comes out by less than a tenth of a sample askew.
    """
    if max(up, down) <= MAX_RATIO:
        return up, down
    ratio = Fraction(min(up, down), max(up, down)).limit_denominator(MAX_RATIO)
    small, large = max(1, ratio.numerator), ratio.denominator
    return (large, small) if up > down else (small, large)


@lru_cache(maxsize=2)
def _prototype(up: int, down: int) -> np.ndarray:
    """The low-pass taps, float32, made a stretch at a time: in one piece their making takes ten times their room."""
    base = min(up, down) * ROLLOFF / (up * down)  # zero crossings per tap
    half = int(FILTER_WIDTH / base)
    taps = np.empty(2 * half + 1, dtype=np.float32)
    for start in range(0, taps.size, 2**18):
        crossings = (np.arange(start, min(start + 2**18, taps.size)) - half) * base
        window = np.i0(KAISER_BETA * np.sqrt(np.maximum(0.0, 1 - (crossings / FILTER_WIDTH) ** 2))) / np.i0(KAISER_BETA)
        taps[start : start + crossings.size] = base * np.sinc(crossings) * window
    return taps


def _as_tensor(wav: np.ndarray) -> "torch.Tensor":
    import torch

    return torch.from_numpy(np.ascontiguousarray(wav))


def _has_torch() -> bool:
    try:
        import torchaudio  # noqa: F401
    except ImportError:
        return False
    return True


def to_channels(wav: Wav, channels: int) -> Wav:
    """`[..., C, T]` -> `[..., channels, T]`: the mean of two channels, or one channel twice."""
    present = wav.shape[-2]
    if present == channels:
        return wav
    if (present, channels) == (2, 1):
        return (wav[..., :1, :] + wav[..., 1:, :]) * 0.5
    if (present, channels) == (1, 2):
        if isinstance(wav, np.ndarray):
            return np.repeat(wav, 2, axis=-2)
        return wav.repeat_interleave(2, dim=-2)
    raise UserError(
        f"cannot turn {present} channels into {channels}: only mono and stereo are known; mix it down first"
    )


def true_peak(wav: Wav) -> float:
    """The largest absolute value between and at the samples (4 times oversampled, ITU-R BS.1770), linear."""
    block, context = 2**18, 2 * FILTER_WIDTH
    peak = 0.0
    for start in range(0, wav.shape[-1], block):
        first = min(start, context)
        part = wav[..., start - first : start + block + context]
        # Only the middle: where a part is cut off, its filter rings as it would not in the whole.
        oversampled = resample(part, 1, 4)[..., 4 * first : 4 * (first + block)]
        peak = max(peak, float(abs(part).max()), float(abs(oversampled).max()))
    return peak
