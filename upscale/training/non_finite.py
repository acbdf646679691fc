"""A loss that is NaN or infinite ends the run before it reaches the weights, and leaves its batch behind to look at."""

import json
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from upscale import atomic
from upscale.datamodule import AnyBatch, PairDataModule, ShardDataModule
from upscale.errors import UserError

REPORT_NAME = "non_finite_loss.json"


class NonFiniteLoss(UserError):
    """The loss of one batch is NaN or infinite; no weight has seen it."""

    def __init__(self, report: Path) -> None:
        facts = json.loads(report.read_text(encoding="utf-8"))
        super().__init__(
            f"{facts['stage']} loss is {facts['loss']} at epoch {facts['epoch']}, step {facts['step']}: stopped; "
            f"the batch is written down in {report}; try a lower optimizer.lr or trainer.gradient_clip_val=1"
        )


def report_batch(
    *, batch: AnyBatch, restored: Tensor | None, loss: Tensor, stage: str, module: LightningModule
) -> Path:
    """Write what it takes to replay the batch, and what in it is not finite, to `non_finite_loss.json`."""
    trainer = module.trainer
    name = REPORT_NAME if trainer.is_global_zero else f"rank{trainer.global_rank}_{REPORT_NAME}"
    path = Path(trainer.default_root_dir) / name
    places = _places(batch, stage, trainer)
    sounds = {side: getattr(batch, side) for side in ("degraded", "clean", "inputs") if hasattr(batch, side)}
    sounds |= {} if restored is None else {"restored": restored}
    clips = [
        {
            "key": key,
            "bitrate": float(batch.bitrate[index]),
            **{f"{side}_finite": _finite(values[index]) for side, values in sounds.items()},
            **(places[index] if places else {}),
        }
        for index, key in enumerate(batch.key)
    ]
    facts: dict[str, Any] = {
        "stage": stage,
        "epoch": trainer.current_epoch,
        "step": trainer.global_step,
        "batch": module.trainer.fit_loop.batch_idx,  # of the epoch; with `seed` it decides crops, levels and specs
        "seed": getattr(trainer.datamodule, "seed", None),  # type: ignore[attr-defined]
        "rank": trainer.global_rank,
        "num_ranks": trainer.world_size,
        "loss": str(loss.item()),
        "weights_finite": all(_finite(parameter) for parameter in module.parameters()),
        "clips": clips,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(path, json.dumps(facts, indent=2) + "\n")
    return path


def _places(batch: AnyBatch, stage: str, trainer: Trainer) -> list[dict[str, Any]]:
    """`draw` of each clip (and `spec`, if a codec was drawn): `upscale.training.replay` makes the batch again."""
    data, loop = trainer.datamodule, trainer.fit_loop  # type: ignore[attr-defined]
    if stage != "train" or not isinstance(data, ShardDataModule | PairDataModule):
        return []
    order = trainer.train_dataloader.sampler  # type: ignore[union-attr]
    draws = order.batch(trainer.current_epoch, loop.batch_idx)
    clips = data.clips["train"]
    return [{"draw": list(draw), **clips.facts(draw, key)} for draw, key in zip(draws, batch.key, strict=True)]


def _finite(values: Tensor) -> bool:
    return bool(torch.isfinite(values).all())
