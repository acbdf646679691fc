"""Songs on patches that are drawn: music in tune, the same from the same number, none like another."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from scripts.released.music import synth_patches, synthesise


@pytest.fixture(autouse=True)
def short_songs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesise, "SECONDS", 4)


def test_a_song_replays_and_no_other_is_like_it(tmp_path: Path) -> None:
    songs = [synthesise.song(number) for number in range(12)]
    assert all(song.shape == (2, 4 * 44_100) and song.dtype == np.float32 for song in songs)
    assert all(0.25 < np.abs(song).max() <= 1 and np.isfinite(song).all() for song in songs)
    assert np.array_equal(songs[3], synthesise.song(3))
    synthesise.write_song(3, tmp_path)
    written, rate = soundfile.read(tmp_path / "synth_00003.flac", dtype="float32")
    assert rate == 44_100 and np.abs(written.T - songs[3]).max() < 1e-4
    spectra = [np.log10(np.abs(np.fft.rfft(song.mean(axis=0))) + 1e-3) for song in songs]
    likeness = np.corrcoef(
        [spectrum[: len(spectrum) // 400 * 400].reshape(-1, 400).mean(axis=1) for spectrum in spectra]
    )
    assert np.median(likeness[np.triu_indices(12, 1)]) < 0.97


def test_a_wavetable_sounds_at_multiples_of_its_pitch_alone() -> None:
    for seed in range(12):
        wave = synth_patches.wavetable(np.random.default_rng(seed))(440.0, 1.0, np.random.default_rng(1))
        power = np.abs(np.fft.rfft(wave * np.hanning(len(wave)))) ** 2
        number = np.fft.rfftfreq(len(wave), 1 / 44_100) / 440
        in_tune = (np.abs(number - np.round(number)) < 0.02 + 0.015 * number) & (number > 0.5)
        assert power[in_tune].sum() > 0.95 * power.sum(), seed


@pytest.mark.parametrize("speed", [0.5, 1.0, 2.0])
def test_a_sample_played_faster_is_as_much_shorter_and_higher(speed: float) -> None:
    sine = np.sin(2 * np.pi * 500 * np.arange(44_100) / 44_100).astype(np.float32)
    for seed in range(6):
        wave = synth_patches.sampled(sine, np.random.default_rng(seed))(speed)
        assert len(wave) == pytest.approx(44_100 / speed, rel=0.01)
        spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
        assert np.argmax(spectrum) * 44_100 / len(wave) == pytest.approx(500 * speed, rel=0.01)
