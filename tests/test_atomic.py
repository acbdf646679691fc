"""Files appear whole or not at all."""

from pathlib import Path

import pytest

from upscale import atomic


def test_replacing_shows_nothing_before_the_end(tmp_path: Path) -> None:
    path = tmp_path / "song.flac"
    path.write_text("old")
    with atomic.replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old" and not list(tmp_path.glob("*.flac"))[1:]
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_replacing_leaves_the_old_file_and_nothing_else_on_failure(error: BaseException, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    atomic.write_text(path, "old")
    with pytest.raises(type(error)), atomic.replacing(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_replacing_of_one_file_by_two_writers_keeps_the_last(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    with atomic.replacing(path) as first, atomic.replacing(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first" and list(tmp_path.iterdir()) == [path]


def test_replacing_takes_the_longest_name_that_a_file_may_have(tmp_path: Path) -> None:
    path = tmp_path / ("é" * 125 + ".txt")  # 254 bytes of UTF-8
    atomic.write_text(path, "näh")
    assert path.read_text(encoding="utf-8") == "näh"


def test_replacing_keeps_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    atomic.write_text(tmp_path / "atomic", "")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_leftovers_are_found_and_are_no_music(tmp_path: Path) -> None:
    temporary = atomic.temporary_path(tmp_path / "song.wav")
    temporary.write_text("of a process that was killed")
    assert list(tmp_path.glob(atomic.LEFTOVERS)) == [temporary] and not list(tmp_path.glob("*.wav"))
