"""The fast operations compute what PyTorch's own compute, forwards and backwards."""

import pytest
import torch
import torch.nn.functional as F

from upscale.models.kernels import norm_gelu, same_conv


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
