"""What training minimises: modules `loss(restored, clean, degraded) -> scalar`, wavs `[B, C, T]`, averaged over clips.

    waveform       mean squared error, SDR, and the error against the input's own (`Fidelity`)
    spectral       distances between short-time spectra at several resolutions
    neurogram      a differentiable relative of what ViSQOL hears
    log_magnitude  what the parts of the spectral-inpainting network are taught: log powers and correlations, not wavs
    mix            a weighted sum of losses

One power stabilises every ratio, so that silence costs nothing and its gradient is finite:

    NOISE_POWER = 1e-10, -100 dB full scale: the rounding noise of 16-bit samples. An error below it cannot be stored.

`SDR` and `Fidelity` are in dB. Where they are zero, and how low they go, stands in each docstring.
"""

from upscale.losses.log_magnitude import BandEnvelope, LogMagnitude, StereoCorrelation
from upscale.losses.mix import Mix
from upscale.losses.neurogram import VISQOL_SLOPES, NeurogramSimilarity
from upscale.losses.ratios import NOISE_POWER
from upscale.losses.spectral import MultiResolutionSTFT
from upscale.losses.waveform import MSE, SDR, Fidelity

__all__ = [
    "MSE",
    "NOISE_POWER",
    "SDR",
    "VISQOL_SLOPES",
    "BandEnvelope",
    "Fidelity",
    "LogMagnitude",
    "Mix",
    "MultiResolutionSTFT",
    "NeurogramSimilarity",
    "StereoCorrelation",
]
