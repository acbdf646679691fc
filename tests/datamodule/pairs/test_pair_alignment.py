"""Lags are found to the sample, drift and polarity by name; what is whole passes."""

import numpy as np
import pytest

from upscale.audio import resample
from upscale.codec import CodecSpec, roundtrip
from upscale.corpus.demo import compose
from upscale.datamodule.pairs.alignment import Lags, measure_lags

LONG = compose(11, seconds=12.0)
DEGRADED = {bitrate: roundtrip(LONG, CodecSpec(bitrate=bitrate)) for bitrate in (32, 128)}


def lags_of(clean: np.ndarray, degraded: np.ndarray) -> Lags:
    def reader(wav):
        return lambda start, num_samples: wav[:, start : start + num_samples]

    return measure_lags(reader(clean), reader(degraded), min(clean.shape[1], degraded.shape[1]))


def delayed(wav: np.ndarray, lag: int) -> np.ndarray:
    """The same length, `lag` samples later; silence where nothing was."""
    if lag < 0:
        return np.pad(wav[:, -lag:], ((0, 0), (0, -lag)))
    return np.pad(wav, ((0, 0), (lag, 0)))[:, : wav.shape[1]]


@pytest.mark.parametrize("lag", [-1105, -1, 0, 1, 3, 20_000])
@pytest.mark.parametrize("bitrate", [32, 128])
def test_a_constant_lag_is_found_to_the_sample(bitrate, lag):
    found = lags_of(LONG, delayed(DEGRADED[bitrate], lag))
    assert (found.lag, found.drifts, found.inverted) == (lag, False, False)
    assert len(found.lags) >= 3


def test_a_clock_that_is_off_drifts():
    found = lags_of(LONG, resample(DEGRADED[128], 20_000, 20_010))
    assert found.drifts
    assert found.lags == tuple(sorted(found.lags))
    for start, lag in zip(found.starts, found.lags, strict=True):
        assert lag == pytest.approx(start * 0.0005, abs=10)


def test_a_slow_drift_is_found():
    """Two samples and a half over the file."""
    positions = np.arange(LONG.shape[1]) * (1 - 2.5 / LONG.shape[1])
    slowed = np.stack([np.interp(positions, np.arange(LONG.shape[1]), channel) for channel in DEGRADED[128]])
    assert lags_of(LONG, slowed.astype(np.float32)).drifts


def test_opposite_polarity_is_named():
    found = lags_of(LONG, -delayed(DEGRADED[128], 3))
    assert (found.lag, found.inverted, found.drifts) == (3, True, False)


def test_another_recording_resembles_nothing():
    found = lags_of(LONG, compose(12, seconds=12.0))
    assert found.lags == () or found.drifts


def test_silent_passages_tell_nothing():
    clean, degraded = LONG.copy(), DEGRADED[128].copy()
    clean[:, : 6 * 44_100] = 0
    degraded[:, : 6 * 44_100] = 0
    assert lags_of(clean, delayed(degraded, 3)).lag == 3
    silent = lags_of(np.zeros((2, 44_100), np.float32), np.zeros((2, 44_100), np.float32))
    assert not silent.checked


@pytest.mark.parametrize("hz", [50.0, 997.0, 5_000.0])
def test_a_pure_tone_has_no_lag(hz):
    """Its correlation has a peak at every period: the one at zero counts."""
    tone = 0.3 * np.sin(2 * np.pi * hz * np.arange(3 * 44_100) / 44_100)[None].astype(np.float32)
    found = lags_of(tone, roundtrip(tone, CodecSpec(bitrate=64)))
    assert (found.lag, found.drifts, found.inverted) == (0, False, False)


def test_a_loop_has_no_lag():
    """A passage that comes again to the sample: again and again the same correlation."""
    loop = np.tile(LONG[:, :11_025], 12)
    found = lags_of(loop, roundtrip(loop, CodecSpec(bitrate=64)))
    assert (found.lag, found.drifts) == (0, False)


@pytest.mark.parametrize("num_samples", [3, 1000, 20_000])
def test_short_files_are_compared_too(num_samples):
    clean, degraded = LONG[:, 88_200 : 88_200 + num_samples], DEGRADED[128][:, 88_200 : 88_200 + num_samples]
    assert lags_of(clean, degraded).lag == 0


def test_mono_and_sides_of_opposite_sign_are_compared():
    assert lags_of(LONG[:1], delayed(DEGRADED[128][:1], 3)).lag == 3
    side = LONG[:1]
    assert lags_of(np.concatenate([side, -side]), delayed(np.concatenate([side, -side]), 3)).lag == 3
