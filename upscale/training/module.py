"""The LightningModule: one network, one loss, one step that training and validation share.

Checkpoints hold plain containers and tensors only, so that `torch.load(path, weights_only=True)` reads them:
`upscale_model` says how to build the network and `state_dict` holds its weights under `net.`.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer

from upscale.datamodule import AnyBatch, PairDataModule
from upscale.training.non_finite import NonFiniteLoss, report_batch
from upscale.training.tasks import Restoration, Task

StepOutput = dict[str, Tensor | None]


class RestorationModule(LightningModule):
    """Trains a network, or a part of it, to minimise a loss.

    `task` says what a step computes and the loss compares (`upscale.training.tasks`); left out, it is
    `net(degraded, bitrate) -> restored` and `loss(restored, clean, degraded)`.
    `optimizer` takes the network's parameters that train, each with its name, and returns an optimizer. `scheduler` is
    Lightning's scheduler configuration (`interval`, `frequency`, `monitor`), whose `scheduler` entry takes the
    optimizer; None keeps the rate constant.
    `description` goes into every checkpoint as `upscale_model`.
    """

    def __init__(
        self,
        *,
        net: nn.Module,
        loss: nn.Module,
        optimizer: Callable[[Iterable[tuple[str, nn.Parameter]]], Optimizer],
        description: Mapping[str, Any],
        scheduler: Mapping[str, Any] | None = None,
        task: Task | None = None,
    ) -> None:
        super().__init__()
        self.net, self.loss = net, loss
        self.task: Task = task or Restoration()
        self.make_optimizer, self.scheduler_config = optimizer, scheduler
        self.description = dict(description)

    def forward(self, degraded: Tensor, bitrate: Tensor | None = None) -> Tensor:
        return self.net(degraded, bitrate)

    def training_step(self, batch: AnyBatch, batch_idx: int) -> StepOutput:
        output = self._shared_step(batch, stage="train")
        penalty = self._regularizer()
        if penalty is not None:
            self.log("train/regularizer", penalty, on_step=True, on_epoch=False)
            output["loss"] = output["loss"] + penalty  # type: ignore[operator]
        return output

    def _regularizer(self) -> Tensor | None:
        """What the network itself adds to the loss, if anything."""
        if not hasattr(self.net, "regularizer"):
            return None
        with torch.autocast(device_type=self.device.type, enabled=False):
            return self.net.regularizer()  # type: ignore[operator]

    def validation_step(self, batch: AnyBatch, batch_idx: int) -> StepOutput:
        return self._shared_step(batch, stage="val")

    def test_step(self, batch: AnyBatch, batch_idx: int) -> StepOutput:
        return self._shared_step(batch, stage="test")

    def _shared_step(self, batch: AnyBatch, stage: str) -> StepOutput:
        """The loss to minimise, and `restored`, where there is any, for the callbacks that measure and show it."""
        loss, restored = self.task(self.net, self.loss, batch)
        # All ranks stop together: the others would wait for this one's gradients.
        if self.trainer.strategy.reduce_boolean_decision(not torch.isfinite(loss), all=False):
            raise NonFiniteLoss(report_batch(batch=batch, restored=restored, loss=loss, stage=stage, module=self))
        self.log(
            f"{stage}/loss",
            loss,
            on_step=stage == "train",
            on_epoch=stage != "train",
            prog_bar=True,
            batch_size=len(batch.key),
            sync_dist=True,
        )
        return {"loss": loss, "restored": None if restored is None else restored.detach()}

    def configure_optimizers(self) -> Any:
        trained = [(name, value) for name, value in self.net.named_parameters() if value.requires_grad]
        optimizer = self.make_optimizer(trained)
        if self.scheduler_config is None:
            return optimizer
        scheduler = {**self.scheduler_config, "scheduler": self.scheduler_config["scheduler"](optimizer)}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        # Pairs have bitrates of their own, whatever the codec group says.
        heard = {"bitrates": data.bitrates} if isinstance(data, PairDataModule) else {}
        checkpoint["upscale_model"] = self.description | heard
