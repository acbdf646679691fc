import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from upscale.errors import UserError
from upscale.web.limits import Limits
from upscale.web.workspaces import ALIVE, PREFIX, Workspaces, display_name


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("song.mp3", "song.mp3"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\windows\\win.ini", "win.ini"),
        ("/etc/cron.d/x.mp3", "x.mp3"),
        ("..", "audio"),
        ("", "audio"),
        (".mp3", "mp3"),
        ("a\x00b\r\nc\u202e.mp3", "abc.mp3"),
        ("Motörhead, [live] = (1981) & ünïcode 音.mp3", "Motörhead, [live] = (1981) & ünïcode 音.mp3"),
        ("x" * 500 + ".mp3", "x" * 120 + ".mp3"),
    ],
)
def test_names_are_shown_without_folders_and_control_characters(name: str, shown: str) -> None:
    assert display_name(name) == shown


@pytest.mark.parametrize("name", ["../../x.mp3", "a/../../b.flac", "..", "x.mp3/..", "x.m%2fp", "~/.ssh/id", "a.\x00"])
def test_file_names_cannot_leave_their_folder(tmp_path: Path, name: str) -> None:
    workspace = Workspaces(Limits(), tmp_path).create("anna", name)
    assert workspace.input.parent == workspace.folder == workspace.folder.resolve()
    assert workspace.input.name.startswith("input") and "/" not in workspace.input.name


def test_only_the_owner_finds_a_file(tmp_path: Path) -> None:
    workspaces = Workspaces(Limits(), tmp_path)
    workspace = workspaces.create("anna", "song.mp3")
    assert workspaces.get("anna", workspace.token) is workspace
    messages = []
    mine = workspace.token
    for owner, token in [("bert", mine), ("anna", "unknown"), ("anna", None), ("anna", f"../{mine}")]:
        with pytest.raises(UserError) as caught:
            workspaces.get(owner, token)
        messages.append(str(caught.value))
    assert len(set(messages)) == 1, "a stranger cannot tell a file that exists from one that does not"


def test_folders_are_private_and_their_names_cannot_be_guessed(tmp_path: Path) -> None:
    workspaces = Workspaces(Limits(), tmp_path)
    folders = [workspaces.create(f"user{n}", "a.mp3").folder for n in range(50)]
    assert len({folder.name for folder in folders}) == 50 and all(len(folder.name) == 32 for folder in folders)
    assert workspaces.root.stat().st_mode & 0o077 == 0
    assert all(folder.stat().st_mode & 0o077 == 0 for folder in folders)


def test_a_further_upload_replaces_the_oldest(tmp_path: Path) -> None:
    workspaces = Workspaces(replace(Limits(), files_per_user=2), tmp_path)
    first, second = (workspaces.create("anna", f"{n}.mp3") for n in range(2))
    others = workspaces.create("bert", "b.mp3")
    workspaces.get("anna", first.token)
    workspaces.create("anna", "2.mp3")
    assert first.folder.exists() and others.folder.exists() and not second.folder.exists()


def test_a_full_disk_refuses_the_next_file(tmp_path: Path) -> None:
    workspaces = Workspaces(replace(Limits(), disk_bytes=1000), tmp_path)
    workspaces.create("anna", "a.mp3").input.write_bytes(bytes(1001))
    with pytest.raises(UserError, match="disk space"):
        workspaces.create("bert", "b.mp3")


def test_workspaces_are_deleted_by_age_by_tab_and_on_close(tmp_path: Path) -> None:
    workspaces = Workspaces(replace(Limits(), keep_seconds=600), tmp_path)
    old, used = workspaces.create("anna", "a.mp3"), workspaces.create("bert", "b.mp3")
    old.used_at = used.used_at = time.monotonic() - 601
    workspaces.touch(used)
    assert workspaces.sweep() == [old] and not old.folder.exists() and used.folder.exists()
    used.tab = "tab"
    assert workspaces.leave("another") == [] and workspaces.leave("tab") == [used] and not used.folder.exists()
    workspaces.create("anna", "c.mp3").input.write_bytes(b"x")
    workspaces.close()
    assert list(tmp_path.iterdir()) == []


def test_folders_of_a_killed_server_are_deleted_by_the_next(tmp_path: Path) -> None:
    dead, alive = Workspaces(Limits(), tmp_path), Workspaces(Limits(), tmp_path)
    dead.create("anna", "a.mp3").input.write_bytes(b"x")
    hour_ago = time.time() - 3600
    os.utime(dead.root / ALIVE, (hour_ago, hour_ago))
    (tmp_path / "not-ours").mkdir()
    new = Workspaces(Limits(), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {alive.root.name, new.root.name, "not-ours"}
    assert new.root.name.startswith(PREFIX)
