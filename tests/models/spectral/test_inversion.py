"""From levels to a sound: what rounds and steps bring nearer, and what they leave alone."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from upscale.models.layers.stft import TightStft
from upscale.models.spectral.inversion import BOUND, INERTIA, STEP, analyse, griffin_lim, refine_log_magnitude
from upscale.models.spectral_fill import flat_noise

STFT = TightStft(512, overlap=4)
FLOOR = 1e-6
SAMPLES = 9728


def noise(num_samples: int) -> Tensor:
    return torch.randn(1, 2, num_samples, generator=torch.Generator().manual_seed(0))


def power_of(wav: Tensor) -> Tensor:
    real, imaginary = analyse(STFT, wav)
    return real**2 + imaginary**2


def distance(wav: Tensor, power: Tensor) -> float:
    """Mean square of log10 power, as `refine_log_magnitude` makes it small; not of frames that see an end."""
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
    """With phases of a texture, as `SpectralFill` begins."""
    texture = flat_noise(16_384, STFT.window_size)
    phases = analyse(STFT, torch.stack([texture, texture.roll(5000)])[None, :, :SAMPLES])
    nothing = torch.zeros_like(power)
    return griffin_lim(STFT, phases, torch.sqrt(power), (nothing, nothing), num_iterations, SAMPLES)


@pytest.mark.parametrize("levels", [sloped, teeth, holes])
def test_steps_go_where_rounds_do_not(levels: Callable[[], Tensor]) -> None:
    power = levels()
    after_eight = sound_with(power, 8)
    stepped = [
        refine_log_magnitude(STFT, after_eight, power, torch.ones_like(power), FLOOR, count) for count in (0, 4, 16)
    ]
    distances = [distance(wav, power) for wav in stepped]
    assert torch.equal(stepped[0], after_eight)
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < (0.95 if levels is sloped else 0.6) * distances[0]
    assert distances[-1] < distance(sound_with(power, 40), power), "as many transforms"


def test_a_step_is_the_bounded_gradient_of_the_squared_difference() -> None:
    """Against automatic differentiation of the distance over all bins but the last; each but the first has a twin."""
    wav = noise(4000).double().requires_grad_()
    stft = TightStft(512, overlap=4).double()
    found = stft.spectrum(wav)[:, :, :-1].abs() ** 2
    power = 2 * found.detach() * torch.rand(found.shape, generator=torch.Generator().manual_seed(1))
    squared = torch.log((found + FLOOR) / (power + FLOOR)).square()
    (0.25 * (2 * squared.sum() - squared[:, :, 0].sum()) / stft.window_size).backward()
    unit = torch.cat([torch.sqrt(power + FLOOR), torch.zeros_like(power[:, :, :1])], dim=2)
    downhill = unit * stft.spectrum(wav.grad)
    expected = wav - STEP * stft.sound(unit * BOUND / (BOUND + downhill.abs()) * downhill, wav.shape[-1])
    stepped = refine_log_magnitude(stft, wav.detach(), power, torch.ones_like(power), FLOOR, 1)
    assert torch.allclose(stepped, expected.detach(), atol=1e-9)


def test_no_bin_moves_further_than_the_bound() -> None:
    power = sloped()
    wav = noise(SAMPLES) * 1e-3  # nowhere near
    moved = power_of(refine_log_magnitude(STFT, wav, power, torch.ones_like(power), FLOOR, 8) - wav)
    furthest = 8 * STEP * BOUND / (1 - INERTIA)
    assert float((moved / (power + FLOOR)).mean().sqrt()) < furthest


def test_what_is_right_already_and_what_is_not_free_stays() -> None:
    wav = noise(6000)
    power = power_of(wav)
    free = torch.ones_like(power)
    assert torch.allclose(refine_log_magnitude(STFT, wav, power, free, FLOOR, 4), wav, atol=1e-4)
    assert torch.allclose(refine_log_magnitude(STFT, wav, 4 * power, 0 * free, FLOOR, 4), wav, atol=1e-6)
    silence = torch.zeros(1, 2, 6000)
    assert torch.equal(refine_log_magnitude(STFT, silence, 0 * power, free, FLOOR, 4), silence)


@pytest.mark.parametrize("num_steps", [1, 3])
def test_steps_reach_as_far_as_two_windows_each(num_steps: int) -> None:
    wav, length = noise(16_384), 16_384
    power, changed = power_of(wav), power_of(wav)
    middle = power.shape[-1] // 2
    changed[..., middle] *= 9
    free = torch.ones_like(power)
    moved = refine_log_magnitude(STFT, wav, changed, free, FLOOR, num_steps) - refine_log_magnitude(
        STFT, wav, power, free, FLOOR, num_steps
    )
    heard = moved.abs().amax(dim=(0, 1)).nonzero().flatten()
    centre = middle * STFT.hop - STFT.lead
    assert 0 < int((heard - centre).abs().max()) <= 2 * num_steps * STFT.window_size
    assert len(heard) < length
