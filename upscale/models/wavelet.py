"""The discrete wavelet transform under its public name: `DWT(wavelet)` and `IDWT(wavelet)`."""

from upscale.models.layers.wavelet import DWT, IDWT

__all__ = ["DWT", "IDWT"]
