"""The checkpoint that an interrupted run resumes from: `last.ckpt`, written atomically, often, and when a run ends."""

import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from upscale import atomic
from upscale.errors import UserError
from upscale.training.loop_state import count_resumed_epoch, normalise_loop_counters
from upscale.training.non_finite import NonFiniteLoss
from upscale.training.resume import LAST_NAME, PREVIOUS_NAME


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a temporary file beside the target and renames it: a killed write leaves the previous checkpoint.

    Lightning's own plugin uses the system's temporary folder; from another file system its move is a copy.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic.replacing(path) as temporary:
                torch.save(checkpoint, temporary)
        except (OSError, RuntimeError) as error:  # torch's writer reports a full disk as a RuntimeError
            raise UserError(
                f"{path} cannot be written ({getattr(error, 'strerror', None) or 'disk full?'}): "
                "make room, then go on with resume="
            ) from error


class LastCheckpoint(Callback):
    """Keeps `dirpath/last.ckpt` every `every_n_steps` steps, between epochs, at the end, and on an interruption.

    Between epochs means at the start of the next one: at the end of an epoch Lightning has not yet stepped the
    plateau schedule. The checkpoint before it stays as `previous.ckpt`, in case the disk damages the last one.
    """

    def __init__(self, dirpath: str, every_n_steps: int) -> None:
        self.path = Path(dirpath) / LAST_NAME
        self.every_n_steps = every_n_steps
        self._saved_step = 0
        self._validated_step = -1
        self._saving = self._within_step = False

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._within_step = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._within_step = False
        # After an epoch's last batch comes its validation: a run resumed from before it would log that a second time.
        ends_epoch = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        if trainer.global_step - self._saved_step >= self.every_n_steps and not ends_epoch:
            self._save(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._saved_step = trainer.global_step

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step > self._saved_step:
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save, unless the state may be broken: within a step, after a loss that is not finite, or after a validation
        whose epoch failed to end (a full disk), because the plateau schedule has not seen its result.
        """
        whole = not self._within_step and not trainer.sanity_checking and not isinstance(exception, NonFiniteLoss)
        whole = whole and (isinstance(exception, SIGTERMException) or self._validated_step != trainer.global_step)
        if whole and trainer.global_step not in (0, self._saved_step):
            self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        self._saved_step = trainer.global_step
        _flush(trainer)
        if trainer.is_global_zero and self.path.exists():
            _replace_by_link(self.path, self.path.with_name(PREVIOUS_NAME))
        self._saving = True
        try:
            trainer.save_checkpoint(self.path, weights_only=False)
        finally:
            self._saving = False

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self._saving:
            normalise_loop_counters(checkpoint["loops"], trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit":
            self._validated_step = trainer.global_step
            count_resumed_epoch(trainer)


def _flush(trainer: Trainer) -> None:
    """The curve up to the checkpoint belongs to it: a run that is killed and resumed does not draw it again."""
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            try:
                logger.experiment.flush()
            except OSError as error:
                raise UserError(
                    f"{logger.log_dir} cannot be written ({error.strerror}): make room, then go on with resume="
                ) from error


def _replace_by_link(source: Path, target: Path) -> None:
    """A second name for the same bytes, put in place at once; neither name is ever missing."""
    with atomic.replacing(target) as temporary:
        os.link(source, temporary)
