"""Restoring many files: skip what is done or good, go on after a broken one, stop cleanly, report everything."""

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import upscale
from upscale import atomic
from upscale.errors import UserError
from upscale.restore.files import FileOptions, FileResult, restore_file
from upscale.restore.inspect_file import Inspection, inspect_file
from upscale.restore.library import Job
from upscale.restore.restorer import Restorer

POLL_SECONDS = 0.2

logger = logging.getLogger(__name__)


class BatchStopped(Exception):
    """Raised inside a job when the whole run is being stopped."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of one file: its `status` is `restored`, `skipped` or `failed`."""

    job: Job
    status: str
    reason: str = ""
    result: FileResult | None = None
    inspection: Inspection | None = None

    def summary(self) -> dict[str, Any]:
        """The file's entry in the report."""
        values: dict[str, Any] = {
            "input": display(self.job.source),
            "output": display(self.job.target),
            "status": self.status,
            "reason": self.reason,
        }
        if self.inspection is not None:
            found = self.inspection
            values |= {"codec": found.codec, "bitrate": found.bitrate, "cutoff_hz": found.cutoff_hz}
        if self.result is not None:
            values |= {name: value for name, value in asdict(self.result).items() if name != "output"}
            values["seconds"] = self.result.num_samples / self.result.sample_rate
        return values


class Observer:
    """Is called, from the jobs' threads, as each file starts, advances and finishes; this one does nothing."""

    def started(self, job: Job, seconds: float | None) -> None: ...

    def advanced(self, job: Job, seconds: float) -> None: ...

    def finished(self, outcome: Outcome) -> None: ...


@dataclass(frozen=True)
class BatchRestorer:
    """Restores many files.

    `force` also restores files that are already good, `overwrite` replaces results that exist. `jobs` files are at work
    at a time. `after` is called with each job whose file was restored.
    """

    restorer: Restorer
    options: FileOptions = field(default_factory=FileOptions)
    force: bool = False
    overwrite: bool = False
    jobs: int = 1
    after: Callable[[Job], None] | None = None

    def run(self, jobs: Sequence[Job], observer: Observer | None = None) -> Generator[Outcome, None, None]:
        """Outcomes as they come. Closing the iterator (Ctrl-C) stops the jobs and leaves no half-written file."""
        observer, stop = observer or Observer(), threading.Event()
        pool = ThreadPoolExecutor(self.jobs, initializer=_share_cores, initargs=(self.jobs,))
        pending: set[Future[Outcome]] = {pool.submit(self._run_one, job, observer, stop) for job in jobs}
        try:
            while pending:
                # Short waits: on some platforms a main thread in one long wait does not react to Ctrl-C.
                done, pending = wait(pending, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
                for future in done:
                    outcome = future.result()
                    observer.finished(outcome)
                    yield outcome
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)

    def _run_one(self, job: Job, observer: Observer, stop: threading.Event) -> Outcome:
        try:
            return self._restore(job, observer, stop)
        except UserError as error:
            return Outcome(job, "failed", _without_name(error, job))
        except OSError as error:
            return Outcome(job, "failed", error.strerror or str(error))
        except BatchStopped:
            return Outcome(job, "failed", "interrupted")
        except Exception as error:  # whatever is wrong with one file, the rest goes on
            logger.debug("%s", job.source, exc_info=True)
            return Outcome(job, "failed", f"{type(error).__name__}: {error}")

    def _restore(self, job: Job, observer: Observer, stop: threading.Event) -> Outcome:
        def progress(seconds: float) -> None:
            if stop.is_set():
                raise BatchStopped
            observer.advanced(job, seconds)

        if job.clash is not None:
            return Outcome(job, "failed", f"would overwrite the output of {display(job.clash)}: restore it on its own")
        if job.target.exists() and not self.overwrite:
            return Outcome(job, "skipped", f"{display(job.target)} exists (--overwrite replaces it)")
        found = inspect_file(job.source)
        good = None if self.force else found.is_good(self.restorer.traits.bitrates)
        if good:
            return Outcome(job, "skipped", f"already good: {good} (--force restores it anyway)", inspection=found)
        observer.started(job, found.seconds)
        options = replace(self.options, subtype=job.subtype, bitrate=self.options.bitrate or found.effective_bitrate)
        result = restore_file(self.restorer, job.source, job.target, options, progress=progress)
        if self.after is not None:
            self.after(job)
        return Outcome(job, "restored", result=result, inspection=found)


def write_report(path: Path, outcomes: Sequence[Outcome], restorer: Restorer, started: float) -> None:
    """Write all outcomes as JSON, whole or not at all."""
    statuses = [outcome.status for outcome in outcomes]
    report = {
        "version": upscale.__version__,
        "model": restorer.traits.name,
        "device": restorer.backend.device,
        "elapsed_seconds": round(time.monotonic() - started, 2),
        **{status: statuses.count(status) for status in ("restored", "skipped", "failed")},
        "files": [outcome.summary() for outcome in outcomes],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(path, json.dumps(report, indent=2) + "\n")


def display(path: Path) -> str:
    """A path as text that can be printed, whatever bytes its name is made of."""
    return os.fsencode(path).decode("utf-8", "replace")


def _without_name(error: UserError, job: Job) -> str:
    """The error without the file's name, which the summary prints before it."""
    return str(error).removeprefix(f"{job.source}: ")


def _share_cores(jobs: int) -> None:
    """Each of several jobs gets its share of the cores; without PyTorch there is nothing to share."""
    if "torch" in sys.modules and jobs > 1:
        sys.modules["torch"].set_num_threads(max(1, (os.cpu_count() or 1) // jobs))
