"""Songs that were once lossy are found; others are left in peace."""

import numpy as np
import pytest
from scipy import signal

from upscale import audio
from upscale.audio.cutoff import CutoffMeter
from upscale.codec import CodecSpec, encode, roundtrip
from upscale.corpus.analysis import lossy_cutoff
from upscale.corpus.demo import compose


@pytest.fixture(scope="module")
def song() -> np.ndarray:
    return compose(seed=2, seconds=4.0)


def cutoff(wav: np.ndarray, rate: int = 44_100) -> float | None:
    meter = CutoffMeter(rate)
    for part in np.array_split(wav, 3, axis=1):
        meter.add(part)
    return lossy_cutoff(meter)


def to_16_bit(wav: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(0)
    steps = wav * 32_767 + rng.random(wav.shape) - rng.random(wav.shape)
    return (np.rint(steps) / 32_767).astype(np.float32)


@pytest.mark.parametrize(("bitrate", "low", "high"), [(64, 10e3, 12e3), (128, 15.5e3, 17.5e3), (256, 19e3, 20.2e3)])
def test_lossy_cutoff_of_mp3_is_its_low_pass(song, bitrate, low, high):
    found = cutoff(to_16_bit(roundtrip(song, CodecSpec(bitrate=bitrate))))
    assert found is not None and low <= found <= high


@pytest.mark.parametrize(
    ("codec", "bitrate", "low", "high"),
    [
        ("mp3", 320, 19.8e3, 20.2e3),
        ("aac", 64, 12e3, 13.5e3),
        ("aac", 192, 19e3, 20.2e3),
        ("vorbis", 64, 15e3, 16e3),
        ("vorbis", 128, 18.5e3, 20e3),
        ("opus", 160, 19.9e3, 20.2e3),
    ],
)
def test_lossy_cutoff_is_found_in_files_of_every_encoder(song, tmp_path, codec, bitrate, low, high):
    """A whole file, decoded to 16 bits, as people turn them into WAV. AAC from 256 and Vorbis from 192 keep the top."""
    (tmp_path / "song").write_bytes(encode(song, CodecSpec(codec, bitrate)))
    wav, rate = audio.read(tmp_path / "song")
    found = cutoff(to_16_bit(wav), rate)
    assert found is not None and low <= found <= high


def test_lossy_cutoff_of_clean_music_is_none(song):
    assert cutoff(song) is None
    assert cutoff(to_16_bit(0.01 * song)) is None


def test_lossy_cutoff_of_a_gentle_roll_off_is_none(song):
    sos = signal.butter(2, 6000, fs=44_100, output="sos")
    assert cutoff(to_16_bit(signal.sosfilt(sos, song).astype(np.float32))) is None


def test_lossy_cutoff_of_resampled_music_is_none(song):
    assert cutoff(audio.resample(audio.resample(song, 44_100, 48_000), 48_000, 44_100)) is None
    assert cutoff(audio.resample(song, 44_100, 96_000), rate=96_000) is None


def test_lossy_cutoff_of_a_low_sample_rate_is_half_of_it(song):
    assert cutoff(audio.resample(song, 44_100, 22_050), rate=22_050) == 11_025
    narrow = audio.resample(audio.resample(song, 44_100, 32_000), 32_000, 44_100)
    found = cutoff(to_16_bit(narrow))
    assert found is not None and 14.5e3 < found < 16.2e3


def test_lossy_cutoff_of_silence_is_none():
    assert cutoff(np.zeros((2, 44_100), np.float32)) is None
