"""The edge that a codec cuts into the spectrum is found where it is, and nowhere else."""

import numpy as np
import pytest
from mp3s import RATE, by_lame, music, save
from scipy import signal

from upscale import audio
from upscale.audio.cutoff import measure_cutoff

WAV = music()


@pytest.mark.parametrize(("bitrate", "cutoff"), [(64, 11_270), (96, 15_400), (128, 16_780), (192, 18_850)])
def test_cutoff_is_that_of_the_codec_at_any_level(tmp_path, bitrate, cutoff):
    decoded, _ = audio.read(save(tmp_path / "a.mp3", by_lame(WAV, bitrate=bitrate)))
    assert measure_cutoff([decoded], RATE) == pytest.approx(cutoff, abs=150)
    # 16 bits of a CD-like copy do not hide the edge, nor does the level.
    quiet = np.rint(decoded * 0.1 * 32768) / 32768
    assert measure_cutoff([quiet], RATE) == pytest.approx(cutoff, abs=250)


def test_music_without_an_edge_has_no_cutoff():
    assert measure_cutoff([WAV], RATE) is None
    gentle = signal.lfilter(*signal.butter(4, 6_000, fs=RATE), WAV)
    assert measure_cutoff([gentle], RATE) is None
    assert measure_cutoff([np.zeros((2, RATE), np.float32)], RATE) is None
    assert measure_cutoff([], RATE) is None


@pytest.mark.parametrize("sample_rate", [2_000, 8_000, 16_000, 192_000, 768_000])
def test_noise_at_any_sample_rate_has_no_cutoff(sample_rate):
    noise = np.random.default_rng(0).standard_normal((1, 20_000)).astype(np.float32)
    assert measure_cutoff([noise], sample_rate) is None
