"""The processes that make batches, and what the death of one of them looks like from outside."""

import sys
from collections.abc import Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from types import TracebackType

import torch

PATIENCE_SECONDS = 1.0


def is_killed_worker(error: BaseException) -> bool:
    """Whether a data worker died: torch says so wherever the run is just then, in its handler of SIGCHLD."""
    return str(error).startswith("DataLoader worker")


def is_any_killed(workers: Sequence[BaseProcess]) -> bool:
    """Whether a signal ended one of `workers`, or is about to: its connections close before it counts as ended."""
    closed = wait([worker.sentinel for worker in workers], timeout=PATIENCE_SECONDS)
    for worker in workers:
        if worker.sentinel in closed:
            worker.join(PATIENCE_SECONDS)
    return any(worker.exitcode is not None and worker.exitcode < 0 for worker in workers)


def prepare_worker(worker: int) -> None:
    """What a worker does first."""
    torch.set_num_threads(1)  # parallelism is in the processes
    sys.excepthook = _without_broken_connections


def _without_broken_connections(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A run that ends while a worker hands it a batch says why itself; the worker's thread would print a traceback."""
    if not isinstance(error, ConnectionError | EOFError):
        sys.__excepthook__(kind, error, trace)
