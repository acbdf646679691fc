"""The fast operations compute what PyTorch's own compute, forwards and backwards."""

import pytest
import torch
import torch.nn.functional as F

from upscale.models.ops import cpu_conv, pointwise
from upscale.models.ops.dispatch import gate_pair, norm_gelu, same_conv
from upscale.models.ops.winograd import correlate, correlate_frames


def reference_conv(frames, weight, bias):
    num_taps = weight.shape[-1]
    padded = F.pad(frames.transpose(1, 2), ((num_taps - 1) // 2, num_taps // 2))
    return F.conv1d(padded, weight, bias).transpose(1, 2)


def gradients(function, *inputs):
    inputs = [value.detach().clone().requires_grad_() for value in inputs]
    output = function(*inputs)
    direction = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view(output.shape)
    return output, torch.autograd.grad((output * direction).sum(), inputs)


@pytest.mark.parametrize("num_taps", [1, 2, 3, 9, 16])
@pytest.mark.parametrize("length", [1, 5, 40])
def test_same_conv_equals_conv1d_and_its_gradients(num_taps, length):
    torch.manual_seed(0)
    frames = torch.randn(2, length, 6, dtype=torch.float64)
    weight = torch.randn(4, 6, num_taps, dtype=torch.float64)
    bias = torch.randn(4, dtype=torch.float64)
    output, found = gradients(same_conv, frames, weight, bias)
    reference, expected = gradients(reference_conv, frames, weight, bias)
    torch.testing.assert_close(output, reference)
    for value, other in zip(found, expected, strict=True):
        torch.testing.assert_close(value, other)


def test_same_conv_takes_frames_that_are_not_contiguous():
    torch.manual_seed(0)
    frames, weight, bias = torch.randn(2, 6, 30).transpose(1, 2), torch.randn(4, 3, 8), torch.randn(4)
    half = frames[..., 3:]
    output, found = gradients(same_conv, half, weight, bias)
    reference, expected = gradients(reference_conv, half, weight, bias)
    torch.testing.assert_close(output, reference)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("channels", [1, 2, 5, 16])
def test_norm_gelu_equals_layer_norm_and_gelu(channels):
    torch.manual_seed(0)
    frames = 3 * torch.randn(2, 30, channels, dtype=torch.float64)
    weight, bias = torch.randn(channels, dtype=torch.float64), torch.randn(channels, dtype=torch.float64)

    def reference(frames, weight, bias):
        return F.gelu(F.layer_norm(frames, (channels,), weight, bias, 1e-3), approximate="tanh")

    output, found = gradients(lambda *inputs: norm_gelu(*inputs, eps=1e-3), frames, weight, bias)
    wanted, expected = gradients(reference, frames, weight, bias)
    torch.testing.assert_close(output, wanted)
    for value, other in zip(found, expected, strict=True):
        torch.testing.assert_close(value, other)


def test_norm_gelu_is_finite_and_exact_for_large_values():
    frames = torch.tensor([[[-1.0, 1.0]]])
    weight = torch.tensor([1e4, 1e4])
    output, found = gradients(lambda *inputs: norm_gelu(*inputs, eps=0.0), frames, weight, torch.zeros(2))
    torch.testing.assert_close(output, torch.tensor([[[0.0, 1e4]]]))
    assert all(torch.isfinite(value).all() for value in found)


@pytest.mark.parametrize("run", [2**17, 64])
def test_runs_of_rows_add_up(monkeypatch, run):
    torch.manual_seed(0)
    frames, weight, bias = torch.randn(3, 37, 4).double(), torch.randn(4).double(), torch.randn(4).double()
    expected = gradients(lambda *inputs: pointwise.plain_norm_gelu(*inputs, 1e-3), frames, weight, bias)
    monkeypatch.setattr(pointwise, "RUN", run)
    torch.testing.assert_close(gradients(lambda *inputs: norm_gelu(*inputs, eps=1e-3), frames, weight, bias), expected)


@pytest.mark.parametrize("with_norm", [True, False])
@pytest.mark.parametrize("run", [2**17, 64])
def test_gate_pair_equals_its_parts(monkeypatch, with_norm, run):
    torch.manual_seed(0)
    convs = [torch.nn.Conv1d(5, 5, 1).double() for _ in range(2)]
    norm = torch.nn.LayerNorm(10, eps=1e-3).double()
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    frames = torch.randn(2, 37, 12).double()
    parameters = [*convs[0].parameters(), *convs[1].parameters(), *(norm.parameters() if with_norm else ())]
    monkeypatch.setattr(pointwise, "RUN", run)

    def ours(frames, *_):
        return gate_pair(frames[..., :5], convs[0], frames[..., 7:], convs[1], norm if with_norm else None)

    def reference(frames, *_):
        sides = (frames[..., :5], frames[..., 7:])
        gates = [conv(side.transpose(1, 2)).transpose(1, 2) for conv, side in zip(convs, sides, strict=True)]
        both = torch.cat([side * torch.sigmoid(gate) for side, gate in zip(sides, gates, strict=True)], dim=-1)
        return norm(both) if with_norm else both

    frames.requires_grad_()
    found, expected = ours(frames), reference(frames)
    torch.testing.assert_close(found, expected)
    direction = torch.randn_like(expected)
    torch.testing.assert_close(
        torch.autograd.grad((found * direction).sum(), [frames, *parameters]),
        torch.autograd.grad((expected * direction).sum(), [frames, *parameters]),
    )


@pytest.mark.parametrize("num_taps", [2, 3, 9, 16])
@pytest.mark.parametrize("length", [1, 17, 40, 301])
def test_correlation_by_blocks_equals_conv1d_and_its_gradients(monkeypatch, num_taps, length):
    """Every use of it is forced, with runs of two blocks, and clips whose ends do not meet those of blocks."""
    monkeypatch.setattr("upscale.models.ops.winograd.WORKING_SET", 2 * 6 * (3 * num_taps - 1))
    monkeypatch.setattr(cpu_conv, "share_of_work", lambda frames, weight: 0.0)
    torch.manual_seed(0)
    frames = torch.randn(3, length, 6, dtype=torch.float64)
    weight = torch.randn(4, 6, num_taps, dtype=torch.float64)
    bias = torch.randn(4, dtype=torch.float64)
    output, found = gradients(same_conv, frames, weight, bias)
    reference, expected = gradients(reference_conv, frames, weight, bias)
    torch.testing.assert_close(output, reference)
    torch.testing.assert_close(found, expected)


def test_correlation_by_blocks_is_as_exact_as_the_direct_form():
    torch.manual_seed(0)
    frames, weight, bias = torch.randn(1, 3000, 64), torch.randn(32, 64, 16), torch.randn(32)
    grad = torch.randn(1, 3000, 32)
    exact = reference_conv(frames.double(), weight.double(), bias.double())
    by_blocks, direct = correlate(frames, weight, 7, bias), reference_conv(frames, weight, bias)
    assert (by_blocks - exact).abs().max() < 2 * (direct - exact).abs().max() + 1e-6 * exact.abs().max()
    exact = correlate_frames(frames.double(), grad.double(), 16, 7)
    assert (correlate_frames(frames, grad, 16, 7) - exact).abs().max() < 2e-6 * exact.abs().max()


def test_the_default_model_uses_both_forms():
    """Long layers with many channels go by blocks, tiny ones and short ones do not."""
    wide, narrow = torch.zeros(1, 22050, 64), torch.zeros(1, 44100, 16)
    assert cpu_conv.share_of_work(wide, torch.zeros(32, 64, 16)) < cpu_conv.OUTPUT_GAIN
    assert cpu_conv.share_of_work(narrow, torch.zeros(16, 16, 16)) > cpu_conv.OUTPUT_GAIN
    assert cpu_conv.share_of_work(wide[:, :100], torch.zeros(32, 64, 16)) > cpu_conv.WEIGHT_GAIN
