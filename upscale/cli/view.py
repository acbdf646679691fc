"""What `upscale restore` shows: progress of each file at work and of all of them, and a line for each file done."""

from types import TracebackType

from rich.console import Console
from rich.progress import TaskID

from upscale.progress import Progress
from upscale.restore.batch import Observer, Outcome, display
from upscale.restore.library import Job

NAME_WIDTH = 40


class View(Observer):
    """Use as a context manager. Progress is bars on a terminal and a line a minute elsewhere."""

    def __init__(self, num_files: int, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._progress = Progress(self._console)
        self._num_files, self._num_finished = num_files, 0
        self._all: TaskID | None = None
        self._tasks: dict[Job, TaskID] = {}
        self._shares: dict[Job, tuple[float, float]] = {}  # seconds done, seconds in all

    def __enter__(self) -> "View":
        self._progress.__enter__()
        if self._num_files > 1:
            self._all = self._progress.add(f"all {self._num_files} files", self._num_files)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.__exit__(kind, error, trace)

    def started(self, job: Job, seconds: float | None) -> None:
        name = display(job.source)[-NAME_WIDTH:]
        self._tasks[job] = self._progress.add(name, seconds, unit=" s")
        self._shares[job] = (0.0, seconds or 0.0)

    def advanced(self, job: Job, seconds: float) -> None:
        self._progress.update(self._tasks[job], seconds)
        self._shares[job] = (seconds, self._shares[job][1])
        self._advance_all()

    def finished(self, outcome: Outcome) -> None:
        self._num_finished += 1
        self._shares.pop(outcome.job, None)
        task = self._tasks.pop(outcome.job, None)
        if task is not None:
            self._progress.remove(task)
        self._advance_all()
        self._console.print(describe(outcome), markup=False, style="red" if outcome.status == "failed" else None)

    def _advance_all(self) -> None:
        if self._all is not None:
            parts = sum(min(1.0, done / total) for done, total in list(self._shares.values()) if total)
            self._progress.update(self._all, self._num_finished + parts)


def describe(outcome: Outcome) -> str:
    """One line: what became of a file."""
    name = display(outcome.job.source)
    result = outcome.result
    if result is None:
        return f"{outcome.status}: {name}: {outcome.reason}"
    seconds = result.num_samples / result.sample_rate
    minutes = f"{int(seconds // 60)}:{seconds % 60:04.1f}"
    speed = seconds / max(result.elapsed_seconds, 1e-3)
    lost = f"; lost: {', '.join(result.lost_tags)}" if result.lost_tags else ""
    return (
        f"restored: {name} -> {display(result.output)} ({minutes}, {speed:.1f}x real time, "
        f"gain {result.gain_db:+.2f} dB, true peak {result.true_peak_db:.1f} dBTP{lost})"
    )
