"""The log-magnitude predictor: the levels it sees, those it answers, and how far it looks."""

import numpy as np
import pytest
import torch

from upscale.metrics.spectral import POWER_FLOOR, spectrum_blocks
from upscale.models.spectral.log_magnitude import (
    BRIEF_BANDS,
    DILATIONS,
    KERNEL,
    DeepFrameNetwork,
    LogMagnitudePredictor,
)


def noise(*shape: int, seed: int = 0, cutoff: float = 16_000) -> torch.Tensor:
    """White noise below `cutoff` Hz, as an MP3 of a middling bitrate has it."""
    spectrum = torch.fft.rfft(0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(seed)))
    spectrum[..., round(cutoff / 44_100 * shape[-1]) + 1 :] = 0
    return torch.fft.irfft(spectrum, n=shape[-1])


def test_log_power_is_that_of_the_published_distance() -> None:
    network, wav = LogMagnitudePredictor(width=8, num_blocks=1, num_bands=16, frame_width=8), noise(1, 2, 20_000)
    (published,) = spectrum_blocks(wav.double())
    expected = torch.log10(published.abs() ** 2 + POWER_FLOOR).transpose(-1, -2)[:, :, :-1]
    assert torch.allclose(network.log_power(network.stft.analyse(wav))[..., 1:42].double(), expected, atol=1e-3)


def test_a_constant_level_is_the_answer_of_bands_and_of_bins() -> None:
    """An untrained network whose bias says minus 2 above the level around, and that nothing given is to be believed."""
    network = LogMagnitudePredictor(width=8, num_blocks=1, num_bands=16, frame_width=8)
    with torch.no_grad():
        network.band_bias.copy_(torch.tensor([-2.0, 50.0]).repeat_interleave(32))
    wav = noise(1, 2, 20_000)
    spectrum = network.stft.analyse(wav)
    level = network.relative(spectrum)[1]
    for answer, rows in ((network.bands(wav), 16), (network(wav, spectrum, spectrum), 1024)):
        assert answer.shape[1:3] == (2, rows)
        assert torch.allclose(answer, (level - 2).expand_as(answer), atol=1e-4)
    with torch.no_grad():
        network.band_bias[32:] = -50.0  # believe what is given
    given = network.log_power(spectrum)
    assert torch.allclose(network(wav, spectrum, spectrum), given, atol=1e-4)
    assert torch.allclose(network.bands(wav), given.unflatten(2, (16, 64)).mean(dim=3), atol=1e-4)


@pytest.mark.parametrize("frame", [0, 1, 17, 40])
def test_brief_features_show_an_attack_in_its_frame_and_quarter(frame: int) -> None:
    network = LogMagnitudePredictor(width=8, num_blocks=1, num_bands=16, frame_width=8)
    stft = network.stft
    wav = torch.zeros(1, 2, 20_321)
    centre = frame * stft.hop - stft.lead
    for quarter, sample in enumerate(range(centre - 2 * network.brief_hop, centre + 2 * network.brief_hop, 128)):
        if not 0 <= sample < wav.shape[-1]:
            continue
        click = wav.clone()
        click[..., sample] = 1
        level = network.relative(stft.analyse(click))[1]
        features = network.brief_features(click, torch.zeros_like(level)).unflatten(1, (BRIEF_BANDS, 4))[0]
        assert all(
            divmod(int(band.T.flatten().argmax()), 4) == (frame, quarter) for band in features
        )  # in every band alike
        expected = 0.5 * np.log10(float((1 / network.brief_window.sum()) ** 2) / 2 * 4 + POWER_FLOOR) + 1
        assert features[:, quarter, frame].mean() == pytest.approx(expected, abs=1e-4)


def test_the_frame_network_reaches_as_far_as_its_context_counts() -> None:
    network = DeepFrameNetwork(num_inputs=3, width=8)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    frames = torch.zeros(1, 3, 201, requires_grad=True)
    network(frames)[0, 100].square().sum().backward()
    seen = frames.grad[0].abs().sum(dim=0).nonzero().flatten() - 100
    reach = sum(DILATIONS) * (KERNEL // 2)
    assert (int(seen.min()), int(seen.max())) == (-reach, reach)


def test_the_frame_network_decides_the_correlation_alone() -> None:
    level = LogMagnitudePredictor(width=8, num_blocks=1, num_bands=16, frame_width=16)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in level.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    level.eval()
    wav = noise(1, 2, 30_000)
    spectrum = level.stft.analyse(wav)
    with torch.no_grad():
        log_power, correlation = level.answer(wav, spectrum, spectrum)
        level.correlation_tail.bias.add_(9)
        again, more = level.answer(wav, spectrum, spectrum)
    assert correlation.shape == (1, 1, *log_power.shape[2:])
    assert correlation.std() > 1e-3 and (more > 0.99).all()
    assert torch.equal(again, log_power)
