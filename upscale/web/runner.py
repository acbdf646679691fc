"""The server's side of the worker process: start it, pass it jobs, watch it, and end it when a job must stop."""

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
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


class Runner:
    """One worker, one job at a time; a second caller waits for the first."""

    def __init__(self, limits: Limits, command: tuple[str, ...] = COMMAND) -> None:
        self.limits = limits
        self._command = command
        self._process: subprocess.Popen[str] | None = None
        self._messages: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._busy = threading.Lock()
        self._running: str | None = None
        self._cancelled: set[str] = set()
        self._closed = False

    def warm_up(self) -> None:
        """Start the worker before the first job needs it: its imports take seconds."""
        with self._busy:
            if self._process is None and not self._closed:
                self._start_process()

    def run(self, request: Request) -> Iterator[dict[str, Any]]:
        """The job's messages: `stage` and `fraction`, at last `result`. Raises `UserError` where the job fails.

        Ending the loop early, by an error or by closing the iterator, ends the job.
        """
        with self._busy:
            self._running, finished = request.folder, False
            try:
                self._send(request)
                for message in self._receive(request.folder):
                    if "error" in message:
                        finished = True
                        raise UserError(message["error"])
                    finished = "result" in message
                    yield message
            finally:
                self._running = None
                self._cancelled.discard(request.folder)
                if not finished:
                    self._end_process()

    def cancel(self, folder: str) -> None:
        """Stop the job of this workspace if it runs; otherwise nothing."""
        if self._running == folder:
            self._cancelled.add(folder)

    def close(self) -> None:
        self._closed = True
        self._end_process()

    def _receive(self, folder: str) -> Iterator[dict[str, Any]]:
        waited = 0.0
        while True:
            if self._closed or folder in self._cancelled:
                raise Cancelled("cancelled")
            if self._resident_bytes() > self.limits.worker_bytes:
                raise UserError("this file needs more memory than the server gives")
            if waited > self.limits.job_stall_seconds:
                raise UserError("this file takes too long; it may be damaged")
            try:
                message = self._messages.get(timeout=POLL_SECONDS)
            except queue.Empty:
                waited += POLL_SECONDS
                continue
            if message is None:
                raise UserError(CRASHED)
            waited = 0.0
            yield message
            if "result" in message:
                return

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
        """What the worker holds in memory now; 0 where the system does not tell (only Linux has /proc)."""
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
