"""How far an evaluation has come, on a terminal and in a log."""

import io

import pytest
from rich.console import Console

from upscale.evaluation import progress
from upscale.evaluation.progress import watched


@pytest.mark.parametrize("is_terminal", [True, False])
def test_items_pass_unchanged(is_terminal):
    console = Console(file=io.StringIO(), force_terminal=is_terminal)
    assert list(watched(iter("abc"), 3, "songs", console=console)) == ["a", "b", "c"]


def test_a_log_has_a_line_a_minute(monkeypatch):
    """Six songs of 40 seconds: a line after every second one, none once they are done."""
    console = Console(file=(log := io.StringIO()), force_terminal=False)
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

    def songs():
        for number in range(6):
            now[0] += 40.0
            yield number

    assert list(watched(songs(), 6, "songs", console=console)) == list(range(6))
    lines = ["songs: 2 of 6, about 3 min to go", "songs: 4 of 6, about 1 min to go"]
    assert log.getvalue().splitlines() == lines
