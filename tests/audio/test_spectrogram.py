"""Spectrograms: calibrated levels, the same from arrays and from blocks, and pictures with the right way up."""

import numpy as np
import pytest

from upscale.audio import spectrogram

RATE = 44_100


def sine(hz: float, seconds: float) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE)) / RATE).astype(np.float32)[None]


@pytest.mark.parametrize("seconds", [0.5, 40])
def test_a_full_scale_sine_has_level_zero_at_its_frequency(seconds: float):
    picture = spectrogram.levels(sine(100 * RATE / 2048, seconds))  # the centre of bin 100
    middle = picture[:, picture.shape[1] // 2]
    assert middle.argmax() == 100 and middle[100] == pytest.approx(0, abs=0.01)
    assert picture.shape[1] <= 1_200, "long songs get wider columns"


def test_level_falls_by_as_many_decibels_as_the_sound():
    wav = sine(1_000, 1)
    quieter = spectrogram.levels(wav) - spectrogram.levels(0.1 * wav)
    assert quieter[40:50, 5:-5] == pytest.approx(20, abs=0.01)


def test_channels_are_averaged_in_power():
    left = sine(1_000, 1)
    stereo = np.concatenate([left, np.zeros_like(left)])
    assert spectrogram.levels(stereo).max() == pytest.approx(
        spectrogram.levels(left).max() - 10 * np.log10(2), abs=1e-3
    )


def test_columns_follow_time_and_average_no_more_than_four_windows():
    seconds, reads = 100, []
    wav = np.concatenate([np.zeros((1, seconds * RATE // 2), np.float32), sine(1_000, seconds / 2)], axis=1)

    def read(start: int, stop: int) -> np.ndarray:
        reads.append(start)
        return wav[:, start:stop]

    loudest = spectrogram.levels(read, wav.shape[1]).max(axis=0)
    assert loudest[:598].max() < -150 and loudest[602:].min() > -2
    assert len(reads) <= 4 * 1_200 and reads == sorted(reads)


@pytest.mark.parametrize(
    ("num_samples", "block_samples"),
    [(100, 1), (100, 700), (2_048, 1), (30_001, 700), (500_000, 700), (500_000, 65_536)],
)
def test_blocks_give_the_same_levels_as_the_array(num_samples: int, block_samples: int):
    wav = np.random.default_rng(num_samples).standard_normal((2, num_samples)).astype(np.float32)
    blocks = (wav[:, start : start + block_samples] for start in range(0, num_samples, block_samples))
    np.testing.assert_array_equal(
        spectrogram.levels(spectrogram.read_blocks(blocks), num_samples), spectrogram.levels(wav)
    )


def test_a_file_that_ends_early_is_silent_from_there():
    wav = sine(1_000, 1)
    early = spectrogram.levels(spectrogram.read_blocks(iter([wav])), 2 * RATE)
    assert early[:, -20:].max() == pytest.approx(-160) and early[:, 10:20].max() > -2


def test_rows_are_means_over_equally_many_bins():
    wav = np.random.default_rng(0).standard_normal((1, RATE)).astype(np.float32)
    bins, rows = spectrogram.levels(wav, num_fft=4096), spectrogram.levels(wav, num_fft=4096, num_rows=256)
    assert rows.shape[0] == 256
    mean = (10 ** (bins[:-1] / 10)).reshape(256, 8, -1).mean(axis=1)
    assert rows == pytest.approx(10 * np.log10(mean), abs=1e-6)


def test_pixels_show_frequency_upwards_and_are_clipped_to_the_scale():
    picture = np.array([[0.0, -200.0], [-50.0, 20.0]])
    image = spectrogram.pixels(picture, (-100.0, 0.0))
    light = image[..., :3].astype(int).sum(axis=-1)
    assert image.shape == (2, 2, 4) and image.dtype == np.uint8
    assert light[0, 1] == light[1, 0] == light.max() and light[1, 1] == light.min()
    assert light.min() < light[0, 0] < light.max()


@pytest.mark.parametrize("in_a_row", [True, False])
def test_a_figure_shows_every_sound_on_one_scale(in_a_row: bool):
    pictures = {"loud": spectrogram.levels(sine(1_000, 0.5)), "quiet": spectrogram.levels(0.01 * sine(1_000, 0.5))}
    figure = spectrogram.figure(pictures, RATE // 2, RATE, title="Two sounds", in_a_row=in_a_row)
    shown = [axis for axis in figure.axes if axis.images]
    assert [axis.get_title() for axis in shown] == ["loud", "quiet"]
    assert len({axis.images[0].get_clim() for axis in shown}) == 1
    assert shown[0].images[0].get_extent() == [0, 0.5, 0, 22.05]
    assert figure.axes[-1].get_ylabel() == "dB of a full-scale sine"
