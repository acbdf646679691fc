"""A step whose gradient is NaN or infinite is left out: weights, optimizer and moving average stay as they are.

A loss that is not finite stops the run (`non_finite.py`): something is wrong with its batch or the weights. A gradient
that overflows behind a finite loss is a matter of one batch in thousands, and the run goes on without it.
"""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from upscale.errors import UserError


class SkipNonFiniteGradients(Callback):
    """Takes the gradients away, so that the optimizer passes over every parameter; the step still counts.

    `train/skipped_steps` shows how many, once there is one. More than `max_share` of the steps, looked at from step
    `min_steps` on, end the run.
    """

    def __init__(self, max_share: float = 0.01, min_steps: int = 100) -> None:
        self.max_share, self.min_steps = max_share, min_steps
        self.num_skipped = 0

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        gradients = [parameter.grad for parameter in pl_module.parameters() if parameter.grad is not None]
        if not torch.isfinite(get_total_norm(gradients)):
            self.num_skipped += 1
            optimizer.zero_grad(set_to_none=True)
            self._check(num_steps=trainer.global_step + 1)
        if self.num_skipped:
            pl_module.log("train/skipped_steps", float(self.num_skipped), on_step=True, on_epoch=False)

    def _check(self, num_steps: int) -> None:
        if num_steps >= self.min_steps and self.num_skipped > self.max_share * num_steps:
            raise UserError(
                f"{self.num_skipped} of {num_steps} steps were left out, because their gradients were not finite: "
                "stopped; try a lower optimizer.lr or trainer.precision=32-true"
            )

    def state_dict(self) -> dict[str, Any]:
        return {"num_skipped": self.num_skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.num_skipped = state_dict["num_skipped"]
