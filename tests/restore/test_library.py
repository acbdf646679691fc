"""Folders, patterns and lists, and where each result goes."""

from pathlib import Path

import pytest
from mp3s import RATE, music, save

from upscale import audio
from upscale.errors import UserError
from upscale.restore.library import find_files, plan, read_list


def _touch(*paths: Path) -> None:
    for path in paths:
        save(path, b"")


def _targets(inputs: list[Path | str], **options: object) -> dict[str, str]:
    return {job.source.name: str(job.target) for job in plan(find_files(map(str, inputs)), **options)}


def test_plan_keeps_the_tree_of_a_folder(tmp_path):
    music_folder = tmp_path / "Music"
    _touch(music_folder / "a/x.mp3", music_folder / "b/c/y.OGG", music_folder / "cover.jpg", music_folder / ".z.mp3")
    _touch(music_folder / ".hidden/h.mp3", music_folder / "a/x.restored.flac")
    out = tmp_path / "Restored"
    assert _targets([music_folder], out=out) == {"x.mp3": f"{out}/a/x.flac", "y.OGG": f"{out}/b/c/y.flac"}
    assert _targets([music_folder / "a"]) == {"x.mp3": f"{music_folder}/a/x.restored.flac"}


def test_find_files_takes_names_that_look_like_patterns(tmp_path):
    odd = tmp_path / "Song [best] *?.mp3"
    _touch(odd, tmp_path / "b.mp3")
    assert [path for path, _ in find_files([str(odd)])] == [odd]
    assert [path.name for path, _ in find_files([f"{tmp_path}/**/*.mp3"])] == ["Song [best] *?.mp3", "b.mp3"]
    with pytest.raises(UserError, match="no such file"):
        find_files([f"{tmp_path}/*.flac"])


def test_read_list_keeps_names_as_they_are():
    assert read_list(["a b.mp3\r\n", "\n", "#1.mp3", " x"]) == ["a b.mp3", "#1.mp3", " x"]


def test_plan_keeps_two_originals_of_one_name_apart(tmp_path):
    _touch(tmp_path / "m/x.mp3", tmp_path / "m/x.ogg")
    out = tmp_path / "o"
    assert _targets([tmp_path / "m"], out=out) == {"x.mp3": f"{out}/x.mp3.flac", "x.ogg": f"{out}/x.ogg.flac"}
    _touch(tmp_path / "n/x.mp3")
    jobs = plan(find_files([f"{tmp_path}/m/x.mp3", f"{tmp_path}/n/x.mp3"]), out=out)
    assert [job.clash for job in jobs] == [None, tmp_path / "m/x.mp3"]


def test_plan_chooses_container_and_sample_format(tmp_path):
    audio.write(tmp_path / "a.wav", music(seconds=0.1), RATE, "PCM_16")
    audio.write(tmp_path / "b.aiff", music(seconds=0.1), RATE, "PCM_24")
    _touch(tmp_path / "c.mp3")
    jobs = plan(find_files([str(tmp_path)]), out=tmp_path / "o", format="same")
    assert [(job.target.name, job.subtype) for job in jobs] == [
        ("a.wav", "PCM_16"), ("b.aiff", "PCM_24"), ("c.flac", "PCM_24")
    ]  # fmt: skip
    (job,) = plan(find_files([str(tmp_path / "c.mp3")]), out=tmp_path / "x.wav", format="wav16")
    assert (job.target.name, job.subtype) == ("x.wav", "PCM_16")
    with pytest.raises(UserError, match="give a folder"):
        plan(find_files([str(tmp_path)]), out=tmp_path / "x.wav")
