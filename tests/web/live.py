"""A real server in its own process and a real browser before it."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
START_SECONDS = 120
COMMAND = "import sys; from upscale.web import main; sys.exit(main(sys.argv[1:]))"


class Server:
    """`upscale web` on a free port; its temporary files are under `temporary`."""

    def __init__(self, process: "subprocess.Popen[str]", url: str, temporary: Path) -> None:
        self.process, self.url, self.temporary = process, url, temporary

    def files(self) -> list[Path]:
        """Everything that visitors brought or got."""
        return [path for path in self.temporary.glob("upscale-web-*/*/*") if path.is_file()]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@contextmanager
def serving(temporary: Path, *options: str) -> Iterator[Server]:
    temporary.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "--port", "0", "--device", "cpu", *options],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found, f"the server did not start: {line!r}"
        wait_for(lambda: _answers(found[0]), START_SECONDS)
        yield Server(process, found[0], temporary)
    finally:
        process.kill()
        process.wait()


def wait_for(condition: Any, seconds: float = 30.0) -> None:
    """Until `condition()` holds; fails after `seconds`."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.1)


def _answers(url: str) -> bool:
    import httpx

    try:
        return httpx.get(url, timeout=10).status_code == 200
    except httpx.TransportError:
        return False
