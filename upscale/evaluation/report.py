"""The table: on screen, as report.md, and for programs (json=PATH)."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from upscale import __version__, atomic
from upscale.evaluation.results import Row
from upscale.evaluation.scores import METRICS
from upscale.evaluation.statistics import Summary
from upscale.evaluation.systems import label

COLUMNS = (
    *("metric", "kbit/s", "nothing", "level-matched", "restored", "improved", "95 % interval"),
    *("worst song", "better", "worse", ""),
)
ARROWS = {"higher": "↑", "lower": "↓", "zero": "→ 0"}
READING = (
    "*nothing*: the degraded input. *level-matched*: the trivial rival, the input times one gain per codec setting "
    "(the least-squares gain over this test set). *improved*: restored over nothing, positive where better in every "
    "metric, mean over songs with its bootstrap interval. *worst song*: the smallest improvement of a song. *better*, "
    "*worse*: the share of songs that got better or worse."
)


def print_table(summaries: Sequence[Summary], rows: Sequence[Row], console: Console | None = None) -> None:
    console = console or Console()
    if not console.is_terminal:
        console.width = 160  # in a file or a pipe nothing needs to wrap
    table = Table(title=_title(rows), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in ("metric", "") else "right")
    shown = ""
    for summary in summaries:
        if shown not in ("", summary.metric):
            table.add_section()
        cells = _cells(summary)
        table.add_row("" if shown == summary.metric else cells[0], *cells[1:], style="red" if cells[-1] else None)
        shown = summary.metric
    console.print(table)
    for note in notes(summaries, rows):
        console.print(note)


def write_report(
    summaries: Sequence[Summary],
    kinds: Mapping[str, Sequence[Summary]],
    rows: Sequence[Row],
    pictures: Sequence[str],
    path: Path,
) -> None:
    """report.md: the table, how to read it, a table for each kind of music, and the pictures beside it."""
    lines = [f"# {_title(rows)}", "", READING, "", *_markdown(summaries)]
    lines += ["", *(f"- {note}" for note in notes(summaries, rows))]
    for kind, part in kinds.items():
        lines += ["", f"## {kind}: {len({row.song for row in rows if row.kind == kind})} songs", "", *_markdown(part)]
    lines += ["", *(f"![{Path(name).stem}]({name})" for name in pictures)]
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(path, "\n".join(lines) + "\n")


def _markdown(summaries: Sequence[Summary]) -> list[str]:
    head = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    return head + [f"| {' | '.join(_cells(summary))} |" for summary in summaries]


def write_json(
    summaries: Sequence[Summary], kinds: Mapping[str, Sequence[Summary]], rows: Sequence[Row], seed: int, path: Path
) -> None:
    """The table for programs: undefined values are null, figures are unrounded."""
    first = rows[0]
    document = {
        "version": __version__,
        "system": first.system,
        "model": first.model,
        "bitrate_known": first.bitrate_known,
        "num_songs": len({row.song for row in rows}),
        "num_clips": len({row.clip for row in rows}),
        "seed": seed,
        "notes": notes(summaries, rows),
        "table": [_plain(summary) for summary in summaries],
        "kinds": {kind: [_plain(summary) for summary in part] for kind, part in kinds.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(path, json.dumps(document, indent=2, allow_nan=False) + "\n")


def _plain(summary: Summary) -> dict[str, Any]:
    values = asdict(summary)
    spec = values.pop("spec")
    codec: dict[str, Any] = {key: spec[key] for key in ("codec", "bitrate", "mode", "quality", "stereo")}
    metric = METRICS[summary.metric]
    named = {"metric": values.pop("metric"), "unit": metric.unit, "better": metric.better}
    figures = {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in values.items()}
    return named | codec | figures | {"verdict": summary.verdict}


def _title(rows: Sequence[Row]) -> str:
    names = {"identity": "doing nothing", "folder": f"outputs in {rows[0].model}", "model": rows[0].model}
    num_songs, num_clips = len({row.song for row in rows}), len({row.clip for row in rows})
    clips = "" if num_clips == num_songs else f", {num_clips} clips"
    return f"Evaluation of {names[rows[0].system]}: {num_songs} songs{clips}"


def _cells(summary: Summary) -> list[str]:
    metric = METRICS[summary.metric]
    unit = f" ({metric.unit})" if metric.unit else ""
    low, high = _signed(summary.improvement_low), _signed(summary.improvement_high)
    return [
        f"{metric.title}{unit} {ARROWS[metric.better]}",
        label(summary.spec),
        _figure(summary.do_nothing),
        _figure(summary.level),
        _figure(summary.restored),
        _signed(summary.improvement),
        "–" if math.isnan(summary.improvement_low) else f"{low} to {high}",
        _signed(summary.worst),
        _share(summary.share_better),
        _share(summary.share_worse),
        f"▼ {summary.verdict}" if summary.improvement < 0 else summary.verdict,
    ]


def _figure(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _share(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.0f} %"


def _signed(value: float) -> str:
    return "–" if math.isnan(value) else f"{value + 0.0:+.3f}" if value else "0.000"


def notes(summaries: Sequence[Summary], rows: Sequence[Row]) -> list[str]:
    """What a reader of the table has to know about this test set and these outputs."""
    found = []
    regressions = sum(summary.improvement < 0 for summary in summaries)
    if regressions:
        found.append(f"{regressions} of {len(summaries)} lines are worse than doing nothing (▼).")
    if any(math.isnan(summary.improvement_low) for summary in summaries):
        found.append("No interval (–): it needs two songs at least.")
    undefined = {row.song for row in rows if math.isnan(row.improvement)}
    if undefined:
        found.append(f"Without a value in some metric (silent, or too short for it): {_few(undefined)}.")
    lengths = {row.clip: row.length_difference for row in rows if row.length_difference}
    if lengths:
        worst = max(lengths.values(), key=abs)
        found.append(
            f"{len(lengths)} outputs had another length (up to {worst:+d} samples): cut or completed by zeros."
        )
    if not rows[0].bitrate_known:
        found.append("The model was not given the bitrate.")
    if any(row.output_channels != row.channels for row in rows):
        found.append("Outputs with another number of channels: mono was doubled, stereo mixed down.")
    return found


def _few(names: set[str]) -> str:
    some = sorted(names)
    return ", ".join(some[:5]) + (f" and {len(some) - 5} more" if len(some) > 5 else "")
