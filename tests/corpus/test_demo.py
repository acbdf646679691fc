"""The composer: deterministic, musical, stereo, full-band, fast."""

import time

import numpy as np
import pytest

from upscale.corpus import demo, score
from upscale.corpus.demo import compose


def band_db(wav: np.ndarray, low: float, high: float) -> float:
    """Power of a band in dB of the whole."""
    power = np.sum(np.abs(np.fft.rfft(wav)) ** 2, axis=0)
    hz = np.fft.rfftfreq(wav.shape[1], 1 / 44_100)
    return float(10 * np.log10(power[(hz >= low) & (hz < high)].sum() / power.sum()))


@pytest.fixture(scope="module")
def song() -> np.ndarray:
    return compose(seed=3, seconds=4.0)


def test_song_has_its_length_and_stays_within_full_scale(song):
    assert song.shape == (2, 4 * 44_100)
    assert song.dtype == np.float32
    assert 0.2 < np.abs(song).max() < 1.0
    assert compose(seed=1, seconds=0.1).shape == (2, 4410)


def test_song_depends_on_its_seed_alone(song):
    np.testing.assert_array_equal(song, compose(seed=3, seconds=4.0))
    other = compose(seed=4, seconds=4.0)
    correlation = np.corrcoef(song.ravel(), other.ravel())[0, 1]
    assert abs(correlation) < 0.3


@pytest.mark.parametrize("seed", [0, 5])
def test_song_has_energy_from_bass_to_20_khz(seed):
    wav = compose(seed, seconds=4.0)
    for low, high, least in [(40, 200, -15), (200, 2000, -15), (2000, 8000, -30), (8000, 16_000, -40)]:
        assert band_db(wav, low, high) > least
    assert band_db(wav, 18_000, 20_000) > -50


def test_song_is_stereo_with_related_channels(song):
    middle, side = song[0] + song[1], song[0] - song[1]
    ratio = 10 * np.log10(np.mean(side**2) / np.mean(middle**2))
    assert -20 < ratio < 0


def test_scores_differ_in_tempo_key_and_have_sections():
    pieces = [score.write(np.random.default_rng(seed), seconds=20.0) for seed in range(8)]
    assert len({round(piece.beat_seconds, 3) for piece in pieces}) == 8
    assert len({min(note.pitch for note in piece.notes["pluck"]) % 12 for piece in pieces}) > 2
    for piece in pieces:
        assert len({note.pitch for note in piece.notes["pluck"]}) > 3
        assert piece.hits or piece.notes["bass"]


def test_sections_come_back():
    """The verse is heard again: the same plucked pitches after two sections."""
    piece = score.write(np.random.default_rng(1), seconds=90.0)
    notes = piece.notes["pluck"]
    last = max(note.start for note in notes)
    pitches = [note.pitch for note in notes]
    length = next(n for n in range(20, len(pitches)) if pitches[:20] == pitches[n : n + 20])
    assert notes[length].start < last


def test_songs_do_not_depend_on_their_number():
    few, many = demo.tracks(2, 5.0, seed=0), demo.tracks(4, 5.0, seed=0)
    assert few == many[:2]
    assert len({track.seed for track in many}) == 4
    wav = few[0].read(1000, 500)
    np.testing.assert_array_equal(wav, compose(few[0].seed, 5.0)[:, 1000:1500])


@pytest.mark.slow
def test_composes_faster_than_real_time():
    """50 times on a quiet core; a third of that here, as tests share their cores."""
    compose(seed=1, seconds=1.0)
    start = time.process_time()
    for seed in range(3):
        compose(seed, seconds=30.0)
    assert 90 / (time.process_time() - start) > 50 / 3
