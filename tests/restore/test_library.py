"""Folders, patterns and lists; where results go; skipping, failing and going on."""

import json
from pathlib import Path

import pytest
from mp3s import RATE, by_lame, music, save

from upscale import audio
from upscale.errors import UserError
from upscale.restore import Restorer
from upscale.restore.batch import BatchRestorer, write_report
from upscale.restore.library import find_files, plan, read_list

FRAMES = by_lame(music(seconds=0.5))


def _touch(*paths: Path) -> None:
    for path in paths:
        save(path, b"")


def _targets(inputs: list[Path | str], **options: object) -> dict[str, str]:
    return {job.source.name: str(job.target) for job in plan(find_files(map(str, inputs)), **options)}


def test_folder_keeps_its_tree(tmp_path):
    music_folder = tmp_path / "Music"
    _touch(music_folder / "a/x.mp3", music_folder / "b/c/y.OGG", music_folder / "cover.jpg", music_folder / ".z.mp3")
    _touch(music_folder / ".hidden/h.mp3", music_folder / "a/x.restored.flac")
    out = tmp_path / "Restored"
    assert _targets([music_folder], out=out) == {"x.mp3": f"{out}/a/x.flac", "y.OGG": f"{out}/b/c/y.flac"}
    assert _targets([music_folder / "a"]) == {"x.mp3": f"{music_folder}/a/x.restored.flac"}


def test_names_that_look_like_patterns(tmp_path):
    odd = tmp_path / "Song [best] *?.mp3"
    _touch(odd, tmp_path / "b.mp3")
    assert [path for path, _ in find_files([str(odd)])] == [odd]
    assert [path.name for path, _ in find_files([f"{tmp_path}/**/*.mp3"])] == ["Song [best] *?.mp3", "b.mp3"]
    with pytest.raises(UserError, match="no such file"):
        find_files([f"{tmp_path}/*.flac"])


def test_each_file_once_and_lists_as_they_are():
    assert read_list(["a b.mp3\r\n", "\n", "#1.mp3", " x"]) == ["a b.mp3", "#1.mp3", " x"]


def test_two_originals_of_one_name(tmp_path):
    _touch(tmp_path / "m/x.mp3", tmp_path / "m/x.ogg")
    out = tmp_path / "o"
    assert _targets([tmp_path / "m"], out=out) == {"x.mp3": f"{out}/x.mp3.flac", "x.ogg": f"{out}/x.ogg.flac"}
    _touch(tmp_path / "n/x.mp3")
    jobs = plan(find_files([f"{tmp_path}/m/x.mp3", f"{tmp_path}/n/x.mp3"]), out=out)
    assert [job.clash for job in jobs] == [None, tmp_path / "m/x.mp3"]


def test_formats(tmp_path):
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


@pytest.fixture
def batch(identity) -> BatchRestorer:
    return BatchRestorer(Restorer.from_module(identity(channels=2), device="cpu", bitrates=(64, 128)), jobs=2)


def test_one_broken_file_does_not_stop_the_rest(batch, tmp_path):
    save(tmp_path / "m/broken.mp3", b"nothing" * 999)
    save(tmp_path / "m/deep/good.mp3", FRAMES)
    audio.write(tmp_path / "m/clean.wav", music(), RATE)
    jobs = plan(find_files([str(tmp_path / "m")]), out=tmp_path / "o")
    outcomes = {outcome.job.source.name: outcome for outcome in batch.run(jobs)}
    assert {name: outcome.status for name, outcome in outcomes.items()} == {
        "broken.mp3": "failed", "good.mp3": "restored", "clean.wav": "skipped"
    }  # fmt: skip
    assert "cannot be read" in outcomes["broken.mp3"].reason and "--force" in outcomes["clean.wav"].reason
    assert [path.name for path in (tmp_path / "o").rglob("*") if path.is_file()] == ["good.flac"]

    write_report(tmp_path / "r/report.json", list(outcomes.values()), batch.restorer, started=0.0)
    report = json.loads((tmp_path / "r/report.json").read_text())
    assert (report["restored"], report["skipped"], report["failed"], len(report["files"])) == (1, 1, 1, 3)

    again = {outcome.job.source.name: outcome.reason for outcome in batch.run(jobs)}
    assert "exists" in again["good.mp3"]


def test_force_and_overwrite(batch, tmp_path):
    audio.write(tmp_path / "clean.wav", music(), RATE)
    jobs = plan(find_files([str(tmp_path / "clean.wav")]), out=tmp_path / "o")
    eager = BatchRestorer(batch.restorer, force=True)
    assert [outcome.status for outcome in eager.run(jobs)] == ["restored"]
    assert [outcome.status for outcome in eager.run(jobs)] == ["skipped"]
    written = jobs[0].target.stat().st_ino
    assert [outcome.status for outcome in BatchRestorer(batch.restorer, force=True, overwrite=True).run(jobs)] == [
        "restored"
    ]
    assert jobs[0].target.stat().st_ino != written


def test_a_bug_in_one_file_is_that_files(batch, tmp_path, monkeypatch):
    save(tmp_path / "a.mp3", FRAMES)
    monkeypatch.setattr("upscale.restore.batch.examine", lambda path: 1 / 0)
    (outcome,) = batch.run(plan(find_files([str(tmp_path / "a.mp3")])))
    assert outcome.status == "failed" and "ZeroDivisionError" in outcome.reason


def test_closing_stops_the_jobs_and_leaves_nothing(batch, tmp_path):
    for name in "abcdef":
        save(tmp_path / f"m/{name}.mp3", FRAMES)
    running = batch.run(plan(find_files([str(tmp_path / "m")]), out=tmp_path / "o"))
    next(running)
    running.close()
    left = list((tmp_path / "o").iterdir())
    assert len(left) < 6 and not [path for path in left if path.name.startswith(".")]
