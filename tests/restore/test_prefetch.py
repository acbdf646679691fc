"""Stages that work at the same time."""

import threading

import pytest

from upscale.restore.prefetch import prefetch


def test_prefetch_overlaps_is_bounded_and_passes_errors_on():
    """The producer works while the consumer holds an item, is bounded, and its error arrives."""
    made: list[int] = []

    def produce():
        for number in range(100):
            made.append(number)
            yield number
        raise ValueError("at the end")

    items = prefetch(produce(), depth=2)
    assert next(items) == 0
    waited = threading.Event()
    for _ in range(50):
        if len(made) >= 3:
            break
        waited.wait(0.02)
    assert 3 <= len(made) <= 5
    with pytest.raises(ValueError, match="at the end"):
        list(items)
