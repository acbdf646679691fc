"""The spectral gain network: identity at the start, chunked equals whole, any length."""

import pytest
import torch

from upscale.models import SpectralGain


def trained_looking(model: torch.nn.Module) -> torch.nn.Module:
    """Random weights everywhere, so that the zero start hides nothing."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


@pytest.mark.parametrize("num_samples", [1, 1000, 1024, 44100])
def test_untrained_is_identity_at_any_length(num_samples: int) -> None:
    wav = torch.randn(2, 2, num_samples) * 0.1
    assert torch.allclose(SpectralGain()(wav), wav, atol=1e-6)


def test_a_chunk_with_context_equals_the_whole() -> None:
    model = trained_looking(SpectralGain(num_blocks=2))
    wav = torch.randn(1, 2, 40_000) * 0.1
    start, stop = 10 * model.stride, 10 * model.stride + 5000
    with torch.no_grad():
        whole = model(wav)
        chunk = model(wav[..., start - model.context : stop + model.context])
    assert torch.allclose(chunk[..., model.context :][..., :5000], whole[..., start:stop], atol=1e-4)
