"""A disk that is full: one clear line, no half file under a final name, and after space is made it goes on."""

import io
import shutil
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from conftest import Fault, MakeRun, assert_same_run

from upscale import audio, cli
from upscale.corpus.demo import compose
from upscale.errors import UserError
from upscale.models import SpectralGain
from upscale.restore.bundle import save_bundle
from upscale.shards.prepare import prepare

SmallDisk = Callable[[int], Path]


def fill(folder: Path, leave_kilobytes: int) -> Path:
    """A file that takes all the room but so much."""
    ballast = folder / "ballast"
    room = shutil.disk_usage(folder).free - leave_kilobytes * 1024
    ballast.write_bytes(bytes(max(0, room)))
    return ballast


@pytest.mark.parametrize("kilobytes", [64, 400, 700])
def test_prepare_on_a_full_disk_is_one_line_and_goes_on(
    kilobytes: int, small_disk: SmallDisk, tmp_path: Path, fault: Fault
) -> None:
    settings = {"num_demo_songs": 4, "demo_seconds": 3.0, "segment_seconds": 1.0, "min_seconds": 1.0, "workers": 1}
    settings |= {"clips_per_shard": 3, "seed": 4}
    disk = small_disk(4_000)
    ballast = fill(disk, kilobytes)
    with pytest.raises(UserError, match=r"cannot be written .*make room"):
        prepare(disk / "shards", **settings)  # type: ignore[arg-type]
    assert not [path for path in (disk / "shards").rglob("*") if path.suffix == ".part"]
    assert not (disk / "shards" / "prepared.json").exists()
    ballast.unlink()
    summary = prepare(disk / "shards", **settings)  # type: ignore[arg-type]
    whole = prepare(tmp_path / "whole", **settings)  # type: ignore[arg-type]
    assert summary.splits == whole.splits
    for shard in (tmp_path / "whole").rglob("*.tar"):
        assert (disk / "shards" / shard.relative_to(tmp_path / "whole")).read_bytes() == shard.read_bytes()
    fault("disk full: shards")


@pytest.mark.parametrize("kilobytes", [4, 20, 60])
def test_training_on_a_full_disk_is_one_line_and_resumes(
    kilobytes: int, small_disk: SmallDisk, make_run: MakeRun, fault: Fault
) -> None:
    settings = ["data.num_batches=8", "trainer.max_epochs=3", "callbacks.last.every_n_steps=2"]
    reference = make_run("reference", *settings)
    assert reference.start().wait() == 0, reference.log()[-2000:]
    run = make_run("cramped", *settings, pause_seconds=0.02)
    disk = small_disk(4_000)
    run.disk = disk / "run"
    run.start()
    assert run.wait_for(lambda: max(run.steps(), default=0) >= 5)
    ballast = fill(disk, kilobytes)
    status = run.wait()
    assert status == 1, run.log()[-3000:]
    (line,) = [line for line in run.log().splitlines() if line.startswith("error:")]
    assert "make room, then go on with resume=" in line
    assert "Traceback" not in run.log(), run.log()[-3000:]
    ballast.unlink()
    assert run.resume().wait() == 0, run.log()[-2000:]
    assert_same_run(run, reference, num_steps=24)
    fault("disk full: checkpoints")


@pytest.mark.parametrize("kilobytes", [4, 300, 900])
def test_restoring_to_a_full_disk_is_one_line_and_leaves_no_half_file(
    kilobytes: int, small_disk: SmallDisk, tmp_path: Path, fault: Fault
) -> None:
    arguments = {"width": 2, "num_blocks": 1, "window_size": 256}
    model = save_bundle(tmp_path / "model", SpectralGain(**arguments), arguments=arguments)
    (tmp_path / "music").mkdir()
    for name in ("one", "two"):
        audio.write(tmp_path / "music" / f"{name}.wav", compose(seed=7, seconds=3.0), 44_100)
    disk = small_disk(6_000)
    ballast = fill(disk, kilobytes)
    command = ["restore", str(tmp_path / "music"), "--out", str(disk), "--model", str(model), "--force"]
    shown = io.StringIO()
    with redirect_stdout(shown), redirect_stderr(shown):
        assert cli.main(command) == 1
    assert "No space left on device" in shown.getvalue() and "Traceback" not in shown.getvalue()
    assert {path.name for path in disk.iterdir()} <= {"ballast", "one.flac"}
    ballast.unlink()
    with redirect_stdout(shown), redirect_stderr(shown):
        assert cli.main(command) == 0
    for name in ("one", "two"):
        wav, _ = audio.read(disk / f"{name}.flac")
        assert wav.shape == (2, 3 * 44_100) and np.isfinite(wav).all()
    fault("disk full: restoring")
