"""Small models with every trait that restoring must respect, and a way to make them public."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import upscale.models


class Halver(nn.Module):
    """Local, not shift invariant: pairs are averaged on a grid of 2**num_layers and spread by a filter there."""

    sample_rate = 44_100

    def __init__(self, channels: int = 1, num_layers: int = 3, level: float = 0.5) -> None:
        super().__init__()
        self.channels = channels
        self.stride = 2**num_layers
        self.context = 4 * self.stride
        self.level = nn.Parameter(torch.tensor(level))
        self.register_buffer("taps", torch.tensor([0.1, -0.3, 1.0, -0.4, 0.2]).repeat(channels, 1, 1))

    def forward(self, wav: Tensor, bitrate: Tensor | None = None) -> Tensor:
        num_samples = wav.shape[-1]
        padded = nn.functional.pad(wav, (0, -num_samples % self.stride))
        coarse = nn.functional.avg_pool1d(padded, self.stride)
        filtered = nn.functional.conv1d(coarse, self.taps, padding=2, groups=self.channels)
        change = filtered.repeat_interleave(self.stride, dim=-1)[..., :num_samples]
        gain = self.level if bitrate is None else self.level * (bitrate / 128)[:, None, None]
        return wav + gain * change


class Identity(nn.Module):
    """Changes nothing."""

    sample_rate, context, stride = 44_100, 0, 1

    def __init__(self, channels: int = 2) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, wav: Tensor, bitrate: Tensor | None = None) -> Tensor:
        return wav


@pytest.fixture
def halver(monkeypatch: pytest.MonkeyPatch) -> type[Halver]:
    """`Halver` as a public class of `upscale.models`."""
    monkeypatch.setattr(upscale.models, "Halver", Halver, raising=False)
    return Halver


@pytest.fixture
def identity(monkeypatch: pytest.MonkeyPatch) -> type[Identity]:
    """`Identity` as a public class of `upscale.models`."""
    monkeypatch.setattr(upscale.models, "Identity", Identity, raising=False)
    return Identity


@pytest.fixture
def noise() -> Callable[..., np.ndarray]:
    """White noise of any shape at -20 dB, the same for the same shape."""

    def make(*shape: int) -> np.ndarray:
        return 0.1 * np.random.default_rng(shape).standard_normal(shape).astype(np.float32)

    return make
