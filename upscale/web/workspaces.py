"""Private folders: one for each uploaded file, owned by one browser session, deleted after use.

    root (mode 0700, random name)/
        TOKEN/          192 random bits; without the owner's cookie even the right token finds nothing
            input.mp3   names on disk are ours; only a plain suffix of the visitor's file name is used
            restored.flac  preview.pcm  before.png  after.png

A folder is deleted when its owner asks for it or leaves, when it was not used for `keep_seconds`, and when the server
stops. A server that was killed leaves its root behind; the next one to start deletes roots that no server keeps alive.
"""

import re
import secrets
import shutil
import tempfile
import threading
import time
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from upscale.errors import UserError
from upscale.web.abx import BlindTest
from upscale.web.limits import Limits

PREFIX = "upscale-web-"
ALIVE = "alive"
DEAD_AFTER_SECONDS = 15 * 60.0
PLAIN_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,5}")
MAX_NAME = 120


@dataclass
class Workspace:
    """One uploaded file and everything made from it. `tab` is the browser tab that asked for it to be restored."""

    token: str
    owner: str
    name: str
    folder: Path
    used_at: float = field(default_factory=time.monotonic)
    tab: str | None = None
    result: dict[str, Any] | None = None
    test: BlindTest = field(default_factory=BlindTest)

    @property
    def input(self) -> Path:
        suffix = PLAIN_SUFFIX.fullmatch(Path(self.name).suffix)
        return self.folder / f"input{suffix[0].lower() if suffix else ''}"


class Workspaces:
    """All folders of one server; safe to call from any thread."""

    def __init__(self, limits: Limits, parent: Path | None = None) -> None:
        self.limits = limits
        parent = parent or Path(tempfile.gettempdir())
        delete_abandoned(parent)
        self.root = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        (self.root / ALIVE).touch()
        self._workspaces: dict[str, Workspace] = {}
        self._lock = threading.Lock()

    def create(self, owner: str, name: str) -> Workspace:
        """A new folder; the owner's oldest one goes when there would be too many."""
        token = secrets.token_urlsafe(24)
        workspace = Workspace(token=token, owner=owner, name=display_name(name), folder=self.root / token)
        with self._lock:
            mine = sorted((w for w in self._workspaces.values() if w.owner == owner), key=lambda w: w.used_at)
        for oldest in mine[: max(0, len(mine) + 1 - self.limits.files_per_user)]:
            self.remove(oldest)
        if self.used_bytes() > self.limits.disk_bytes:
            raise UserError("the server's disk space is taken: try again later")
        workspace.folder.mkdir(mode=0o700)
        with self._lock:
            self._workspaces[token] = workspace
        return workspace

    def get(self, owner: str, token: object) -> Workspace:
        """The owner's folder; another owner's token gets the same error as one that does not exist."""
        with self._lock:
            workspace = self._workspaces.get(token) if isinstance(token, str) else None
        if workspace is None or not secrets.compare_digest(workspace.owner.encode(), owner.encode()):
            raise UserError("this file is no longer here: drop it again")
        workspace.used_at = time.monotonic()
        return workspace

    def remove(self, workspace: Workspace) -> None:
        with self._lock:
            self._workspaces.pop(workspace.token, None)
        shutil.rmtree(workspace.folder, ignore_errors=True)

    def touch(self, workspace: Workspace) -> None:
        """Count a running job as use."""
        workspace.used_at = time.monotonic()

    def remove_if_gone(self, workspace: Workspace) -> None:
        """After a job: delete what it may have written after its folder was deleted."""
        with self._lock:
            known = workspace.token in self._workspaces
        if not known:
            self.remove(workspace)

    def leave(self, tab: str) -> list[Workspace]:
        """Delete what belongs to a browser tab that was closed; returns what was deleted."""
        with self._lock:
            left = [workspace for workspace in self._workspaces.values() if workspace.tab == tab]
        for workspace in left:
            self.remove(workspace)
        return left

    def sweep(self) -> list[Workspace]:
        """Delete what was not used for `keep_seconds`, and show that this server is alive."""
        (self.root / ALIVE).touch()
        oldest = time.monotonic() - self.limits.keep_seconds
        with self._lock:
            old = [workspace for workspace in self._workspaces.values() if workspace.used_at < oldest]
        for workspace in old:
            self.remove(workspace)
        return old

    def used_bytes(self) -> int:
        return sum(_size(path) for path in self.root.rglob("*"))

    def close(self) -> None:
        with self._lock:
            self._workspaces.clear()
        shutil.rmtree(self.root, ignore_errors=True)


def display_name(name: str) -> str:
    """A file name that is safe to show and to offer for saving: no folders, no control characters, not too long."""
    last = re.split(r"[/\\]", name)[-1]
    # Cc, Cf, Cs, Co, Cn: control, invisible, direction-changing and unassigned characters
    kept = "".join(character for character in last if not unicodedata.category(character).startswith("C"))
    stem, suffix = Path(kept).stem.strip(". "), Path(kept).suffix
    return f"{stem[:MAX_NAME] or 'audio'}{suffix[:10].strip()}"


def delete_abandoned(parent: Path) -> None:
    """Delete the roots of servers that were killed: nobody touched them for a quarter of an hour."""
    for root in parent.glob(f"{PREFIX}*"):
        try:
            age = time.time() - (root / ALIVE).stat().st_mtime
        except OSError:  # another user's root, or one that is just being made or deleted
            continue
        if age > DEAD_AFTER_SECONDS:
            shutil.rmtree(root, ignore_errors=True)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # deleted meanwhile
        return 0
