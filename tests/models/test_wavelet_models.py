"""WaveletUNet and WaveletPacketNet: size, identity, any length, gradients, and how far they hear."""

import pytest
import torch

from upscale.errors import UserError
from upscale.models import WaveletPacketNet, WaveletUNet
from upscale.models.ops import cpu_conv


def small_unet(channels=1, **arguments):
    return WaveletUNet(channels, **{"num_layers": 3, "num_filters": 4, "kernel_size": 4, **arguments})


def small_packet(channels=1):
    return WaveletPacketNet(channels, num_levels=3, num_features=8, num_blocks=1, kernel_size=3, wavelet="db2")


SMALL = [small_unet, small_packet]


def awaken(model):
    """Give the last layer weights, as training does, so that the output depends on every parameter."""
    torch.manual_seed(0)
    torch.nn.init.normal_(model.residual.weight, std=0.3)
    return model.double()


def test_the_default_has_the_size_of_the_original():
    model = WaveletUNet()
    assert sum(parameter.numel() for parameter in model.parameters()) == 12_652_274
    assert model.stride == 1024


@pytest.mark.parametrize("build", SMALL)
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("length", [1, 3, 7, 100, 333])
def test_untrained_returns_its_input(build, channels, length):
    wav = torch.randn(2, channels, length)
    assert torch.equal(build(channels)(wav, torch.tensor([64.0, 128.0])), wav)


@pytest.mark.parametrize("build", [*SMALL, lambda channels: small_unet(channels, learnable_wavelet=True)])
def test_gradient_reaches_every_parameter(build):
    model = awaken(build(2))
    wav = torch.randn(1, 2, 101, dtype=torch.float64)
    model(wav).square().sum().backward()
    silent = [name for name, parameter in model.named_parameters() if not parameter.grad.abs().sum() > 0]
    assert not silent


@pytest.mark.parametrize("build", SMALL)
def test_context_is_what_the_gradient_shows(build):
    model = awaken(build())
    middle = 40 * model.stride
    wav = torch.randn(1, 1, 2 * middle, dtype=torch.float64, requires_grad=True)
    before = after = 0
    for place in range(middle, middle + model.stride):
        (gradient,) = torch.autograd.grad(model(wav)[0, 0, place], wav)
        reached = gradient[0, 0].nonzero()
        before, after = max(before, place - int(reached.min())), max(after, int(reached.max()) - place)
    assert max(before, after) <= model.context <= 1.25 * max(before, after)


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 2])
def test_context_of_the_full_size_is_what_the_gradient_shows(channels, monkeypatch):
    # Convolutions through a Fourier transform spread rounding errors, and so gradients, over whole blocks.
    monkeypatch.setattr(cpu_conv, "OUTPUT_GAIN", 0)
    monkeypatch.setattr(cpu_conv, "WEIGHT_GAIN", 0)
    model = awaken(WaveletUNet(channels))
    place = 66 * model.stride + 512  # of the places on the grid, one of those that hear farthest
    wav = torch.randn(1, channels, 132 * model.stride, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(model(wav)[0, 0, place], wav)
    reached = gradient[0].abs().sum(dim=0).nonzero()
    before, after = place - int(reached.min()), int(reached.max()) - place
    assert 0.98 * model.context < max(before, after) <= model.context


@pytest.mark.parametrize("build", SMALL)
def test_a_chunk_with_context_equals_the_whole(build):
    model = awaken(build())
    wav = torch.randn(1, 1, 3001, dtype=torch.float64)
    context = -(-model.context // model.stride) * model.stride
    start, end = context + 2 * model.stride, context + 2 * model.stride + 500
    with torch.no_grad():
        whole = model(wav)
        chunk = model(wav[..., start - context : end + context])
    torch.testing.assert_close(chunk[..., context : context + 500], whole[..., start:end], atol=1e-12, rtol=0)


def test_the_learnable_wavelet_starts_where_the_fixed_one_is():
    torch.manual_seed(0)
    fixed = awaken(small_unet())
    learnable = small_unet(learnable_wavelet=True).double()
    learnable.load_state_dict(fixed.state_dict(), strict=False)
    wav = torch.randn(1, 1, 77, dtype=torch.float64)
    torch.testing.assert_close(learnable(wav), fixed(wav), atol=1e-5, rtol=0)  # filters went through float32
    assert learnable.regularizer() < 1e-9
    assert fixed.regularizer() is None


def test_refuses_filters_that_do_not_split():
    with pytest.raises(UserError, match="num_filters=6"):
        WaveletUNet(num_filters=6)
