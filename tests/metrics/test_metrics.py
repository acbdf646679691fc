"""Metrics against closed forms and independent implementations (torchmetrics, scipy), and their rules for odd input."""

import numpy as np
import pytest
import scipy.signal
import torch
import torchmetrics.functional.audio as torchmetrics_audio

from upscale import metrics
from upscale.errors import UserError

RATE = 44_100
PLAIN = {
    "sdr": metrics.sdr,
    "si_sdr": metrics.si_sdr,
    "level_difference": metrics.level_difference,
    "lsd": metrics.lsd,
    "multi_resolution_stft": metrics.multi_resolution_stft,
    "error_below": lambda x, y: metrics.error_below(x, y, 11_000, RATE),
    "error_above": lambda x, y: metrics.error_above(x, y, 11_000, RATE),
}
BEST = {"sdr": 200, "si_sdr": 200, "level_difference": 0, "lsd": 0, "multi_resolution_stft": 0}
BEST |= {"error_below": -200, "error_above": -200}


def noise(*shape: int, seed: int = 0, scale: float = 0.1) -> np.ndarray:
    return (scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def pair(*shape: int) -> tuple[np.ndarray, np.ndarray]:
    clean = noise(*shape)
    return clean, 0.9 * clean + noise(*shape, seed=1, scale=0.02)


def tone(hz: float) -> np.ndarray:
    """Half a second that fades in and out: a hard edge would spread over the spectrum."""
    time = np.arange(RATE // 2) / RATE
    return (np.hanning(len(time)) * np.sin(2 * np.pi * hz * time)).astype(np.float32)[None] / 2


def low_pass(wav: np.ndarray, hz: float) -> np.ndarray:
    taps = scipy.signal.firwin(2001, hz, fs=RATE, window=("kaiser", 14))
    return scipy.signal.fftconvolve(wav, taps[None], mode="same")


def scipy_power(wav: np.ndarray, num_fft: int, hop: int) -> np.ndarray:
    return np.abs(scipy.signal.stft(wav.astype(np.float64), nperseg=num_fft, noverlap=num_fft - hop)[2]) ** 2


def test_sdr_is_the_plain_ratio():
    clean, other = pair(2, 5000)
    by_hand = 10 * np.log10((clean.astype(float) ** 2).sum() / ((clean.astype(float) - other) ** 2).sum())
    assert metrics.sdr(clean, other) == pytest.approx(by_hand, abs=1e-9)
    flat = [torch.from_numpy(wav).double().flatten() for wav in (other, clean)]
    assert metrics.sdr(clean, other) == pytest.approx(
        torchmetrics_audio.signal_noise_ratio(*flat, zero_mean=False).item(), abs=1e-6
    )


def test_si_sdr_is_torchmetrics_over_all_channels_jointly_with_the_mean_kept():
    clean, other = pair(2, 5000)
    other = other + 0.05  # an offset, so that removing the mean would show
    flat = [torch.from_numpy(wav).double().flatten() for wav in (other, clean)]
    expected = torchmetrics_audio.scale_invariant_signal_distortion_ratio(*flat, zero_mean=False).item()
    assert metrics.si_sdr(clean, other) == pytest.approx(expected, abs=1e-6)


def test_a_gain_alone_costs_sdr_and_level_but_not_si_sdr():
    clean = noise(2, 5000)
    quieter = clean * np.float32(0.5)
    assert metrics.si_sdr(clean, quieter) == 200
    assert metrics.sdr(clean, quieter) == pytest.approx(20 * np.log10(2))
    assert metrics.level_difference(clean, quieter) == pytest.approx(-20 * np.log10(2))


@pytest.mark.parametrize("num_samples", [100, 2048, 20_000, 300_001])
def test_lsd_is_scipys_stft_at_any_length(num_samples: int):
    clean, other = pair(2, num_samples)
    padded = [np.pad(wav, ((0, 0), (0, max(0, 2048 - num_samples)))) for wav in (clean, other)]
    frames = 1 + -(-num_samples // 512)
    powers = [scipy_power(wav, 2048, 512)[..., :frames] for wav in padded]
    distance = np.log10(powers[0] + 1e-10) - np.log10(powers[1] + 1e-10)
    expected = np.sqrt((distance**2).mean(axis=1)).mean()
    assert metrics.lsd(clean, other) == pytest.approx(expected, abs=1e-9)


def test_multi_resolution_stft_is_scipys():
    clean, other = pair(2, 30_000)
    expected = []
    for num_fft in (512, 1024, 2048):
        x, y = (scipy_power(wav, num_fft, num_fft // 4) for wav in (clean, other))
        convergence = np.linalg.norm(np.sqrt(x) - np.sqrt(y)) / np.linalg.norm(np.sqrt(x))
        expected.append(convergence + np.abs(np.log(x + 1e-10) - np.log(y + 1e-10)).mean() / 2)
    assert metrics.multi_resolution_stft(clean, other) == pytest.approx(np.mean(expected), abs=1e-9)


def test_band_errors_measure_their_own_band_only():
    low, high = tone(1_000), tone(15_000)
    bands = {"cutoff_hz": 8_000, "sample_rate": RATE}
    assert metrics.error_above(low + high, low, **bands) == pytest.approx(0, abs=0.01), "all of it is lost"
    assert metrics.error_below(low + high, low, **bands) < -60
    assert metrics.error_below(low + high, 0.9 * low + high, **bands) == pytest.approx(-20, abs=0.01)
    assert metrics.error_above(low + high, 0.9 * low + high, **bands) < -60


def test_cutoff_of_a_low_pass_is_found():
    clean = noise(2, RATE)
    assert metrics.codec_cutoff(clean, low_pass(clean, 11_000), RATE) == pytest.approx(11_000, abs=100)
    assert metrics.codec_cutoff(clean, clean, RATE) == RATE / 2
    assert metrics.codec_cutoff(0 * clean, 0 * clean, RATE) == 0
    no_top = low_pass(clean, 5_000)
    assert metrics.codec_cutoff(no_top, no_top, RATE) < 6_000, "bins without music are not 'kept'"


@pytest.mark.parametrize("name", PLAIN)
def test_metrics_keep_batch_shape_and_array_kind(name: str):
    clean, other = (wav.reshape(2, 3, 2, 3000) for wav in pair(12, 3000))
    values = PLAIN[name](clean, other)
    assert isinstance(values, np.ndarray) and values.shape == (2, 3)
    assert values[1, 2] == pytest.approx(PLAIN[name](clean[1, 2], other[1, 2]), rel=1e-9)
    tensors = PLAIN[name](torch.from_numpy(clean), torch.from_numpy(other))
    assert tensors.dtype == torch.float32 and tensors.numpy() == pytest.approx(values, rel=1e-5)


@pytest.mark.parametrize("name", PLAIN)
def test_identical_signals_have_the_best_value(name: str):
    clean = noise(2, 5000)
    assert PLAIN[name](clean, clean.copy()) == BEST[name]


@pytest.mark.parametrize("name", PLAIN)
def test_different_lengths_mono_against_stereo_and_nothing_are_refused(name: str):
    clean = noise(2, 3000)
    for other in (clean[:, :2999], clean[:1], noise(3, 2, 3000)):
        with pytest.raises(UserError, match="equal shapes"):
            PLAIN[name](clean, other)
    with pytest.raises(UserError, match="samples in them"):
        PLAIN[name](clean[:, :0], clean[:, :0])


@pytest.mark.parametrize("name", PLAIN)
def test_an_all_zero_reference_has_no_ratio(name: str):
    silence, other = np.zeros((2, 3000), np.float32), noise(2, 3000)
    for estimate in (silence, other):
        value = PLAIN[name](silence, estimate)
        if name == "lsd":
            assert value == 0 if estimate is silence else value > 1, "its floor makes it defined"
        else:
            assert np.isnan(value)


def test_an_all_zero_estimate_has_the_value_of_the_definition():
    clean, silence = noise(2, 3000), np.zeros((2, 3000), np.float32)
    assert metrics.sdr(clean, silence) == pytest.approx(0)
    assert metrics.si_sdr(clean, silence) == -200
    assert metrics.level_difference(clean, silence) == -200
    assert metrics.error_below(clean, silence, 11_000, RATE) == pytest.approx(0)


@pytest.mark.slow
def test_visqol_falls_with_damage_and_mixes_down():
    pytest.importorskip("visqol")
    clean = sum(np.roll(tone(hz), 7 * hz, axis=1) for hz in (220, 440, 1_000, 3_000, 9_000)) / 2
    clean = np.tile(np.concatenate([clean, clean[:, ::-1]]), 3)
    damaged = [clean + noise(*clean.shape, seed=2, scale=scale) for scale in (0.003, 0.1)]
    best, better, worse = (metrics.visqol(clean, wav, RATE) for wav in (clean, *damaged))
    assert best > 4.7 and best > better > worse >= 1
    assert metrics.visqol(clean, clean[::-1].copy(), RATE) == best, "swapped channels have the same mean"


def test_visqol_is_nan_for_short_or_silent_clips_and_names_its_package(monkeypatch: pytest.MonkeyPatch):
    short = noise(2, RATE // 2)
    assert np.isnan(metrics.visqol(short, short, RATE))
    assert np.isnan(metrics.visqol(np.zeros((2, 2 * RATE)), noise(2, 2 * RATE), RATE))
    with pytest.raises(UserError, match="one shape"):
        metrics.visqol(short, short[:1], RATE)
    from upscale.metrics import opinion_score

    opinion_score._api.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "visqol", None)
    with pytest.raises(UserError, match=r"pip install 'upscalemp3\[visqol\]'"):
        metrics.visqol(noise(2, 2 * RATE), noise(2, 2 * RATE), RATE)
    opinion_score._api.cache_clear()
