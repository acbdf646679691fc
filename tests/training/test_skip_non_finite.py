"""A step without a finite gradient changes nothing but the count of steps, and too many of them end the run."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY_NET, AddCallbacks, Compose, last_checkpoint
from lightning.pytorch import Callback, LightningModule, Trainer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from upscale.errors import UserError
from upscale.training.fit import fit

TINY = [*TINY_NET, "trainer.max_epochs=1", "data.num_batches=4", "trainer.gradient_clip_val=1.0"]


class Poison(Callback):
    """An infinite gradient in each of these steps; weights, average and optimizer before each step and at the end."""

    def __init__(self, *steps: int) -> None:
        self.steps = steps
        self.states: list[Any] = []

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step in self.steps:
            next(parameter for parameter in pl_module.parameters() if parameter.grad is not None).grad.fill_(torch.inf)  # type: ignore[union-attr]

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.on_train_batch_start(trainer, pl_module)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        average = next(callback for callback in trainer.callbacks if hasattr(callback, "_average_model"))  # type: ignore[attr-defined]
        optimizer = trainer.optimizers[0].state_dict()["state"]
        states = (pl_module.state_dict(), average._average_model.state_dict(), optimizer)
        self.states.append(copy.deepcopy(states))


def equal(one: Any, other: Any) -> bool:
    try:
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_step_with_an_infinite_gradient_leaves_weights_average_and_optimizer_as_they_are(
    optimizer: str, compose_debug: Compose, add_callbacks: AddCallbacks, tmp_path: Path
) -> None:
    poison = Poison(1)
    add_callbacks(poison)
    fit(compose_debug(*TINY, f"optimizer={optimizer}", "callbacks=ema", "optimizer.lr=0.01"))
    changes = [
        [not equal(*parts) for parts in zip(*pair, strict=True)]
        for pair in zip(poison.states, poison.states[1:], strict=False)
    ]
    assert changes == [[True] * 3, [False] * 3, [True] * 3, [True] * 3]
    last = last_checkpoint(tmp_path / "run")
    assert last["global_step"] == 4
    [count] = [state for name, state in last["callbacks"].items() if name.startswith("SkipNonFinite")]
    assert count == {"num_skipped": 1}
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert [event.value for event in events.Scalars("train/skipped_steps")] == [1.0, 1.0, 1.0]


def test_too_many_left_out_steps_end_the_run_in_one_line(compose_debug: Compose, add_callbacks: AddCallbacks) -> None:
    add_callbacks(Poison(0, 2))
    share = ["callbacks.skip_non_finite.max_share=0.5", "callbacks.skip_non_finite.min_steps=3"]
    with pytest.raises(UserError, match=r"^2 of 3 steps were left out, .* optimizer.lr or trainer.precision=32-true$"):
        fit(compose_debug(*TINY, "callbacks=ema", *share))
