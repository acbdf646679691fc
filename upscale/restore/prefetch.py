"""Stages of a pipeline that work at the same time: each in a thread of its own, a few items ahead of the next."""

from collections.abc import Generator, Iterable
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import TypeVar

Item = TypeVar("Item")
POLL_SECONDS = 0.1


class _End:
    """The last thing in the queue, with the error that ended the work, if one did."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def prefetch(items: Iterable[Item], depth: int = 2) -> Generator[Item, None, None]:
    """The same items, produced by a thread that is at most `depth` items ahead.

    An error in the thread is raised here; leaving the loop early (an error, Ctrl-C) ends the thread and closes `items`.
    """
    queue: Queue[Item | _End] = Queue(depth)
    stop = Event()
    thread = Thread(target=_produce, args=(items, queue, stop), daemon=True)
    thread.start()
    try:
        while True:
            item = _get(queue, thread)
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        stop.set()
        thread.join()


def _produce(items: Iterable[Item], queue: "Queue[Item | _End]", stop: Event) -> None:
    end = _End()
    try:
        for item in items:
            if not _put(queue, item, stop):
                break
    except BaseException as error:
        end = _End(error)
    finally:
        if isinstance(items, Generator):
            items.close()
        _put(queue, end, stop)


def _put(queue: "Queue[Item | _End]", item: "Item | _End", stop: Event) -> bool:
    while not stop.is_set():
        try:
            queue.put(item, timeout=POLL_SECONDS)
            return True
        except Full:
            continue
    return False


def _get(queue: "Queue[Item | _End]", thread: Thread) -> "Item | _End":
    # A plain get() cannot be interrupted by Ctrl-C on every platform; short waits can.
    while True:
        try:
            return queue.get(timeout=POLL_SECONDS)
        except Empty:
            assert thread.is_alive() or not queue.empty(), "a stage ended without an end mark"
