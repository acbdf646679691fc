"""Sample rate, channel count and true peak. Everything takes and returns `[..., C, T]`, NumPy or Torch as given."""

from math import gcd
from typing import TypeVar

import numpy as np
import torch
from scipy.signal import resample_poly
from torchaudio.functional import resample as sinc_resample

from upscale.errors import UserError

Wav = TypeVar("Wav", np.ndarray, torch.Tensor)

# torchaudio holds one filter per output phase: 44.1 kHz <-> 48 kHz needs 160 x 300 taps, 44,100 -> 44,101 Hz
# would need gigabytes. Above this many taps SciPy's polyphase filter (one shared prototype) does the same job.
MAX_KERNEL_SIZE = 2**22
FILTER_WIDTH = 64  # zero crossings a side; with the two values below what librosa calls "kaiser_best"
ROLLOFF = 0.9475937167399596
KAISER_BETA = 14.769656459379492


def resample(wav: Wav, orig_rate: int, new_rate: int) -> Wav:
    """`[..., T]` -> `[..., ceil(T * new_rate / orig_rate)]`, without delay."""
    if orig_rate == new_rate:
        return wav
    up, down = new_rate // gcd(orig_rate, new_rate), orig_rate // gcd(orig_rate, new_rate)
    tensor = torch.from_numpy(np.ascontiguousarray(wav)) if isinstance(wav, np.ndarray) else wav
    if tensor.shape[-1] == 0:
        return wav
    if up * (down + 2 * FILTER_WIDTH * max(1, down // up)) > MAX_KERNEL_SIZE:
        filtered = resample_poly(tensor.detach().cpu().numpy(), up, down, axis=-1).astype(np.float32)
        resampled = torch.from_numpy(filtered).to(tensor.device)
    else:
        resampled = sinc_resample(
            tensor,
            down,
            up,
            lowpass_filter_width=FILTER_WIDTH,
            rolloff=ROLLOFF,
            resampling_method="sinc_interp_kaiser",
            beta=KAISER_BETA,
        )
    return resampled.numpy() if isinstance(wav, np.ndarray) else resampled


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
    tensor = torch.as_tensor(wav)
    block, context = 2**18, 2 * FILTER_WIDTH
    peak = 0.0
    for start in range(0, tensor.shape[-1], block):
        part = tensor[..., max(0, start - context) : start + block + context]
        peak = max(peak, float(part.abs().max()), float(resample(part, 1, 4).abs().max()))
    return peak
