"""Pictures, drawn from results.csv alone: improvement against bitrate, and spectrograms of three songs."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from upscale import atomic
from upscale.audio import spectrogram
from upscale.codec import roundtrip
from upscale.errors import UserError
from upscale.evaluation.results import Row
from upscale.evaluation.scores import METRICS
from upscale.evaluation.statistics import Summary, by_song
from upscale.evaluation.systems import System, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SCALE_DB = (-110.0, -20.0)  # of a full-scale sine: music fills this range


def draw_improvement(summaries: Sequence[Summary], path: Path) -> None:
    """A panel per metric: improvement over doing nothing (the zero line) at every codec setting, with its intervals."""
    from matplotlib.figure import Figure

    metrics = list(dict.fromkeys(summary.metric for summary in summaries))
    num_columns = min(len(metrics), 4)
    num_rows = -(-len(metrics) // num_columns)
    figure = Figure(figsize=(4 * num_columns, 3.2 * num_rows), layout="constrained")
    axes = figure.subplots(num_rows, num_columns, squeeze=False).ravel()
    for axis, metric in zip(axes, metrics, strict=False):
        _improvement_panel(axis, [summary for summary in summaries if summary.metric == metric])
    for axis in axes[len(metrics) :]:
        axis.set_axis_off()
    axes[0].legend(fontsize="small")
    figure.suptitle("Improvement over doing nothing (up is better), mean over songs and 95 % bootstrap interval")
    _save(figure, path)


def _improvement_panel(axis: "Axes", summaries: Sequence[Summary]) -> None:
    metric = METRICS[summaries[0].metric]
    places = np.arange(len(summaries))
    lines = (
        ("restored", "C0", "o", -0.06, [(s.improvement, s.improvement_low, s.improvement_high) for s in summaries]),
        (
            "level-matched",
            "C1",
            "s",
            0.06,
            [(s.level_improvement, s.level_improvement_low, s.level_improvement_high) for s in summaries],
        ),
    )
    axis.axhline(0, color="black", linewidth=1, label="do nothing")
    for name, colour, marker, shift, values in lines:
        mean, low, high = np.array(values).T
        bars = np.nan_to_num(np.stack([mean - low, high - mean]))  # no bar where there is no interval
        axis.errorbar(places + shift, mean, yerr=bars, color=colour, marker=marker, capsize=3, label=name)
    axis.set_xticks(places, [label(summary.spec) for summary in summaries])
    axis.set_xlim(-0.5, len(summaries) - 0.5)
    axis.set_xlabel("kbit/s")
    axis.set_ylabel(metric.unit or "dimensionless")
    axis.set_title(metric.title)
    axis.grid(alpha=0.3)


def draw_spectrograms(rows: Sequence[Row], system: System, folder: Path, bitrate: int | None = None) -> list[Path]:
    """Clean, degraded, restored and error for the best, median and worst song, all on one scale.

    Songs are ranked by their improvement in the first metric at `bitrate` (by default the middle one). The audio is
    made again from the rows (file, start, codec setting), and `system` restores it again. Fewer than three songs make
    fewer pictures; of a song in several clips, the first is drawn.
    """
    ranked = _ranked_songs(rows, bitrate)
    places = {"best": 0, "worst": len(ranked) - 1, "median": len(ranked) // 2}
    names = {place: name for name, place in reversed(places.items()) if ranked}
    paths = [folder / f"spectrogram_{name}.png" for name in names.values()]
    for path, (place, name) in zip(paths, names.items(), strict=True):
        _draw_song(ranked[place], system, name, path)
    return paths


def _ranked_songs(rows: Sequence[Row], bitrate: int | None) -> list[Row]:
    """The first row of each song at one codec setting, the most improved song first; undefined songs are left out."""
    bitrates = sorted({row.bitrate for row in rows})
    wanted = bitrates[len(bitrates) // 2] if bitrate is None else bitrate
    setting = next((row for row in rows if row.bitrate == wanted), None)
    if setting is None:
        raise UserError(f"picture_bitrate={wanted} was not evaluated; choose from {bitrates}")
    chosen = [row for row in rows if row.metric == setting.metric and row.spec == setting.spec]
    first: dict[str, Row] = {}
    for row in chosen:
        first.setdefault(row.song, row)
    improvement = dict(zip(first, by_song(chosen)[:, 3], strict=True))
    defined = [song for song in first if not np.isnan(improvement[song])]
    return [first[song] for song in sorted(defined, key=improvement.__getitem__, reverse=True)]


def _draw_song(row: Row, system: System, name: str, path: Path) -> None:
    clean, sample_rate = row.source.load()
    degraded = roundtrip(clean, row.spec, sample_rate)
    restored = system(row.source, degraded, sample_rate, row.spec).wav
    signals = {"clean": clean, "degraded": degraded, "restored": restored, "error (clean - restored)": clean - restored}
    unit = METRICS[row.metric].unit
    title = (
        f"{name}: {row.clip}, {label(row.spec)} kbit/s, {METRICS[row.metric].title} "
        f"{row.do_nothing:.2f} → {row.restored:.2f} ({row.improvement:+.2f} {unit})".rstrip()
    )
    levels = {side: spectrogram.levels(wav) for side, wav in signals.items()}
    _save(spectrogram.figure(levels, clean.shape[1], sample_rate, scale=SCALE_DB, title=title), path)


def _save(figure: "Figure", path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic.replacing(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
