"""From rows to the table: means and bootstrap intervals over songs, the worst song, shares better and worse."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from upscale.codec import CodecSpec
from upscale.evaluation.results import Row, conditions
from upscale.seeds import derive_seed

CONFIDENCE = 0.95
NUM_RESAMPLES = 10_000


@dataclass(frozen=True)
class Summary:
    """One line of the table: one metric at one codec setting, over `num_songs` songs.

    `improvement` is the mean over songs of (restored against do nothing), positive where better, with the 95 %
    percentile-bootstrap interval of that mean; NaN bounds where there are fewer than two songs to draw from.
    `num_undefined` songs (silence) have no value in this metric and are left out.
    """

    metric: str
    spec: CodecSpec
    num_songs: int
    num_undefined: int
    do_nothing: float
    level: float
    restored: float
    improvement: float
    improvement_low: float
    improvement_high: float
    level_improvement: float
    level_improvement_low: float
    level_improvement_high: float
    share_better: float
    share_worse: float
    worst: float  # the smallest improvement of a song
    worst_song: str

    @property
    def verdict(self) -> str:
        """What a reader must not overlook."""
        if self.improvement < 0:
            return "worse than nothing"
        if 0 < self.improvement <= self.level_improvement:
            return "no better than level"
        return ""


def summarise(rows: Sequence[Row], seed: int = 0) -> list[Summary]:
    """A line for each metric (in the rows' order) and codec setting. The clips of a song count as their mean."""
    groups: dict[tuple[str, CodecSpec], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.metric, row.spec].append(row)
    metrics = dict.fromkeys(row.metric for row in rows)
    settings = [(metric, spec) for metric in metrics for spec in conditions(rows)]
    return [_summary(metric, spec, groups[metric, spec], seed) for metric, spec in settings if groups[metric, spec]]


def summarise_kinds(rows: Sequence[Row], seed: int = 0) -> dict[str, list[Summary]]:
    """The same for each kind of music, in alphabetical order; empty where no song has one."""
    kinds = sorted({row.kind for row in rows if row.kind})
    return {kind: summarise([row for row in rows if row.kind == kind], seed) for kind in kinds}


def _summary(metric: str, spec: CodecSpec, rows: Sequence[Row], seed: int) -> Summary:
    songs = by_song(rows)
    is_defined = ~np.isnan(songs).any(axis=1)
    defined = songs[is_defined]
    names = [name for name, kept in zip(dict.fromkeys(row.song for row in rows), is_defined, strict=True) if kept]
    worst = int(defined[:, 3].argmin()) if len(defined) else -1
    means = defined.mean(axis=0) if len(defined) else np.full(songs.shape[1], np.nan)
    low, high = bootstrap_interval(defined[:, 3:5], seed)
    return Summary(
        metric=metric,
        spec=spec,
        num_songs=len(defined),
        num_undefined=len(songs) - len(defined),
        do_nothing=float(means[0]),
        level=float(means[1]),
        restored=float(means[2]),
        improvement=float(means[3]),
        improvement_low=float(low[0]),
        improvement_high=float(high[0]),
        level_improvement=float(means[4]),
        level_improvement_low=float(low[1]),
        level_improvement_high=float(high[1]),
        share_better=float((defined[:, 3] > 0).mean()) if len(defined) else float("nan"),
        share_worse=float((defined[:, 3] < 0).mean()) if len(defined) else float("nan"),
        worst=float(defined[worst, 3]) if len(defined) else float("nan"),
        worst_song=names[worst] if names else "",
    )


def by_song(rows: Sequence[Row]) -> np.ndarray:
    """`[num_songs, 5]`: do_nothing, level, restored, improvement, level_improvement; each the mean of a song's clips.

    Clips without a value (silence) are left out of their song's mean; a song of such clips alone is NaN.
    """
    songs: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    for row in rows:
        values = (row.do_nothing, row.level, row.restored, row.improvement, row.level_improvement)
        songs[row.song].append(values)
    return np.array([_mean_of_defined(np.array(values)) for values in songs.values()])


def _mean_of_defined(values: np.ndarray) -> np.ndarray:
    defined = values[~np.isnan(values).any(axis=1)]
    return defined.mean(axis=0) if len(defined) else np.full(values.shape[1], np.nan)


def bootstrap_interval(values: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of the mean over axis 0 of `[N, M]`: percentiles of 10,000 resamples of the N songs. NaN below two songs.

    The same songs are drawn for every column, codec setting and metric, so that the intervals can be compared.
    """
    num_songs = len(values)
    if num_songs < 2:
        return np.full(values.shape[1], np.nan), np.full(values.shape[1], np.nan)
    generator = np.random.default_rng(derive_seed(seed, "bootstrap"))
    counts = generator.multinomial(num_songs, np.full(num_songs, 1 / num_songs), size=NUM_RESAMPLES)
    low, high = np.percentile(counts @ values / num_songs, [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)], axis=0)
    return low, high
