"""Models: `[B, C, T] -> [B, C, T]`, by name for configs and bundles."""

from upscale.models.original import OriginalUNet
from upscale.models.spectral_cascade import SpectralCascade
from upscale.models.spectral_fill import SpectralFill
from upscale.models.spectral_filter import SpectralFilter
from upscale.models.spectral_gain import SpectralGain
from upscale.models.wavelet_packet import WaveletPacketNet
from upscale.models.wavelet_unet import WaveletUNet

__all__ = [
    "OriginalUNet",
    "SpectralCascade",
    "SpectralFill",
    "SpectralFilter",
    "SpectralGain",
    "WaveletPacketNet",
    "WaveletUNet",
]
