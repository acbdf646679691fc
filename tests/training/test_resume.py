"""Interrupted anywhere and resumed equals never interrupted: weights, optimizer, schedule, step count and curve."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Compose, Probe, assert_same_optimizers, last_checkpoint, terminate
from lightning.pytorch import Trainer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from upscale.training.fit import fit

OVERRIDES = [
    "model.num_layers=2",
    "trainer.max_epochs=3",
    "data.num_batches=3",
    "scheduler.scheduler.patience=0",
    "optimizer.lr=0.01",
]
NUM_STEPS = 9


pytestmark = pytest.mark.usefixtures("default_sigterm")


def curves(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Every scalar of the run's TensorBoard folder, as TensorBoard itself shows it."""
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def assert_same_run(resumed: Path, reference: Path) -> None:
    one, other = last_checkpoint(resumed), last_checkpoint(reference)
    assert one["global_step"] == other["global_step"] == NUM_STEPS
    assert one["epoch"] == other["epoch"]
    for name, tensor in other["state_dict"].items():
        assert torch.equal(one["state_dict"][name], tensor), name
    assert_same_optimizers(one, other)
    assert one["lr_schedulers"] == other["lr_schedulers"]
    found, expected = curves(resumed), curves(reference)
    assert found.keys() == expected.keys()
    for tag in expected:
        assert found[tag] == expected[tag], tag
    best = [
        torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["global_step"] for run in (resumed, reference)
    ]
    assert best[0] == best[1]


@pytest.fixture(scope="module")
def reference(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The uninterrupted run."""
    return tmp_path_factory.mktemp("reference")


@pytest.fixture
def reference_run(reference: Path, compose_debug: Compose) -> Path:
    if not (reference / "result.json").exists():
        fit(compose_debug(*OVERRIDES, output_dir=reference))
    return reference


@pytest.mark.parametrize(
    ("hook", "step"),
    [
        pytest.param("on_train_batch_end", 4, id="within an epoch"),
        pytest.param("on_train_batch_end", 3, id="last batch of an epoch", marks=pytest.mark.slow),
        pytest.param("on_validation_batch_end", 3, id="within validation"),
        pytest.param("on_train_epoch_end", 6, id="between epochs", marks=pytest.mark.slow),
    ],
)
def test_sigterm_then_resume_equals_uninterrupted(
    hook: str,
    step: int,
    reference_run: Path,
    compose_debug: Compose,
    add_callbacks: Callable[..., None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    add_callbacks(Probe(hook, step, terminate))
    with pytest.raises(SystemExit) as interrupted:
        fit(compose_debug(*OVERRIDES))
    assert interrupted.value.code == 130
    assert f"resume={tmp_path / 'run'}" in capsys.readouterr().err
    assert last_checkpoint(tmp_path / "run")["global_step"] == step
    add_callbacks()
    fit(compose_debug(*OVERRIDES, f"resume={tmp_path}/run/checkpoints/last.ckpt"))
    assert_same_run(tmp_path / "run", reference_run)


@pytest.mark.parametrize("step", [3, *(pytest.param(step, marks=pytest.mark.slow) for step in (2, 4, 6, 8))])
def test_kill_then_resume_equals_uninterrupted(
    step: int, reference_run: Path, compose_debug: Compose, add_callbacks: Callable[..., None], tmp_path: Path
) -> None:
    """What a SIGKILL leaves is the folder as it is at some moment: copy it in mid-run and go on from the copy."""
    run, copy = tmp_path / "run", tmp_path / "copy"

    def snapshot(trainer: Trainer) -> None:
        trainer.logger.experiment.flush()  # type: ignore[union-attr]
        shutil.copytree(run, copy)

    add_callbacks(Probe("on_train_batch_start", step, snapshot))
    fit(compose_debug(*OVERRIDES))
    add_callbacks()
    assert 0 < last_checkpoint(copy)["global_step"] <= step
    shutil.rmtree(run)
    copy.rename(run)
    fit(compose_debug(*OVERRIDES, f"resume={run}/checkpoints/last.ckpt"))
    assert_same_run(run, reference_run)
