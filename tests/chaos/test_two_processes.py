"""`trainer=ddp` with two CPU processes: one run, shared fairly. One process with twice the batch agrees with it."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from chaos_child import TRAIN
from conftest import TINY, Fault, MakeRun, Run

from upscale.shards import index_shards

SETTINGS = [
    "loss=fidelity",
    "data.num_batches=4",
    "data.num_val_batches=null",
    "trainer.max_epochs=3",
    "callbacks.last.every_n_steps=3",
]
TWO = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.precision=32-true", "data.batch_size=1"]
ONE = ["trainer=cpu", "data.batch_size=2"]
ACCUMULATED = ["trainer=cpu", "data.batch_size=1", "data.num_batches=8", "trainer.accumulate_grad_batches=2"]
NUM_STEPS = 12


def start_pair(run: Run, resume: bool = False) -> list[ForkServerProcess]:
    """Both ranks, as `torchrun` or `srun` start them; they meet at a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = []
    for rank in ("0", "1"):
        run.environment = {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "NODE_RANK": "0",
            "LOCAL_RANK": rank,
            "WORLD_SIZE": "2",
        }
        if resume:
            run.resume()
        else:
            run.start()
        assert run.process is not None
        processes.append(run.process)
    return processes


def finish(processes: list[ForkServerProcess], run: Run, status: int = 0) -> None:
    for process in processes:
        process.join(120)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    assert codes == [status, status], run.log()[-3000:]


def lines(run: Run, kind: str, rank: int) -> list[dict[str, Any]]:
    return [line for line in run.diary() if kind in line and line["rank"] == rank]


def trained(run: Run, rank: int) -> list[list[str]]:
    return [line["keys"] for line in lines(run, "step", rank)]


def test_two_processes_train_like_one(make_run: MakeRun, shards: Path) -> None:
    two, one = make_run("two", *SETTINGS, *TWO), make_run("one", *SETTINGS, *ONE)
    finish(start_pair(two), two)
    assert one.start().wait() == 0, one.log()[-2000:]
    accumulated = make_run("accumulated", *SETTINGS, *ACCUMULATED)
    assert accumulated.start().wait() == 0, accumulated.log()[-2000:]

    first, second = trained(two, 0), trained(two, 1)
    assert len(first) == len(second) == NUM_STEPS
    assert not any(set(mine) & set(other) for mine, other in zip(first, second, strict=True))
    together = [[*mine, *other] for mine, other in zip(first, second, strict=True)]
    assert together == trained(one, 0), "the same clips a step, whatever the number of processes"

    clips = Counter(index_shards(sorted((shards / "val").glob("*.tar"))).keys)
    for epoch in range(3):
        heard = [line for rank in (0, 1) for line in lines(two, "validation", rank) if line["validation"] == epoch]
        assert Counter(key for line in heard for key in line["keys"]) == clips, "each validation clip once"

    ((end_of_one,), (end_of_other,)) = ([line["end"] for line in lines(two, "end", rank)] for rank in (0, 1))
    assert end_of_one == end_of_other, "the same weights on both ranks"
    assert sorted(path.name for path in (two.output / "checkpoints").iterdir()) == [
        "best.ckpt",
        "last.ckpt",
        "previous.ckpt",
    ]
    assert len(list((two.output / "tensorboard").glob("events*"))) == 1

    for run in (two, accumulated):  # sums in another order are all that differs
        expected, found = one.curves(), run.curves()
        assert [value for _, value in found["val/loss"]] == pytest.approx(
            [value for _, value in expected["val/loss"]], rel=1e-4
        )
        for name, tensor in one.checkpoint()["state_dict"].items():
            torch.testing.assert_close(run.checkpoint()["state_dict"][name], tensor, rtol=1e-3, atol=1e-5)
    assert [value for _, value in two.curves()["train/loss"]] == pytest.approx(
        [value for _, value in one.curves()["train/loss"]], rel=1e-4
    )


def test_sigterm_to_one_of_two_processes_ends_both_and_they_resume(make_run: MakeRun, fault: Fault) -> None:
    """SIGTERM reaches one alone, as from `kill`: both leave after the same step, and go on as if never."""
    reference = make_run("reference", *SETTINGS, *TWO)
    finish(start_pair(reference), reference)
    for number, rank in ((signal.SIGTERM, 0), (signal.SIGTERM, 1)):
        run = make_run(f"run{rank}", *SETTINGS, *TWO, pause_seconds=0.05)
        processes = start_pair(run)
        assert run.wait_for(lambda run=run, rank=rank: len(trained(run, rank)) >= 3)
        pid = processes[rank].pid
        assert pid is not None
        os.kill(pid, number)
        finish(processes, run, status=130)
        step = run.checkpoint()["global_step"]
        assert step == len(trained(run, 0)) == len(trained(run, 1)) < NUM_STEPS
        finish(start_pair(run, resume=True), run)
        for either in (0, 1):
            assert trained(run, either) == trained(reference, either)
        for name, tensor in reference.checkpoint()["state_dict"].items():
            torch.testing.assert_close(run.checkpoint()["state_dict"][name], tensor, rtol=1e-5, atol=1e-7)
        fault("one of two ranks terminated")


def test_a_loss_that_diverges_on_one_rank_ends_both(make_run: MakeRun, fault: Fault) -> None:
    run = make_run("poisoned", *SETTINGS, *TWO, "+callbacks.diary.poison_rank=1", poison_step=5)
    finish(start_pair(run), run, status=1)
    assert "Traceback" not in run.log(), run.log()[-3000:]
    facts = json.loads((run.output / "rank1_non_finite_loss.json").read_text())
    assert (facts["loss"], facts["rank"], facts["step"]) == ("nan", 1, 5)
    fault("loss not finite on one rank")


def test_the_command_line_starts_both_processes(shards: Path, tmp_path: Path) -> None:
    """`python train.py trainer=ddp` by itself, from an ordinary shell."""
    run = Run(tmp_path, [])
    arguments = [*TINY, *SETTINGS, *TWO, "trainer.max_epochs=1", f"data.root={shards}", f"hydra.run.dir={run.output}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(TRAIN), *arguments], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert run.checkpoint()["global_step"] == 4
    assert done.stdout.count("best val/loss") == 1, "ranks other than the first are silent"
