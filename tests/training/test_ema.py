"""The moving average follows its formula, is what is validated and restored with, and survives an interruption."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY_NET, AddCallbacks, Compose, Probe, assert_same_optimizers, last_checkpoint, terminate
from lightning.pytorch import Callback, LightningModule, Trainer

from upscale.restore.bundle import load_bundle
from upscale.training.fit import fit

pytestmark = pytest.mark.usefixtures("default_sigterm")
AVERAGED = [*TINY_NET, "callbacks=ema", "trainer.max_epochs=3", "data.num_batches=3"]


class Recorder(Callback):
    """The raw weights at the start and after each step, and those that were validated with."""

    def __init__(self) -> None:
        self.raw: list[dict[str, torch.Tensor]] = []
        self.validated: list[dict[str, torch.Tensor]] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.raw.append(copy.deepcopy(pl_module.state_dict()))

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self.raw.append(copy.deepcopy(pl_module.state_dict()))

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self.validated.append(copy.deepcopy(pl_module.state_dict()))


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=0)


def differs(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return any(not torch.equal(value, other[name]) for name, value in one.items())


def test_average_is_the_formulas_and_is_validated_and_restored_with(
    compose_debug: Compose, add_callbacks: AddCallbacks, tmp_path: Path
) -> None:
    recorder = Recorder()
    add_callbacks(recorder)
    fit(compose_debug(*AVERAGED, "callbacks.ema.decay=0.4"))
    average = copy.deepcopy(recorder.raw[0])
    for step, weights in enumerate(recorder.raw[1:], start=1):
        for name, value in average.items():
            value.lerp_(weights[name], 1 - min(0.4, (1 + step) / (10 + step)))
    last = last_checkpoint(tmp_path / "run")
    torch.testing.assert_close(last["state_dict"], average, rtol=0, atol=1e-7)
    assert_same(last["current_model_state"], recorder.raw[-1])
    assert_same(recorder.validated[-1], last["state_dict"])
    best = tmp_path / "run" / "checkpoints" / "best.ckpt"
    stored = torch.load(best, weights_only=True)
    net, _ = load_bundle(best)
    assert_same({f"net.{name}": value for name, value in net.state_dict().items()}, stored["state_dict"])
    assert differs(stored["state_dict"], stored["current_model_state"])
    assert any(not differs(stored["state_dict"], weights) for weights in recorder.validated)


@pytest.fixture
def reference(compose_debug: Compose, tmp_path: Path) -> dict[str, Any]:
    fit(compose_debug(*AVERAGED, output_dir=tmp_path / "reference"))
    return last_checkpoint(tmp_path / "reference")


@pytest.mark.parametrize(("hook", "step"), [("on_train_batch_end", 4), ("on_validation_batch_end", 3)])
def test_interrupted_and_resumed_average_equals_uninterrupted(
    hook: str,
    step: int,
    reference: dict[str, Any],
    compose_debug: Compose,
    add_callbacks: AddCallbacks,
    tmp_path: Path,
) -> None:
    add_callbacks(Probe(hook, step, terminate))
    with pytest.raises(SystemExit):
        fit(compose_debug(*AVERAGED))
    add_callbacks()
    fit(compose_debug(*AVERAGED, f"resume={tmp_path}/run/checkpoints/last.ckpt"))
    resumed = last_checkpoint(tmp_path / "run")
    for part in ("state_dict", "current_model_state", "averaging_state"):
        assert_same(resumed[part], reference[part])
    assert_same_optimizers(resumed, reference)


def test_finished_run_goes_on_from_its_raw_weights(
    reference: dict[str, Any], compose_debug: Compose, tmp_path: Path
) -> None:
    fit(compose_debug(*AVERAGED, "trainer.max_epochs=2"))
    fit(compose_debug(*AVERAGED, f"resume={tmp_path}/run/checkpoints/last.ckpt"))
    resumed = last_checkpoint(tmp_path / "run")
    for part in ("state_dict", "current_model_state", "averaging_state"):
        assert_same(resumed[part], reference[part])
