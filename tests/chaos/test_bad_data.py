"""What training does with bad data and lost helpers: damage is named, counted and bounded; a diverged loss replays."""

import json
import os
import random
import shutil
import signal
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from chaos_child import digest
from conftest import Fault, MakeRun, Run

from upscale.shards import index_shards
from upscale.training.replay import replay

SETTINGS = ["data.num_batches=16", "trainer.max_epochs=1"]


def first_clip(shard: Path) -> tuple[str, int, int]:
    """Key, and where its WAV begins and how long it is."""
    index = index_shards([shard])
    return index.keys[0], int(index.offsets[0, 0]), int(index.sizes[0, 0])


def overwrite(path: Path, place: int, data: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(place)
        file.write(data)


def cut_short(shard: Path) -> str:
    """Half of the file: the clips before the cut remain."""
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    return f"{shard.name}: is not a readable tar file"


def empty(shard: Path) -> str:
    shard.write_bytes(b"")
    return f"{shard.name}: is not a readable tar file"


def missing(shard: Path) -> str:
    shard.unlink()
    return f"{shard.name}: 7 of its 7 clips are lost, it is not there"


def wrong_bytes_in_the_middle(shard: Path) -> str:
    """A tar header overwritten: the tar library takes that for the end."""
    with tarfile.open(shard) as tar:
        place = tar.getmembers()[6].offset
    overwrite(shard, place, b"\xa5" * 512)
    return f"{shard.name}: 4 of its 7 clips are lost"


def wrong_bytes_in_a_clip(shard: Path) -> str:
    key, place, _ = first_clip(shard)
    overwrite(shard, place, b"\0" * 16)
    return f"bad clip {key} in "


def clip_of_no_samples(shard: Path) -> str:
    """The WAV's data chunk says that it is empty."""
    _, place, _ = first_clip(shard)
    overwrite(shard, place + 40, bytes(4))
    return f"{shard.name}: holds"


def missing_json(shard: Path) -> str | None:
    """Nothing that training needs."""
    key, _, _ = first_clip(shard)
    with tarfile.open(shard) as tar:
        place = next(member.offset for member in tar if member.name == f"{key}.json")
    data = bytearray(shard.read_bytes())
    data[place : place + len(key)] = b"x" * len(key)  # renamed: no clip has this key
    header = bytearray(data[place : place + 512])
    header[148:156] = b" " * 8
    data[place + 148 : place + 156] = b"%06o\0 " % sum(header)
    shard.write_bytes(data)
    return None


DAMAGES = [
    cut_short,
    empty,
    missing,
    wrong_bytes_in_the_middle,
    wrong_bytes_in_a_clip,
    clip_of_no_samples,
    missing_json,
]


@pytest.fixture
def spoil(shards: Path, tmp_path: Path) -> Callable[..., tuple[Path, str | None]]:
    """`spoil(damage)`: a copy of the shards whose first training shard is damaged; what the log must say."""

    def make(damage: Callable[[Path], str | None]) -> tuple[Path, str | None]:
        shutil.copytree(shards, tmp_path / "shards")
        return tmp_path / "shards", damage(sorted((tmp_path / "shards" / "train").glob("*.tar"))[0])

    return make


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_shard_is_named_and_training_goes_on_to_the_stated_share(
    damage: Callable[[Path], str | None], spoil: Callable[..., tuple[Path, str | None]], make_run: MakeRun, fault: Fault
) -> None:
    root, message = spoil(damage)
    run = make_run("tolerant", *SETTINGS, f"data.root={root}", "data.max_bad_share=0.5")
    assert run.start().wait() == 0, run.log()[-2000:]
    assert len(run.steps()) == 16
    if message is None:
        fault("shard damaged")
        return
    logged = run.log() + "".join(path.read_text() for path in run.output.glob("*.log"))
    assert message in logged, logged[-2000:]
    strict = make_run("strict", *SETTINGS, f"data.root={root}", "data.max_bad_share=0.01")
    assert strict.start().wait() == 1
    (line,) = [line for line in strict.log().splitlines() if line.startswith("error:")]
    assert "cannot be read, more than data.max_bad_share=0.01" in line and "verify_shards" in line
    assert "Traceback" not in strict.log()
    fault("shard damaged")


def test_a_loss_that_is_not_finite_stops_the_run_and_its_batch_replays(make_run: MakeRun, fault: Fault) -> None:
    run = make_run("poisoned", *SETTINGS, poison_step=7)
    assert run.start().wait() == 1
    assert "train loss is nan at epoch 0, step 7" in run.log() and "Traceback" not in run.log()
    assert max(run.steps()) == 7
    (seen,) = [line for line in run.diary() if "poisoned" in line]
    report = json.loads((run.output / "non_finite_loss.json").read_text())
    assert [clip["key"] for clip in report["clips"]] == seen["keys"]
    assert all(clip["spec"]["bitrate"] == clip["bitrate"] for clip in report["clips"])
    assert digest(replay(run.output)) == seen["digest"]
    last = run.checkpoint()["state_dict"]
    assert all(torch.isfinite(weight).all() for weight in last.values())
    healed = Run(run.folder, [entry for entry in run.overrides if "poison" not in entry])
    assert healed.resume("+callbacks.diary.poison_step=-1").wait() == 0, run.log()[-2000:]
    assert sorted(healed.steps()) == list(range(1, 17))
    fault("loss not finite")


def test_a_killed_data_worker_is_one_clear_line(make_run: MakeRun, fault: Fault, full: bool) -> None:
    """Whatever the run does just then: reads a batch, takes a step, writes a checkpoint."""
    for number in range(20 if full else 1):
        run = make_run(f"orphan{number}", *("data.num_batches=500", "data.num_workers=2"), pause_seconds=0.02)
        run.start()
        assert run.wait_for(lambda run=run, least=3 + number % 4: len(run.steps()) >= least)
        time.sleep(0.1 * random.Random(number).random())
        assert run.process is not None
        workers = Path(f"/proc/{run.process.pid}/task/{run.process.pid}/children").read_text().split()
        os.kill(int(workers[0]), signal.SIGKILL)
        assert run.wait() == 1
        assert "error: a data worker was killed" in run.log() and "data.num_workers=1" in run.log()
        assert "Traceback" not in run.log(), run.log()[-3000:]
        # Saved every two steps; a step is in the diary after it is in the checkpoint.
        assert abs(run.checkpoint()["global_step"] - max(run.steps())) <= 1
        fault("data worker killed")
