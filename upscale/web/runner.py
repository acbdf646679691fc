"""The server's side of the worker process: start it, send it jobs, supervise it, and end it when a job must stop."""

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from upscale.errors import UserError
from upscale.web.job import Request
from upscale.web.limits import Limits

POLL_SECONDS = 0.2
COMMAND = (sys.executable, "-m", "upscale.web.worker")
CRASHED = "the file made the decoder fail; it is probably damaged"


class Cancelled(UserError):
    """The visitor, or the end of the server, stopped the job."""


@dataclass
class _Job:
    request: Request
    after: Callable[[], object]
    cancelled: threading.Event = field(default_factory=threading.Event)
    messages: "queue.Queue[dict[str, Any] | Exception]" = field(default_factory=queue.Queue)


class Runner:
    """One worker, one job at a time; a second caller waits for the first.

    A job runs in a thread of its own. Gradio drops the generator of a visitor who has gone without closing it; if the
    generator held the worker, it would hold it for ever.
    """

    def __init__(self, limits: Limits, command: tuple[str, ...] = COMMAND) -> None:
        self.limits = limits
        self._command = command
        self._process: subprocess.Popen[str] | None = None
        self._messages: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._busy = threading.Lock()
        self._jobs: dict[str, _Job] = {}  # by folder
        self._closed = False

    def warm_up(self) -> None:
        """Start the worker before the first job needs it: its imports take seconds."""
        with self._busy:
            if self._process is None and not self._closed:
                self._start_process()

    def run(self, request: Request, after: Callable[[], object] = lambda: None) -> Iterator[dict[str, Any]]:
        """The job's messages: `stage` and `fraction`, at last `result`. Raises `UserError` where the job fails.

        Closing the iterator ends the job. `after` is called once the worker no longer uses the file, in any case.
        """
        job = self._jobs[request.folder] = _Job(request, after)
        threading.Thread(target=self._work, args=(job,), daemon=True).start()
        try:
            while True:
                message = job.messages.get()
                if isinstance(message, Exception):
                    raise message
                yield message
                if "result" in message:
                    return
        finally:
            job.cancelled.set()

    def cancel(self, folder: str) -> None:
        """Stop this workspace's job if there is one."""
        job = self._jobs.get(folder)
        if job is not None:
            job.cancelled.set()

    def close(self) -> None:
        self._closed = True
        self._end_process()

    def _work(self, job: _Job) -> None:
        try:
            with self._busy:
                if job.cancelled.is_set():  # before it began: the worker can stay
                    raise Cancelled("cancelled")
                self._do(job)
        except Exception as error:  # the visitor's generator raises it
            job.messages.put(error)
        finally:
            if self._jobs.get(job.request.folder) is job:
                del self._jobs[job.request.folder]
            job.after()

    def _do(self, job: _Job) -> None:
        """Send the job to the worker and its messages back. A worker that has not finished its job is ended."""
        finished = False
        try:
            self._send(job.request)
            while not finished:
                message = self._receive(job.cancelled)
                finished = "result" in message or "error" in message
                if "error" in message:
                    raise UserError(message["error"])
                job.messages.put(message)
        finally:
            if not finished:
                self._end_process()

    def _receive(self, cancelled: threading.Event) -> dict[str, Any]:
        """The worker's next message, or the reason why there will be none."""
        until = time.monotonic() + self.limits.job_stall_seconds
        while True:
            if self._closed or cancelled.is_set():
                raise Cancelled("cancelled")
            if self._resident_bytes() > self.limits.worker_bytes:
                raise UserError("this file needs more memory than the server gives")
            if time.monotonic() > until:
                raise UserError("this file takes too long; it may be damaged")
            try:
                message = self._messages.get(timeout=POLL_SECONDS)
            except queue.Empty:
                continue
            if message is None:
                raise UserError(CRASHED)
            return message

    def _send(self, request: Request) -> None:
        if self._process is None or self._process.poll() is not None:
            self._start_process()
        assert self._process is not None and self._process.stdin is not None
        with suppress(BrokenPipeError):  # the worker is gone: _receive will see its end
            self._process.stdin.write(json.dumps(asdict(request)) + "\n")
            self._process.stdin.flush()

    def _start_process(self) -> None:
        self._messages = queue.Queue()
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        threading.Thread(target=_listen, args=(self._process, self._messages), daemon=True).start()

    def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def _resident_bytes(self) -> int:
        """Resident memory of the worker; 0 where it cannot be read (only Linux has /proc)."""
        process = self._process
        if process is None:
            return 0
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            return 0
        for line in status.splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        return 0


def _listen(process: "subprocess.Popen[str]", messages: "queue.Queue[dict[str, Any] | None]") -> None:
    assert process.stdout is not None
    for line in process.stdout:
        messages.put(json.loads(line))
    messages.put(None)
