"""Resampling, channels and true peak, by their properties."""

from math import ceil

import numpy as np
import pytest
import torch

from upscale.audio import resample, to_channels, true_peak
from upscale.audio.convert import _nearest_ratio, _prototype
from upscale.errors import UserError


def tone(frequency: float, sample_rate: int, seconds: float = 0.5) -> np.ndarray:
    return np.sin(2 * np.pi * frequency * np.arange(round(seconds * sample_rate)) / sample_rate).astype(np.float32)[
        None
    ]


@pytest.mark.parametrize(
    ("orig_rate", "new_rate"),
    [(48_000, 44_100), (44_100, 48_000), (96_000, 44_100), (22_050, 44_100), (44_100, 44_103)],
)
def test_a_tone_keeps_its_level_and_its_place(orig_rate: int, new_rate: int) -> None:
    result = resample(tone(5_000, orig_rate), orig_rate, new_rate)
    expected = tone(5_000, new_rate)
    assert result.dtype == np.float32
    inside = slice(1_000, min(result.shape[1], expected.shape[1]) - 1_000)
    np.testing.assert_allclose(result[:, inside], expected[:, inside], atol=2e-3)


def test_what_the_new_rate_cannot_hold_is_removed() -> None:
    assert np.abs(resample(tone(30_000, 96_000), 96_000, 44_100)[:, 1_000:-1_000]).max() < 1e-3


@pytest.mark.parametrize("num_samples", [0, 1, 2, 999, 44_101])
@pytest.mark.parametrize(("orig_rate", "new_rate"), [(48_000, 44_100), (44_100, 48_000), (8_000, 44_100)])
def test_length_and_kind(num_samples: int, orig_rate: int, new_rate: int) -> None:
    wav = np.zeros((2, num_samples), np.float32)
    expected = (2, ceil(num_samples * new_rate / orig_rate))
    assert resample(wav, orig_rate, new_rate).shape == expected
    result = resample(torch.from_numpy(wav), orig_rate, new_rate)
    assert isinstance(result, torch.Tensor) and result.shape == expected and result.dtype == torch.float32


def test_channels_are_averaged_and_doubled() -> None:
    for wav in (np.array([[1.0, 0.5], [0.0, -0.5]], np.float32), torch.tensor([[1.0, 0.5], [0.0, -0.5]])):
        mono = to_channels(wav, 1)
        assert type(mono) is type(wav) and mono.tolist() == [[0.5, 0.0]]
        assert to_channels(mono, 2).tolist() == [[0.5, 0.0], [0.5, 0.0]]
        assert to_channels(wav, 2) is wav
    with pytest.raises(UserError, match="6 channels"):
        to_channels(np.zeros((6, 10), np.float32), 2)


def test_true_peak_lies_between_the_samples() -> None:
    # A quarter of the sample rate, sampled at 45 degrees: samples at 0.707, the wave at 1.
    wav = np.sin(np.pi / 2 * np.arange(4_000) + np.pi / 4).astype(np.float32)[None] * np.hanning(4_000).astype(
        np.float32
    )
    assert np.abs(wav).max() == pytest.approx(0.7071, abs=1e-3)
    assert true_peak(wav) == pytest.approx(1.0, abs=5e-3)
    assert true_peak(torch.from_numpy(wav)) == true_peak(wav)
    assert true_peak(np.zeros((2, 0), np.float32)) == 0.0


def test_true_peak_of_a_long_signal_is_that_of_its_loudest_place() -> None:
    wav = 0.1 * np.random.default_rng(0).normal(size=(1, 600_000)).astype(np.float32).clip(-3, 3)
    wav[0, 2**18 - 1] = wav[0, 2**18] = 0.9  # across the edge of a block
    assert true_peak(wav) == pytest.approx(true_peak(wav[:, 2**18 - 5_000 : 2**18 + 5_000]), abs=1e-4)


@pytest.mark.parametrize(("orig_rate", "new_rate"), [(767_999, 44_100), (44_100, 767_999), (44_101, 44_100)])
def test_rates_without_a_common_divisor_cost_no_gigabytes(orig_rate: int, new_rate: int) -> None:
    """A header can claim any rate: the filter stays small, and a tone where it belongs."""
    seconds = 0.5
    wav = np.sin(2 * np.pi * 440 * np.arange(int(seconds * orig_rate)) / orig_rate)[None].astype(np.float32)
    resampled = resample(wav, orig_rate, new_rate)
    assert resampled.shape == (1, -(-wav.shape[1] * new_rate // orig_rate))
    expected = np.sin(2 * np.pi * 440 * np.arange(resampled.shape[1]) / new_rate)
    middle = slice(resampled.shape[1] // 4, -resampled.shape[1] // 4)
    assert np.abs(resampled[0, middle] - expected[middle]).max() < 1e-4
    assert _prototype(*_nearest_ratio(new_rate, orig_rate)).size < 2**24
