"""What people report about a restoration: functions of (reference, estimate), always shown beside doing nothing."""

from upscale.metrics.opinion_score import visqol
from upscale.metrics.spectral import codec_cutoff, error_above, error_below, lsd, multi_resolution_stft
from upscale.metrics.waveform import level_difference, sdr, si_sdr

__all__ = [
    "codec_cutoff",
    "error_above",
    "error_below",
    "level_difference",
    "lsd",
    "multi_resolution_stft",
    "sdr",
    "si_sdr",
    "visqol",
]
