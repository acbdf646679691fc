"""From the levels that bins should have to a sound that nearly has them.

Levels that are chosen bin by bin belong to no sound: neighbouring frames overlap. The iterations of Griffin and Lim
(1984), with the momentum of Perraudin et al. (2013), find a sound whose amplitudes are near. But they minimise the
distance of amplitudes, in which a quiet bin beside a loud one hardly counts.

`refine_log_magnitude` goes on from there down the gradient of the squared difference of log power. As it stands, that
gradient is of no use: it is endless where a bin is near zero. So each step takes it as far as a sound can follow it
(through the inverse transform and back), in units of the amplitude wanted in each bin, and bounds it there: a bin moves
by a few hundredths of what it should be, however steep the slope. In 16 steps that nearly halves the square of what
eight rounds leave.

Shapes: B clips, C channels, T samples, F bins, N frames.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from upscale.models.layers.stft import Spectrum, TightStft

MOMENTUM = 0.99  # how far a round goes on in the direction of the one before
STEP = 0.4  # how far a step goes, times the bounded gradient
BOUND = 0.1  # of the gradient: half of it is left where it is this long, and it is never longer than that
INERTIA = 0.5  # what is left of the step before in the next


def extrapolate(now: Tensor, before: Tensor) -> Tensor:
    """A spectrum, moved on in the direction from that of the iteration before."""
    return now + MOMENTUM * (now - before)


def analyse(stft: TightStft, wav: Tensor) -> Spectrum:
    """[B, C, T] -> real and imaginary part [B, C, F - 1, N], without the last bin."""
    real, imaginary = stft.analyse(wav)
    return Spectrum(real[:, :, :-1], imaginary[:, :, :-1])


def griffin_lim(
    stft: TightStft, spectrum: Spectrum, amplitude: Tensor, given: Spectrum, num_iterations: int, num_samples: int
) -> Tensor:
    """A sound [B, C, num_samples] whose bins nearly are `given` plus something of this amplitude.

    All [B, C, F - 1, N]; the last bin is empty. The phase of the first round is that of `spectrum`.
    """

    def levelled(real: Tensor, imaginary: Tensor) -> Tensor:
        scale = amplitude * torch.rsqrt(real**2 + imaginary**2 + 1e-12)
        real, imaginary = real * scale + given[0], imaginary * scale + given[1]
        return stft.synthesise(F.pad(real, (0, 0, 0, 1)), F.pad(imaginary, (0, 0, 0, 1)), num_samples)

    wav = levelled(*spectrum)
    before: Spectrum | None = None
    for _ in range(num_iterations - 1):
        now = analyse(stft, wav)
        ahead = now if before is None else Spectrum(*map(extrapolate, now, before))
        wav, before = levelled(*ahead), now
    return wav


def refine_log_magnitude(
    stft: TightStft, wav: Tensor, power: Tensor, free: Tensor, floor: float, num_steps: int
) -> Tensor:
    """The sound [B, C, T] in `num_steps` steps towards this power of its bins, to each of which `floor` is added.

    `free` (as `power` [B, C, F - 1, N]): how far each bin may move, 0 to 1.
    """
    # One channel after the other: with large tensors, a processor's time goes into getting memory for them.
    split = [values.split(1, dim=1) for values in (wav, power, free)]
    moved = [
        _refine_channel(stft, one, towards, moves, floor, num_steps) for one, towards, moves in zip(*split, strict=True)
    ]
    return torch.cat(moved, dim=1)


def _refine_channel(stft: TightStft, wav: Tensor, power: Tensor, free: Tensor, floor: float, num_steps: int) -> Tensor:
    """The same of one channel, [B, 1, T]."""
    wanted = frame_by_frame(power) + floor
    unit = frame_by_frame(torch.sqrt(power + floor) * free)
    velocity: Tensor | float = 0.0
    for _ in range(num_steps):
        spectrum = stft.spectrum(wav)
        spectrum[:, :, -1] = 0  # the last bin does not count
        found = spectrum.real**2 + spectrum.imag**2 + floor
        slope = torch.log(found / wanted) / found
        uphill = stft.spectrum(stft.sound(slope * spectrum, wav.shape[-1]))
        length = unit * torch.sqrt(uphill.real**2 + uphill.imag**2 + 1e-20)  # at zero, the root has no slope
        velocity = INERTIA * velocity + BOUND * unit / (BOUND + length) * uphill
        wav = wav - STEP * stft.sound(unit * velocity, wav.shape[-1])
    return wav


def frame_by_frame(bins: Tensor) -> Tensor:
    """[B, C, F - 1, N] -> [B, C, F, N], the last bin empty, in memory as a transform has it, which is faster."""
    return F.pad(bins.transpose(2, 3), (0, 1)).transpose(2, 3)
