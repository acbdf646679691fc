"""In a SLURM job the requeue signal ends the run after the batch in hand, saves it, and asks SLURM for another turn."""

import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Compose
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.plugins.environments import SLURMEnvironment

from upscale.training import fit as fit_module
from upscale.training.fit import fit

TINY = ["model=spectral_gain", "model.width=4", "model.num_blocks=1", "model.window_size=512", "data.num_batches=6"]
JOB = {
    "SLURM_JOB_ID": "4711",
    "SLURM_JOB_NAME": "train",
    "SLURM_NTASKS": "1",
    "SLURM_NTASKS_PER_NODE": "1",
    "SLURM_NNODES": "1",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
    "SLURM_NODELIST": "node1",
}


class Preemption(Callback):
    """SLURM's warning, in the middle of an optimizer step."""

    def on_before_optimizer_step(self, trainer: Trainer, *args: Any) -> None:
        if trainer.global_step == 3:
            signal.raise_signal(signal.SIGUSR1)


@pytest.fixture(autouse=True)
def default_handlers() -> Iterator[None]:
    previous = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGUSR1)}
    yield
    for number, handler in previous.items():
        signal.signal(number, handler)


@pytest.fixture
def scontrol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A job's environment, and a `scontrol` that writes down what it is asked."""
    for name, value in JOB.items():
        monkeypatch.setenv(name, value)
    program, asked = tmp_path / "bin" / "scontrol", tmp_path / "asked"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {asked}\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    return asked


@pytest.fixture
def with_preemption(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    original = fit_module.build_trainer

    def build(*args: Any, **kwargs: Any) -> Trainer:
        trainer = original(*args, **kwargs)
        trainer.callbacks.insert(0, Preemption())  # type: ignore[attr-defined]
        return trainer

    return lambda: monkeypatch.setattr(fit_module, "build_trainer", build)


@pytest.mark.parametrize(("array", "job"), [({}, "4711"), ({"ARRAY_JOB_ID": "47", "ARRAY_TASK_ID": "2"}, "47_2")])
def test_requeue_signal_saves_the_run_and_requeues_the_job(
    array: dict[str, str],
    job: str,
    scontrol: Path,
    with_preemption: Callable[[], None],
    compose_debug: Compose,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in array.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    untouched = fit_module.build_trainer
    with_preemption()
    with pytest.raises(SystemExit) as left:
        fit(compose_debug(*TINY))
    assert left.value.code == 130
    assert scontrol.read_text() == f"requeue {job}\n"
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 4, "the step in hand was finished first"
    assert not list((tmp_path / "run").glob("hpc_ckpt*")), "Lightning would resume from its own file ever after"
    monkeypatch.setattr(fit_module, "build_trainer", untouched)
    scontrol.unlink()
    fit(compose_debug(*TINY, f"resume={tmp_path}/run/checkpoints/last.ckpt"))
    assert torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 12
    assert not scontrol.exists()


def test_trainer_takes_its_rank_from_slurm(scontrol: Path, compose_debug: Compose) -> None:
    environment = fit_module.build_trainer(compose_debug())._accelerator_connector.cluster_environment
    assert isinstance(environment, SLURMEnvironment)
    assert not environment.auto_requeue
