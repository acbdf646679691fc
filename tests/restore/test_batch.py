"""Many files: skipping, failing, going on and stopping."""

import json

import pytest
from mp3s import RATE, by_lame, music, save

from upscale import audio
from upscale.restore import Restorer
from upscale.restore.batch import BatchRestorer, write_report
from upscale.restore.library import find_files, plan

FRAMES = by_lame(music(seconds=0.5))


@pytest.fixture
def batch(identity) -> BatchRestorer:
    return BatchRestorer(Restorer.from_module(identity(channels=2), device="cpu", bitrates=(64, 128)), jobs=2)


def test_batch_goes_on_after_a_broken_file_and_reports_all(batch, tmp_path):
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


def test_force_restores_good_files_and_overwrite_replaces_results(batch, tmp_path):
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


def test_an_unexpected_error_fails_its_own_file_only(batch, tmp_path, monkeypatch):
    save(tmp_path / "a.mp3", FRAMES)
    monkeypatch.setattr("upscale.restore.batch.inspect_file", lambda path: 1 / 0)
    (outcome,) = batch.run(plan(find_files([str(tmp_path / "a.mp3")])))
    assert outcome.status == "failed" and "ZeroDivisionError" in outcome.reason


def test_closing_a_batch_stops_its_jobs_and_leaves_no_half_file(batch, tmp_path):
    for name in "abcdef":
        save(tmp_path / f"m/{name}.mp3", FRAMES)
    running = batch.run(plan(find_files([str(tmp_path / "m")]), out=tmp_path / "o"))
    next(running)
    running.close()
    left = list((tmp_path / "o").iterdir())
    assert len(left) < 6 and not [path for path in left if path.name.startswith(".")]
