"""The linear schedule follows its formula step by step, and trains in bfloat16 under a clipped gradient."""

import math
from typing import Any

import pytest
import torch
from conftest import TINY_NET, AddCallbacks, Compose
from lightning.pytorch import Callback, Trainer

from upscale.errors import UserError
from upscale.training.fit import fit
from upscale.training.schedules import linear


class Rates(Callback):
    """The rate of every step, and in which precision a layer of the network answers."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.precisions: set[torch.dtype] = set()

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: torch.optim.Optimizer) -> None:
        self.rates.append(optimizer.param_groups[0]["lr"])

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        with trainer.precision_plugin.forward_context():
            self.precisions.add(pl_module.net.head(torch.zeros(1, 3, 8, 8)).dtype)


def test_linear_schedule_with_warm_up_gives_the_rate_of_every_step_in_a_bfloat16_run(
    compose_debug: Compose, add_callbacks: AddCallbacks
) -> None:
    rates = Rates()
    add_callbacks(rates)
    schedule = ["scheduler=linear", "scheduler.scheduler.warmup_steps=5", "trainer.max_steps=8", "data.num_batches=4"]
    run = ["trainer.precision=bf16-mixed", "trainer.gradient_clip_val=1.0", "trainer.max_epochs=-1"]
    loss = fit(compose_debug(*TINY_NET, *schedule, *run, "callbacks=ema"))
    assert loss is not None and math.isfinite(loss)
    assert rates.rates == pytest.approx([0.01 * min(1, (step + 1) / 5) * (1 - step / 8) for step in range(8)], rel=1e-9)
    assert rates.precisions == {torch.bfloat16}


def test_linear_schedule_needs_the_number_of_steps() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(UserError, match=r"trainer.max_steps="):
        linear(optimizer, num_steps=-1)
