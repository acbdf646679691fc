"""Convolutions between blocks of samples are the same convolutions, and so are their gradients."""

import pytest
import torch

from upscale.models.ops.blocked_conv import block_size, conv_in_blocks, from_toeplitz, matrix_block, toeplitz
from upscale.models.ops.cpu_conv import image_conv, pad


@pytest.mark.parametrize("num_taps", [1, 3, 15, 16])
@pytest.mark.parametrize("channels", [(1, 16), (8, 8), (32, 12)])
@pytest.mark.parametrize("length", [5, 37, 64])
def test_conv_in_blocks_equals_conv1d_and_its_gradients(num_taps, channels, length):
    torch.manual_seed(0)
    inputs, outputs = channels
    frames = torch.randn(2, length, inputs, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(outputs, inputs, num_taps, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(outputs, dtype=torch.float64, requires_grad=True)
    expected = image_conv(pad(frames, num_taps), weight, bias)
    output = conv_in_blocks(frames, weight, bias)
    torch.testing.assert_close(output, expected)
    direction = torch.randn_like(expected)
    parameters = (frames, weight, bias)
    found = torch.autograd.grad(output, parameters, direction)
    torch.testing.assert_close(found, torch.autograd.grad(expected, parameters, direction))


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_the_way_back_from_toeplitz_is_its_transpose(size):
    torch.manual_seed(0)
    weight = torch.randn(3, 5, 16, dtype=torch.float64)
    matrix = toeplitz(weight, size)
    direction = torch.randn_like(matrix)
    there = (matrix * direction).sum()
    torch.testing.assert_close(there, (weight * from_toeplitz(direction, weight, size)).sum())
    assert matrix.shape[-1] % 2 == 1  # as many blocks before as after: padding needs no copy
    assert matrix.is_contiguous(memory_format=torch.channels_last)


def test_blocks_fill_a_matrix_unit_and_no_more():
    assert [block_size(c, c) for c in (8, 16, 32, 48, 64, 96, 128)] == [8, 8, 4, 4, 2, 2, 1]
    assert block_size(96, 48) == 2
    assert (matrix_block(64, 16), matrix_block(63, 16), matrix_block(64, 32)) == (4, 1, 1)
