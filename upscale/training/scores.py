"""Validation scores beside doing nothing: SDR and SI-SDR of degraded and restored, and what was gained, per bitrate."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from upscale.codec import CODECS
from upscale.datamodule import Batch
from upscale.metrics import sdr, si_sdr

KNOWN = sorted({bitrate for codec in CODECS.values() for bitrate in codec.bitrates})  # of any codec, kbit/s
METRICS = {"sdr": sdr, "si_sdr": si_sdr}


class BitrateScores(Callback):
    """Logs `val/{sdr,si_sdr}_{degraded,restored,gain}/BITRATE`, and without `/BITRATE` the mean over all clips, in dB.

    A clip without a fixed bitrate counts at the nearest one. Silent clips have no ratio and are left out.
    """

    def __init__(self) -> None:
        self._sums = torch.zeros(0)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # [bitrate, metric, (degraded, restored, count)]; one table of fixed size is what ranks can add up
        self._sums = torch.zeros(len(KNOWN), len(METRICS), 3, device=pl_module.device)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if outputs["restored"] is None:  # a part was trained that restores no sound
            return
        known = torch.tensor(KNOWN, device=batch.bitrate.device)
        rows = (batch.bitrate[:, None] - known).abs().argmin(dim=1)
        for column, metric in enumerate(METRICS.values()):
            values = _score_clips(metric, batch, outputs["restored"])
            self._sums[:, column].index_add_(0, rows, values.to(self._sums))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        sums = trainer.strategy.reduce(self._sums, reduce_op="sum")
        for column, name in enumerate(METRICS):
            self._log(pl_module, name=name, suffix="", sums=sums[:, column].sum(dim=0))
            for row, bitrate in enumerate(KNOWN):
                self._log(pl_module, name=name, suffix=f"/{bitrate}", sums=sums[row, column])

    @staticmethod
    def _log(pl_module: LightningModule, name: str, suffix: str, sums: Tensor) -> None:
        degraded, restored, count = sums.tolist()
        if count == 0:
            return
        means = {"degraded": degraded / count, "restored": restored / count, "gain": (restored - degraded) / count}
        pl_module.log_dict({f"val/{name}_{side}{suffix}": value for side, value in means.items()})


def _score_clips(metric: Any, batch: Batch, restored: Tensor) -> Tensor:
    """`[B, (degraded, restored, 1)]`, with zeros in place of clips that have no score."""
    scores = torch.stack([metric(batch.clean, batch.degraded), metric(batch.clean, restored)], dim=1)
    valid = torch.isfinite(scores).all(dim=1, keepdim=True)
    return torch.cat([torch.where(valid, scores, 0.0), valid.to(scores)], dim=1)


class HyperParameters(Callback):
    """TensorBoard's HParams page: the run's settings beside its best validation, so that a sweep reads as one table."""

    def __init__(self, parameters: dict[str, Any], monitor: str = "val/loss", mode: str = "min") -> None:
        self.parameters, self.monitor, self.mode = parameters, monitor, mode
        self.best: dict[str, float] = {}
        self.best_metrics: dict[str, float] = {}  # everything that the best validation measured

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        score = trainer.callback_metrics.get(self.monitor)
        if trainer.sanity_checking or score is None:
            return
        if self.best and not self._is_better(score.item(), self.best[f"best/{self.monitor}"]):
            return
        names = (self.monitor, "val/sdr_gain", "val/si_sdr_gain")
        metrics = trainer.callback_metrics
        self.best = {f"best/{name}": metrics[name].item() for name in names if name in metrics}
        self.best_metrics = {name: value.item() for name, value in metrics.items() if name.startswith("val/")}
        for logger in trainer.loggers:
            # Lightning numbers the batches from zero: a run that is resumed after this one drops what comes later
            logger.log_hyperparams(self.parameters, self.best, step=trainer.global_step - 1)

    def _is_better(self, score: float, best: float) -> bool:
        return score < best if self.mode == "min" else score > best

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "best_metrics": self.best_metrics}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.best_metrics = dict(state_dict["best"]), dict(state_dict["best_metrics"])
