"""Progress: bars on a terminal, a line a minute in a log, and the items as they are."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from upscale import progress
from upscale.progress import Interval, Progress, with_progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that stands still until `now` is set."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock.now)
    return clock


def test_interval_passes_once_and_starts_again(clock):
    interval = Interval(60)
    passed = []
    for clock.now in (59, 60, 61, 119, 120):
        passed.append(interval.passed())
    assert passed == [False, True, False, False, True]


def test_log_lines_of_tasks_keep_their_own_time_and_unit(clock):
    console = Console(file=(log := io.StringIO()), force_terminal=False)
    with Progress(console) as shown:
        first, unknown = shown.add("a [1].mp3", 240.6, unit=" s"), shown.add("b.mp3", None, unit=" s")
        clock.now = 61
        shown.update(first, 60.5)
        shown.update(first, 61.0)
        shown.update(unknown, 7.9)
        clock.now = 122
        shown.update(first, 240.6)
    assert log.getvalue().splitlines() == ["a [1].mp3: 60 of 240 s, about 3 min to go", "b.mp3: 7 s"]


def test_terminal_shows_title_share_and_amount():
    console = Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)
    with Progress(console) as shown:
        shown.update(shown.add("a [1].mp3", 10.0, unit=" s"), 2.5)
        shown._bars.refresh()
        drawn = console.file.getvalue()
    assert all(text in drawn for text in ("a [1].mp3", " 25 %", "2 of 10 s", "-:--:--"))


@pytest.mark.parametrize("is_terminal", [True, False])
def test_with_progress_passes_items_on_unchanged(is_terminal):
    console = Console(file=io.StringIO(), force_terminal=is_terminal)
    assert list(with_progress(iter("abc"), "songs", 3, console=console)) == ["a", "b", "c"]


def test_with_progress_prints_a_line_a_minute_in_a_log(clock):
    """Six songs of 40 seconds: a line after every second one, none once they are done."""
    console = Console(file=(log := io.StringIO()), force_terminal=False)

    def songs():
        for number in range(6):
            clock.now += 40.0
            yield number

    assert list(with_progress(songs(), "songs", 6, console=console)) == list(range(6))
    lines = ["songs: 2 of 6, about 3 min to go", "songs: 4 of 6, about 1 min to go"]
    assert log.getvalue().splitlines() == lines
