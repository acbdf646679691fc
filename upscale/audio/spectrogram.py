"""Spectrograms: the level of a sound over time and frequency, and the pictures of it that this package draws.

Levels are decibels of a full-scale sine in its bin. All sounds of one picture share one scale, so that they can be
compared. matplotlib is imported where a picture is drawn.

Shapes: sound [C, T], levels [rows, columns], lowest frequency and earliest time first.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import scipy.fft

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUM_FFT = 2048
MAX_COLUMNS = 1200
FRAMES_PER_COLUMN = 4
RANGE_DB = 100.0
FLOOR = 1e-16  # power; -160 dB lies below the quantisation noise of 24 bit
COLORMAP = "magma"
Read = Callable[[int, int], np.ndarray]
"""`read(start, stop)` gives samples `[C, stop - start]`, fewer at the end. `start` never decreases."""


def levels(
    sound: np.ndarray | Read,
    num_samples: int | None = None,
    *,
    num_fft: int = NUM_FFT,
    num_rows: int | None = None,
    max_columns: int = MAX_COLUMNS,
) -> np.ndarray:
    """`[rows, columns]` in dB of a full-scale sine, mean power over channels.

    `num_samples` is needed where `sound` is a function that reads. A column averages at most four Hann windows, spread
    evenly over its stretch of time, so that the cost does not grow with the length. Rows are the `num_fft / 2 + 1`
    bins; or `num_rows` means over equally many bins, without the last bin (half the sample rate).
    """
    if isinstance(sound, np.ndarray):
        num_samples, sound = sound.shape[-1], _read_array(sound)
    assert num_samples is not None, "a function that reads does not say how long the sound is"
    window = np.hanning(num_fft + 1)[:-1]
    num_columns = min(max_columns, max(1, -(-num_samples // (num_fft // 8))))
    # One window suffices while neighbouring windows overlap by half.
    frames_per_column = min(FRAMES_PER_COLUMN, max(1, num_samples // num_columns // (num_fft // 2)))
    num_frames = num_columns * frames_per_column
    power = np.zeros((num_rows or num_fft // 2 + 1, num_columns))
    for frame in range(num_frames):
        middle = round((frame + 0.5) / num_frames * num_samples)
        # Inside the sound: a window that reached over a hard beginning or end would show it in every bin.
        start = max(0, min(middle - num_fft // 2, num_samples - num_fft))
        stretch = sound(start, start + num_fft)
        spectrum = scipy.fft.rfft(stretch * window[: stretch.shape[-1]], num_fft)
        bins = np.square(np.abs(spectrum)).mean(axis=0)
        if num_rows is not None:
            bins = bins[:-1].reshape(num_rows, -1).mean(axis=1)
        power[:, frame // frames_per_column] += bins
    # A full-scale sine has half of the window's sum in its bin.
    return 10 * np.log10(power / (frames_per_column * (window.sum() / 2) ** 2) + FLOOR)


def _read_array(wav: np.ndarray) -> Read:
    return lambda start, stop: wav[:, start:stop]


def read_blocks(blocks: Iterable[np.ndarray]) -> Read:
    """Read from consecutive blocks `[C, T]`, such as those of a file; no more is kept than will be read again."""
    rest = iter(blocks)
    first = next(rest, np.zeros((1, 0), np.float32))
    rest = chain([first], rest)
    held, held_start = first[:, :0], 0

    def read(start: int, stop: int) -> np.ndarray:
        nonlocal held, held_start
        parts, end = [held], held_start + held.shape[-1]
        while end < stop and (block := next(rest, None)) is not None:
            end += block.shape[-1]
            parts = [*parts, block] if end > start else [block[:, :0]]
        joined = np.concatenate(parts, axis=-1)
        joined_start = end - joined.shape[-1]
        held_start = min(max(start, joined_start), end)
        held = joined[:, held_start - joined_start :]
        return held[:, : max(0, stop - held_start)]

    return read


def full_range(pictures: Iterable[np.ndarray]) -> tuple[float, float]:
    """The scale (bottom, top) in dB that ends at the loudest point and reaches 100 dB down."""
    top = max(float(picture.max()) for picture in pictures)
    return top - RANGE_DB, top


def figure(
    pictures: Mapping[str, np.ndarray],
    num_samples: int,
    sample_rate: int,
    *,
    scale: tuple[float, float] | None = None,
    title: str = "",
    in_a_row: bool = False,
) -> "Figure":
    """Named levels `[rows, columns]`, one above the other or in a row, on one scale (by default `full_range`)."""
    from matplotlib.figure import Figure

    bottom, top = scale or full_range(pictures.values())
    count = len(pictures)
    size = (4.2 * count + 0.8, 3.4) if in_a_row else (12, 2.6 * count + 1.4)
    # A Figure of its own has no window and no global state: pictures are drawn in threads.
    drawn = Figure(figsize=size, layout="constrained")
    shape = (1, count) if in_a_row else (count, 1)
    axes = drawn.subplots(*shape, sharex=True, sharey=True, squeeze=False)
    for axis, (name, picture) in zip(axes.flat, pictures.items(), strict=True):
        image = axis.imshow(
            picture,
            origin="lower",
            aspect="auto",
            interpolation="antialiased",
            cmap=COLORMAP,
            vmin=bottom,
            vmax=top,
            extent=(0, num_samples / sample_rate, 0, sample_rate / 2000),
        )
        axis.set_title(name, fontsize="medium")
    for axis in axes[:, 0]:
        axis.set_ylabel("kHz")
    for axis in axes[-1]:
        axis.set_xlabel("seconds")
    drawn.colorbar(image, ax=axes, label="dB of a full-scale sine", shrink=1 if in_a_row else min(1, 2 / count))
    if title:
        drawn.suptitle(title)
    return drawn


def pixels(picture: np.ndarray, scale: tuple[float, float]) -> np.ndarray:
    """Levels as a bare image, uint8 RGBA `[rows, columns, 4]`, the highest frequency in the first row."""
    import matplotlib

    bottom, top = scale
    shade = np.clip((picture - bottom) / (top - bottom), 0, 1)
    return matplotlib.colormaps[COLORMAP](shade[::-1], bytes=True)
