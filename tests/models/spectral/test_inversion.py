"""From levels to a sound: what iterations bring nearer, and what they leave alone."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from upscale.models.layers.stft import Spectrum, TightStft
from upscale.models.spectral.inversion import analyse, griffin_lim
from upscale.models.spectral_fill import noise_carrier

STFT = TightStft(512, overlap=4)
FLOOR = 1e-6
SAMPLES = 9728


def noise(num_samples: int) -> Tensor:
    return torch.randn(1, 2, num_samples, generator=torch.Generator().manual_seed(0))


def power_of(wav: Tensor) -> Tensor:
    real, imaginary = analyse(STFT, wav)
    return real**2 + imaginary**2


def distance(wav: Tensor, power: Tensor) -> float:
    """Mean square of log10 power, without frames that see an end."""
    return float(torch.log10((power_of(wav) + FLOOR) / (power + FLOOR))[..., 6:-6].square().mean())


def sloped() -> Tensor:
    """Levels that fall by 60 dB from the lowest bin to the highest: [1, 2, F, N], as `noise(SAMPLES)` has bins."""
    num_bins, num_frames = analyse(STFT, noise(SAMPLES))[0].shape[2:]
    return (10 ** torch.linspace(0, -6, num_bins))[:, None].expand(1, 2, -1, num_frames)


def teeth() -> Tensor:
    """Harmonics 16 bins apart, 40 dB above what is between them."""
    return sloped() * 10 ** (2 * torch.cos(torch.arange(256) * 2 * torch.pi / 16))[:, None]


def holes() -> Tensor:
    """20 dB less in every other band and eighth frame."""
    bands, frames = torch.arange(256)[:, None] // 32, torch.arange(sloped().shape[-1]) // 8
    return sloped() * torch.where((bands % 2 == 0) & (frames % 2 == 0), 1, 0.01)


def sound_with(power: Tensor, num_iterations: int) -> Tensor:
    """With phases of a noise carrier, as `SpectralFill` begins."""
    carrier = noise_carrier(16_384, STFT.window_size)
    phases = analyse(STFT, torch.stack([carrier, carrier.roll(5000)])[None, :, :SAMPLES])
    nothing = torch.zeros_like(power)
    given = Spectrum(nothing, nothing)
    return griffin_lim(STFT, phases, torch.sqrt(power), given, num_iterations, SAMPLES)


@pytest.mark.parametrize("levels", [sloped, teeth, holes])
def test_iterations_bring_the_levels_nearer(levels: Callable[[], Tensor]) -> None:
    power = levels()
    distances = [distance(sound_with(power, count), power) for count in (1, 8, 40)]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < (0.95 if levels is sloped else 0.6) * distances[0]


def test_bins_that_are_given_alone_are_the_sound() -> None:
    given = analyse(STFT, noise(6000))
    silence = torch.zeros_like(given.real)
    once, often = (griffin_lim(STFT, given, silence, given, count, 6000) for count in (1, 5))
    assert torch.equal(often, once)
    assert torch.allclose(once, noise(6000), atol=0.5), "all but the last bin"
