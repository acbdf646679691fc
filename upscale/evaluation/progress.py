"""Progress that suits where it is read: a bar on a terminal, a line now and then in a log file."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Item = TypeVar("Item")


def watched(
    items: Iterable[Item], total: int, title: str, every_seconds: float = 60.0, console: Console | None = None
) -> Iterator[Item]:
    """`items` one by one, while stderr says how many of `total` there were."""
    console = console or Console(stderr=True, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        yield from _with_lines(items, total, title, every_seconds, console)
        return
    columns = (TextColumn(f"{title:>7}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        yield from progress.track(items, total=total)


def _with_lines(
    items: Iterable[Item], total: int, title: str, every_seconds: float, console: Console
) -> Iterator[Item]:
    """A line at the first item that ends `every_seconds` or more after the line before; none at the last."""
    start = shown = time.monotonic()
    for number, item in enumerate(items, 1):
        now = time.monotonic()
        if number < total and now - shown >= every_seconds:
            shown = now
            minutes = (now - start) / number * (total - number) / 60
            console.print(f"{title}: {number} of {total}, about {max(1, round(minutes))} min to go")
        yield item
