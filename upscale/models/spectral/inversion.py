"""From the levels that bins should have to a sound that nearly has them.

Levels that are chosen bin by bin belong to no sound: neighbouring frames overlap. The iterations of Griffin and Lim
(1984), with the momentum of Perraudin et al. (2013), find a sound whose amplitudes are near.

Shapes: B clips, C channels, T samples, F bins, N frames.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from upscale.models.layers.stft import Spectrum, TightStft

MOMENTUM = 0.99  # how far an iteration goes on in the direction of the one before


def extrapolate(now: Tensor, before: Tensor) -> Tensor:
    """A spectrum, moved on in the direction from that of the iteration before."""
    return now + MOMENTUM * (now - before)


def analyse(stft: TightStft, wav: Tensor) -> Spectrum:
    """[B, C, T] -> [B, C, F - 1, N], without the last bin."""
    real, imaginary = stft.analyse(wav)
    return Spectrum(real[:, :, :-1], imaginary[:, :, :-1])


def griffin_lim(
    stft: TightStft, spectrum: Spectrum, amplitude: Tensor, given: Spectrum, num_iterations: int, num_samples: int
) -> Tensor:
    """A sound [B, C, num_samples] whose bins are nearly `given` plus something of this amplitude.

    All [B, C, F - 1, N]; the last bin is empty. The phase of the first iteration is that of `spectrum`.
    """

    def levelled(real: Tensor, imaginary: Tensor) -> Tensor:
        scale = amplitude * torch.rsqrt(real**2 + imaginary**2 + 1e-12)
        real, imaginary = real * scale + given.real, imaginary * scale + given.imaginary
        return stft.synthesise(F.pad(real, (0, 0, 0, 1)), F.pad(imaginary, (0, 0, 0, 1)), num_samples)

    wav = levelled(*spectrum)
    before: Spectrum | None = None
    for _ in range(num_iterations - 1):
        now = analyse(stft, wav)
        ahead = now if before is None else Spectrum(*map(extrapolate, now, before))
        wav, before = levelled(*ahead), now
    return wav
