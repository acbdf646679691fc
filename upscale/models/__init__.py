"""Networks that map `[B, C, T] -> [B, C, T]`, under the names that configs and bundles use.

Networks, each read top-down:

- `original`: upscalemp3_v2 to the letter, for its own weights.
- `wavelet_unet`: the same architecture with transforms that reconstruct and a residual head.
- `wavelet_packet`: a residual network on wavelet packets.
- `spectral_gain`: one real gain per time-frequency coefficient; the smallest.
- `spectral_filter`: gains and a mid/side cross term per coefficient.
- `spectral_cascade`: spectral filters in a row, then repetitions; released as `fidelity`.
- `spectral_fill`: the cascade, then the clean level of every bin; released as `perceptual`.
- `wavelet`: `DWT` and `IDWT` under their public name.

`spectral/`, the parts of the last two networks:

- `bypass`: passes a file that is good already.
- `repetition_search`, `match_confidence`, `repetition_mixer`: find where a piece plays a passage again, tell whether
  it is the same recording, and mix those places in.
- `log_magnitude`: predicts the clean level of every bin.
- `inversion`: from levels to a sound (Griffin-Lim).

`layers/`, what networks are made of:

- `blocks`: convolution, normalisation and gates over time.
- `backbone`: blocks over bin and frame, the frame network, the bitrate as a feature.
- `wavelet`: orthonormal wavelet transforms.
- `stft`: the short-time Fourier transform and mid/side.
- `moving_average`: averages over frames and bins, the level around a frame.
- `receptive_field`: how far a network hears.

`ops/`, one operation in several forms, picked by `dispatch`:

- CPU: `cpu_conv` (with `winograd`), `cpu_wavelet`, `pointwise`; any device: `plain_wavelet`.
- GPU: `fused` and `fused_transform` (with `triton_kernels`), `blocked_conv`.

A network has `channels`, `sample_rate`, `context` (samples on both sides that a chunk needs) and `stride` (chunks start
at its multiples). It may offer `stages` (`upscale.chunked_stage`), `low_latency()` (a network without the parts that
look seconds ahead or take long; itself where there are none) and `regularizer()` (a scalar to add to the loss, or
None).
"""

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
