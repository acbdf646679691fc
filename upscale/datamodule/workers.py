"""The processes that make batches, and what the death of one of them looks like from outside."""

import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from types import FrameType, TracebackType
from typing import Any

import torch

PATIENCE_SECONDS = 1.0


class KilledWorker(RuntimeError):
    """A signal ended a data worker."""

    def __init__(self) -> None:
        super().__init__("a data worker was killed, perhaps for want of memory: use fewer of them (num_workers)")


def death_handler() -> Any:
    """The handler of SIGCHLD, for `raise_on_worker_death` to put back; None where the system has no such signal."""
    return (signal.getsignal(signal.SIGCHLD) or signal.SIG_DFL) if hasattr(signal, "SIGCHLD") else None


@contextmanager
def raise_on_worker_death(workers: Sequence[BaseProcess], handler: Any) -> Iterator[None]:
    """Inside the block the death of one of `workers` raises `KilledWorker`; at its end `handler` handles SIGCHLD again.

    torch's own handler raises wherever the run happens to be: in the writing of a checkpoint, or in a `try` that takes
    any exception for an answer.
    """

    def look(number: int, frame: FrameType | None) -> None:
        if any(map(is_killed, workers)):
            raise KilledWorker

    if handler is None or threading.current_thread() is not threading.main_thread():  # no signal comes here
        yield
        return
    try:
        signal.signal(signal.SIGCHLD, look)
        look(signal.SIGCHLD, None)
        yield
    finally:
        signal.signal(signal.SIGCHLD, handler)


def is_killed(worker: BaseProcess) -> bool:
    """Whether a signal ended it."""
    return worker.exitcode is not None and worker.exitcode < 0


def is_dying(workers: Sequence[BaseProcess]) -> bool:
    """Whether a signal ended one of `workers`, or is about to: its connections close before it counts as ended."""
    closed = wait([worker.sentinel for worker in workers], timeout=PATIENCE_SECONDS)
    for worker in workers:
        if worker.sentinel in closed:
            worker.join(PATIENCE_SECONDS)
    return any(map(is_killed, workers))


def prepare_worker(worker: int) -> None:
    """What a worker does first."""
    torch.set_num_threads(1)  # parallelism is in the processes
    sys.excepthook = _without_broken_connections


def _without_broken_connections(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A run that ends while a worker hands it a batch says why itself; the worker's thread would print a traceback."""
    if not isinstance(error, ConnectionError | EOFError):
        sys.__excepthook__(kind, error, trace)
