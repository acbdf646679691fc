"""What runs in the processes that the chaos tests kill: the command line itself, in a child of a warm process.

A forkserver has imported torch and Lightning; its children begin where `python train.py` stands after seconds.
"""

import hashlib
import json
import multiprocessing
import os
import runpy
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.utils.tensorboard
from lightning.pytorch import Callback, LightningModule, Trainer

import upscale.models
import upscale.training.fit
import upscale.training.progress  # noqa: F401
from upscale.datamodule import Batch

TRAIN = Path(__file__).parents[2] / "train.py"


def command_line(arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    """`python train.py ARGUMENTS` in `folder`, its output in `folder/log.txt`, its exit status this process's."""
    multiprocessing.set_start_method("fork", force=True)  # for data workers, as in an ordinary process on Linux
    os.environ.update(environment)
    os.chdir(folder)
    log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    torch.set_num_threads(1)
    sys.argv[:] = [str(TRAIN), *arguments]
    runpy.run_path(str(TRAIN), run_name="__main__")


class Diary(Callback):
    """A line a step, in the file at once: step, rank, the batch's clips, a hash of its bits, the loss as it is.

    `pause_seconds` a step gives a test time to strike; `poison_step` puts a NaN into the weights before that step, and
    with `poison_rank` into that rank's alone.
    """

    def __init__(
        self, path: str, pause_seconds: float = 0.0, poison_step: int | None = None, poison_rank: int = 0
    ) -> None:
        self.path, self.pause_seconds = path, pause_seconds
        self.poison_step, self.poison_rank = poison_step, poison_rank
        self._digest = ""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        self._digest = digest(batch)
        if trainer.global_step == self.poison_step and trainer.global_rank == self.poison_rank:
            self._write({"poisoned": trainer.global_step, "keys": batch.key, "digest": self._digest})
            with torch.no_grad():
                next(pl_module.parameters()).view(-1)[0] = float("nan")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        self._write(
            {
                "step": trainer.global_step,
                "rank": trainer.global_rank,
                "keys": batch.key,
                "digest": self._digest,
                "loss": outputs["loss"].item().hex(),
            }
        )
        time.sleep(self.pause_seconds)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        self._write({"validation": trainer.current_epoch, "rank": trainer.global_rank, "keys": batch.key})

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        bits = b"".join(parameter.detach().numpy().tobytes() for parameter in pl_module.parameters())
        self._write({"end": hashlib.sha256(bits).hexdigest(), "rank": trainer.global_rank})

    def _write(self, facts: dict[str, Any]) -> None:
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(facts) + "\n")


def digest(batch: Batch) -> str:
    """A hash of every bit of a batch."""
    bits = batch.degraded.numpy().tobytes() + batch.clean.numpy().tobytes() + batch.bitrate.numpy().tobytes()
    return hashlib.sha256(bits + "\n".join(batch.key).encode()).hexdigest()
