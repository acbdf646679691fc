"""A sweep's summary: what was varied, every run's best validation and improvement per bitrate, links to the runs.

A Hydra callback writes `summary.md`, `summary.csv`, `summary.json` and `summary.png` into the multirun's folder. It
does so after every job, not only at the end: a failed job makes Hydra raise before the end, a killed sweep has none.
"""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich import box
from rich.console import Console
from rich.table import Table

from upscale import atomic

ERROR_FILE = "error.txt"
GAIN = "val/si_sdr_gain"


@dataclass(frozen=True)
class SweepRun:
    """One job of a multirun, from the files in its folder."""

    folder: Path
    status: str  # "done", "failed" or "unfinished"
    overrides: dict[str, str]
    monitor: str = ""
    best: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    error: str = ""

    @property
    def gains(self) -> dict[int, float]:
        """SI-SDR improvement over doing nothing in dB at each validated bitrate, at the best validation."""
        found = {name.removeprefix(f"{GAIN}/"): value for name, value in self.metrics.items()}
        return {int(bitrate): value for bitrate, value in sorted(found.items()) if bitrate.isdigit()}


class SweepSummary(Callback):
    """Keeps the summary of a multirun up to date, and prints it at the end."""

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        if config.hydra.mode.name != "MULTIRUN":
            return
        if job_return.status == JobStatus.FAILED:
            error = job_return._return_value
            path = Path(config.hydra.runtime.output_dir) / ERROR_FILE
            path.write_text(f"{type(error).__name__}: {error}\n", encoding="utf-8")
        update_summary(Path(config.hydra.sweep.dir))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        runs = update_summary(Path(config.hydra.sweep.dir))
        print_summary(runs, Path(config.hydra.sweep.dir))


def update_summary(folder: Path) -> list[SweepRun]:
    """Write the summary files. Jobs that end together all come here: whoever wrote an old state writes again."""
    runs = read_runs(folder)
    while True:
        _write_files(runs, folder)
        now = read_runs(folder)
        if now == runs:
            return runs
        runs = now


def read_runs(folder: Path) -> list[SweepRun]:
    """Every job that has begun, in the order of its number."""
    begun = [path.parent.parent for path in folder.glob("*/.hydra/overrides.yaml")]
    return [_read_run(path) for path in sorted(begun, key=lambda path: (len(path.name), path.name))]


def _read_run(folder: Path) -> SweepRun:
    overrides = dict(_split(line) for line in yaml.safe_load((folder / ".hydra" / "overrides.yaml").read_text()))
    if (folder / ERROR_FILE).exists():
        error = " ".join((folder / ERROR_FILE).read_text(encoding="utf-8").split())
        return SweepRun(folder, "failed", overrides, error=error)
    if not (folder / "result.json").exists():
        return SweepRun(folder, "unfinished", overrides)
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return SweepRun(folder, "done", overrides, result["monitor"], result["best"], result["best_metrics"])


def _split(override: str) -> tuple[str, str]:
    key, _, value = override.lstrip("+~").partition("=")
    return key, value


def varied(runs: Sequence[SweepRun]) -> list[str]:
    """The settings that are not the same in all runs; all of them where there is one run only."""
    keys = dict.fromkeys(key for run in runs for key in run.overrides)
    different = [key for key in keys if len({run.overrides.get(key) for run in runs}) > 1]
    return different or list(keys)


def name_of(run: SweepRun, keys: Sequence[str]) -> str:
    return " ".join(f"{key.rpartition('.')[2]}={run.overrides.get(key, '')}" for key in keys) or run.folder.name


def columns(runs: Sequence[SweepRun]) -> list[str]:
    monitor = next((run.monitor for run in runs if run.monitor), "best")
    return ["run", *varied(runs), f"best {monitor}", "SDR gain", "SI-SDR gain", *map(str, _bitrates(runs)), "status"]


def cells(run: SweepRun, runs: Sequence[SweepRun]) -> list[str]:
    """A run's line under `columns`; gains are over doing nothing, in dB."""
    gains = [run.metrics.get("val/sdr_gain"), run.metrics.get(GAIN), *(run.gains.get(rate) for rate in _bitrates(runs))]
    return [
        run.folder.name,
        *(run.overrides.get(key, "") for key in varied(runs)),
        "" if run.best is None else f"{run.best:.5g}",
        *("" if gain is None else f"{gain:+.3f}" for gain in gains),
        f"{run.status}: {run.error}" if run.error else run.status,
    ]


def _bitrates(runs: Sequence[SweepRun]) -> list[int]:
    return sorted({bitrate for run in runs for bitrate in run.gains})


def print_summary(runs: Sequence[SweepRun], folder: Path) -> None:
    console = Console()
    if not console.is_terminal:
        console.width = 160  # in a file or a pipe nothing needs to wrap
    table = Table(title=f"{len(runs)} runs in {folder}", title_justify="left", box=box.SIMPLE_HEAD)
    for column in columns(runs):
        table.add_column(column, overflow="fold")
    for run in runs:
        table.add_row(*cells(run, runs), style=None if run.status == "done" else "red")
    console.print(table)
    console.print(f"summary: {folder / 'summary.md'}", soft_wrap=True)


def _write_files(runs: Sequence[SweepRun], folder: Path) -> None:
    from upscale.training.sweep_plot import draw_sweep  # Matplotlib, which a single run need not wait for

    atomic.write_text(folder / "summary.md", _markdown(runs, folder))
    with atomic.replacing(folder / "summary.csv") as temporary:
        _write_csv(runs, temporary)
    atomic.write_text(folder / "summary.json", _json(runs))
    names = [name_of(run, varied(runs)) for run in runs]
    with atomic.replacing(folder / "summary.png", suffix=".png") as temporary:
        draw_sweep(names, [run.gains for run in runs], temporary)


def _markdown(runs: Sequence[SweepRun], folder: Path) -> str:
    done = sum(run.status == "done" for run in runs)
    header = columns(runs)
    lines = [f"# Sweep {folder.name}: {done} of {len(runs)} runs done", ""]
    lines += [f"Varied: {', '.join(f'`{key}`' for key in varied(runs)) or 'nothing'}.", ""]
    lines += [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    for run in runs:
        number, *rest = (cell.replace("|", "\\|") for cell in cells(run, runs))
        lines.append(f"| {' | '.join([f'[{number}]({number}/)', *rest])} |")
    lines += [
        "",
        "Gains are over doing nothing, in dB, at the best validation; figures under a bitrate are SI-SDR gains.",
    ]
    return "\n".join([*lines, "", "![SI-SDR gain against bitrate](summary.png)", ""])


def _write_csv(runs: Sequence[SweepRun], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns(runs), *(cells(run, runs) for run in runs)])


def _json(runs: Sequence[SweepRun]) -> str:
    described = [
        {
            "folder": run.folder.name,
            "status": run.status,
            "overrides": run.overrides,
            "monitor": run.monitor,
            "best": run.best,
            "metrics": run.metrics,
            "error": run.error,
        }
        for run in runs
    ]
    return json.dumps({"varied": varied(runs), "runs": described}, indent=2) + "\n"
