"""Progress that suits where it is read: bars on a terminal, a line a minute in a log file."""

import threading
import time
from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

EVERY_SECONDS = 60.0
Item = TypeVar("Item")


class Interval:
    """A clock that says when `seconds` have passed, and starts again."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.restart()

    def restart(self) -> None:
        self._start = time.monotonic()

    def passed(self) -> bool:
        """Whether `seconds` have passed since the start; if so, the next interval starts now."""
        if time.monotonic() - self._start < self.seconds:
            return False
        self.restart()
        return True


@dataclass
class _Task:
    title: str
    total: float | None
    unit: str
    interval: Interval
    start: float = field(default_factory=lambda: time.monotonic())

    def amount(self, completed: float) -> str:
        return f"{int(completed)}{'' if self.total is None else f' of {int(self.total)}'}{self.unit}"

    def line(self, completed: float) -> str:
        line = f"{self.title}: {self.amount(completed)}"
        if self.total is None or completed <= 0:
            return line
        minutes = (time.monotonic() - self.start) / completed * (self.total - completed) / 60
        return f"{line}, about {max(1, round(minutes))} min to go"


class Progress:
    """A bar for each task at work on a terminal; elsewhere a line for each task every `every_seconds`.

    Use as a context manager. `console` is stderr unless another is given. Safe to call from any thread.
    """

    def __init__(self, console: Console | None = None, every_seconds: float = EVERY_SECONDS) -> None:
        self.console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self.every_seconds = every_seconds
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[amount]}"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._tasks: dict[TaskID, _Task] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def add(self, title: str, total: float | None, unit: str = "") -> TaskID:
        """A new task; `total` in `unit` (" s"), or None where it is not known."""
        task = _Task(title, total, unit, Interval(self.every_seconds))
        number = self._bars.add_task(escape(title), total=total, amount=task.amount(0))
        self._tasks[number] = task
        return number

    def update(self, number: TaskID, completed: float) -> None:
        """How much of a task is done by now. A log file hears nothing of what is complete."""
        task = self._tasks[number]
        self._bars.update(number, completed=completed, amount=task.amount(completed))
        if self.console.is_terminal or (task.total is not None and completed >= task.total):
            return
        with self._lock:
            is_due = task.interval.passed()
        if is_due:
            self.console.print(task.line(completed), markup=False)

    def remove(self, number: TaskID) -> None:
        del self._tasks[number]
        self._bars.remove_task(number)


def with_progress(
    items: Iterable[Item],
    title: str,
    total: int | None = None,
    *,
    every_seconds: float = EVERY_SECONDS,
    console: Console | None = None,
) -> Iterator[Item]:
    """`items` one by one, while stderr says how many of `total` were handed out (`len(items)` where it has one)."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with Progress(console, every_seconds) as progress:
        task = progress.add(title, total)
        for count, item in enumerate(items, 1):
            progress.update(task, count)
            yield item
