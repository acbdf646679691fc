"""Exponential moving average of the weights: what is validated and restored with, while the raw weights train on.

A checkpoint holds both. `state_dict` is the average, which `ckpt=`, `init.*=`, `upscale restore` and bundles read;
`current_model_state` and `averaging_state` are what `resume=` needs beside it to go on bit for bit.
"""

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class EMA(WeightAveraging):
    """`average = keep * average + (1 - keep) * weights` after each step n, keep = min(decay, (1 + n) / (10 + n)).

    The first steps count for more than `decay` would let them, so that the weights at the start are soon forgotten.
    A step that was left out (`SkipNonFiniteGradients`) leaves the average as it is. Parameters that do not train and
    buffers are those of the network.
    """

    def __init__(self, decay: float = 0.998) -> None:
        def update(averaged: list[Tensor], current: list[Tensor], num_averaged: Tensor) -> None:
            step = num_averaged.item()
            with torch.no_grad():
                torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + step) / (10 + step)))

        super().__init__(use_buffers=False, multi_avg_fn=update)
        self._swapped = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._device = trainer.strategy.root_device  # the module moves there only later
        super().setup(trainer, pl_module, stage)
        if self._average_model is not None:
            self._average_model.n_averaged += 1  # the weights at the start are the first in the average

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if any(parameter.grad is not None for parameter in pl_module.parameters()):
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The module keeps the raw weights, as the last checkpoint must: a finished run may be resumed, too."""

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(trainer, pl_module, checkpoint)
        if self._swapped:  # a validation was interrupted: the module holds the average
            average, current = checkpoint["current_model_state"], checkpoint["state_dict"]
            checkpoint["state_dict"], checkpoint["current_model_state"] = average, current

    def _swap_models(self, pl_module: LightningModule) -> None:
        super()._swap_models(pl_module)
        self._swapped = not self._swapped
