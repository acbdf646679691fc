"""The lag between a clean recording and its degraded version, by cross-correlation at several places of the file.

    clean     ------|excerpt|------
    degraded  ---|reach|excerpt|reach|---      lag > 0: the degraded side is late

Both are differentiated first: music falls by 6 dB an octave and more, so that without it the bass alone would decide,
and the bass hardly changes from one lag to the next. The top octaves stay out: they are the first that damage takes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft

from upscale.datamodule.batches import SAMPLE_RATE

EXCERPT = 16_384  # samples: short enough that a clock that is off by a thousandth moves little within it
REACH = 24_576  # samples, the largest lag that is found: 0.56 s
NUM_PLACES = 5
SHORTEST = 512  # samples; fewer tell nothing
STRETCH = 65_536  # samples around a place, of which the loudest excerpt is taken
BLOCK = 4_096
AUDIBLE = 1e-7  # mean square; what is quieter tells nothing
HIGHEST_HZ = 6_000  # what lies above is the first that is lost
RESEMBLES = 0.3  # a correlation that chance does not reach,
STANDS_OUT = 8.0  # nor, in standard deviations of the others, such a peak
AS_GOOD = 0.98  # of the largest correlation: periodic music has many peaks that noise alone ranks
SAME_PEAK = 0.999  # of it: within the noise of one peak, which is broad where there is only bass

Read = Callable[[int, int], np.ndarray]  # (start, num_samples) -> [C, num_samples or fewer]


@dataclass(frozen=True)
class Lags:
    """Lags in samples at `starts` (samples), positive where the degraded side is late; empty: nothing resembles.

    `lag` is what fits all places best; `inverted` says that the polarity of the degraded side is the opposite.
    `checked` is False where the recording is silent at every place, or too short: then nothing is known.
    """

    starts: tuple[int, ...] = ()
    lags: tuple[int, ...] = ()
    lag: int = 0
    inverted: bool = False
    checked: bool = True

    @property
    def drifts(self) -> bool:
        return bool(self.lags) and max(self.lags) - min(self.lags) > 1


def measure_lags(read_clean: Read, read_degraded: Read, num_samples: int) -> Lags:
    """Compare a few loud excerpts of a recording of `num_samples` samples with its degraded version."""
    curves, starts = [], []
    for start, excerpt in _loud_excerpts(read_clean, num_samples):
        window = _read_padded(read_degraded, start - REACH, excerpt.size + 2 * REACH)
        curves.append(_correlation(excerpt, window))
        starts.append(start)
    if not curves:
        return Lags(checked=False)
    strong = [number for number, curve in enumerate(curves) if _resembles(curve)]
    if 2 * len(strong) < len(curves):  # chance finds a lag at one place
        return Lags()
    curves, starts = [curves[number] for number in strong], [starts[number] for number in strong]
    total = np.mean(curves, axis=0)
    lag = _best_lag(total)
    lags = tuple(_lag_near(np.abs(curve), lag) for curve in curves)
    return Lags(tuple(starts), lags, lag, inverted=bool(total[lag + REACH] < 0))


def _loud_excerpts(read: Read, num_samples: int) -> list[tuple[int, np.ndarray]]:
    """(start, mono excerpt) of the places that are audible."""
    num_places = max(1, min(NUM_PLACES, num_samples // EXCERPT))
    region = num_samples // num_places
    excerpts = []
    for place in range(num_places):
        stretch = min(STRETCH, region)
        first = place * region + (region - stretch) // 2
        wav = _mono(read(first, stretch))
        blocks = [np.square(np.diff(wav[at : at + EXCERPT])).sum() for at in range(0, wav.size - EXCERPT + 1, BLOCK)]
        offset = BLOCK * int(np.argmax(blocks)) if blocks else 0
        excerpt = wav[offset : offset + EXCERPT]
        if excerpt.size >= SHORTEST and np.mean(np.square(excerpt)) > AUDIBLE:
            excerpts.append((first + offset, excerpt))
    return excerpts


def _mono(wav: np.ndarray) -> np.ndarray:
    """`[C, T]` -> `[T]`. Weights that differ: left and right of opposite polarity do not cancel."""
    return wav[0] + 0.5 * wav[1] if len(wav) > 1 else wav[0]


def _read_padded(read: Read, start: int, num_samples: int) -> np.ndarray:
    """`[num_samples]`, zeros where the recording has not begun or is over."""
    padded = np.zeros(num_samples, dtype=np.float32)
    before = max(0, -start)
    part = _mono(read(start + before, num_samples - before))
    padded[before : before + part.size] = part
    return padded


def _correlation(excerpt: np.ndarray, window: np.ndarray) -> np.ndarray:
    """`[n]`, `[n + 2 REACH]` -> the correlation coefficient at the lags -REACH to REACH."""
    size = next_fast_len(window.size, real=True)
    kept = int(HIGHEST_HZ / SAMPLE_RATE * size)
    spectra = [rfft(np.diff(wav), size)[:kept] for wav in (excerpt, window)]
    product = irfft(np.conj(spectra[0]) * spectra[1], size)[: 2 * REACH + 1]
    energy = np.cumsum(np.square(irfft(spectra[1], size), dtype=np.float64))
    heard = energy[excerpt.size - 1 :][: product.size] - energy[: product.size]
    own = 2 * np.sum(np.square(np.abs(spectra[0])), dtype=np.float64) / size
    floor = 1e-3 * heard.max() + 1e-20  # a window of near silence would correlate by its rounding errors
    return product / np.sqrt(own * np.maximum(heard, floor))


def _resembles(curve: np.ndarray) -> bool:
    """Whether the largest correlation is more than chance gives."""
    strength = np.abs(curve).max()
    return bool(strength >= RESEMBLES or strength >= STANDS_OUT * curve.std())


def _peaks(curve: np.ndarray) -> np.ndarray:
    """Where a curve is as large as its largest value, nearly, and larger than beside it."""
    padded = np.pad(curve, 1, constant_values=-1.0)
    is_peak = (curve >= padded[:-2]) & (curve >= padded[2:]) & (curve >= AS_GOOD * curve.max())
    return np.flatnonzero(is_peak)


def _best_lag(total: np.ndarray) -> int:
    """The smallest of the lags that are as good as the best."""
    strength = np.abs(total)
    if strength[REACH] >= SAME_PEAK * strength.max():
        return 0
    lags = _peaks(strength) - REACH
    return int(lags[np.argmin(np.abs(lags))])


def _lag_near(curve: np.ndarray, lag: int) -> int:
    """Of one place the lag that is as good as its best, nearest to `lag`."""
    if curve[lag + REACH] >= AS_GOOD * curve.max():
        return lag
    lags = _peaks(curve) - REACH
    return int(lags[np.argmin(np.abs(lags - lag))])
