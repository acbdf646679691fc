"""Moving averages against torch's pooling."""

import pytest
import torch
import torch.nn.functional as F

from upscale.models.layers.moving_average import moving_average


@pytest.mark.parametrize(("num_frames", "half_width"), [(1, 3), (5, 24), (300, 1), (300, 8), (1000, 192)])
def test_a_moving_average_is_of_the_frames_that_exist(num_frames: int, half_width: int) -> None:
    values = torch.rand(2, 3, num_frames, generator=torch.Generator().manual_seed(0))
    reference = F.avg_pool1d(values, 2 * half_width + 1, stride=1, padding=half_width, count_include_pad=False)
    assert torch.allclose(moving_average(values, half_width), reference, atol=1e-6)
