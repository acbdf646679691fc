"""The quality bypass: what opens it, and what does not."""

import torch

from upscale.models.spectral.bypass import QualityBypass


def noise(*shape: int, seed: int = 0, cutoff: float = 16_000) -> torch.Tensor:
    """White noise below `cutoff` Hz, as an MP3 of a middling bitrate has it."""
    spectrum = torch.fft.rfft(0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(seed)))
    spectrum[..., round(cutoff / 44_100 * shape[-1]) + 1 :] = 0
    return torch.fft.irfft(spectrum, n=shape[-1])


def test_the_bypass_finds_short_bursts_of_treble_and_ignores_clicks_and_edges() -> None:
    bypass = QualityBypass()
    second, low_passed = 44_100, noise(1, 2, 6 * 44_100, cutoff=17_500)
    assert bypass(low_passed).max() == 0
    assert bypass(low_passed[..., 777 : 777 + second // 2]).max() == 0  # cut out hard at both ends
    clicked = low_passed.clone()
    clicked[..., 3 * second] = 1.0
    assert bypass(clicked).max() == 0
    burst = low_passed.clone()
    burst[..., 3 * second : 3 * second + 24_000] += 1e-2 * noise(1, 2, 24_000, cutoff=22_050)
    share = bypass(burst)
    assert share[..., 2 * second : 4 * second].min() == 1
    assert torch.equal(bypass(burst, torch.tensor([128.0])), torch.zeros_like(share))
