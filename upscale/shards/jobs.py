"""Independent jobs over processes, with their progress. The results do not depend on the number of processes."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import torch

from upscale.errors import UserError
from upscale.progress import with_progress

Item = TypeVar("Item")
Result = TypeVar("Result")


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_jobs(
    work: Callable[[Item], Result], items: Sequence[Item], workers: int, description: str
) -> Iterator[tuple[Item, Result]]:
    """(item, result) as they finish. After an error or Ctrl-C, jobs that run are finished and no new one starts."""
    if workers <= 1 or len(items) <= 1:
        yield from _run_here(work, items, description)
        return
    # As torch's own DataLoader does: forking saves each worker the seconds that importing torch takes.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with ProcessPoolExecutor(min(workers, len(items)), mp_context=context, initializer=_start_worker) as pool:
        try:
            futures = {pool.submit(work, item): item for item in items}
            for future in with_progress(as_completed(futures), description, len(items)):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise UserError(
                "a worker process was killed, perhaps for want of memory: run the same command again with workers=1"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _run_here(work: Callable[[Item], Result], items: Sequence[Item], description: str) -> Iterator[tuple[Item, Result]]:
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a worker: the order of a sum can depend on its threads
    try:
        for item in with_progress(items, description):
            yield item, work(item)
    finally:
        torch.set_num_threads(num_threads)


def _start_worker() -> None:
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that was killed cannot tell its workers to end: they would wait for work, or go on writing, forever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
