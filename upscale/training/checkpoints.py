"""What survives an interruption: `last.ckpt`, always whole, never old, and written once more on the way out."""

import os
import signal
import threading
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import Callback, LightningModule, Trainer

from upscale.errors import UserError
from upscale.training.loop_state import count_resumed_epoch, settle
from upscale.training.non_finite import NonFiniteLoss
from upscale.training.resume import LAST_NAME, PREVIOUS_NAME


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target and renames, so that a kill in the middle leaves the previous checkpoint.

    Lightning's own stages the file in the system's temporary folder; across file systems its move is a copy.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        path = Path(path)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(checkpoint, temporary)
            os.replace(temporary, path)
        except (OSError, RuntimeError) as error:  # torch's writer reports a full disk as a RuntimeError
            raise UserError(
                f"{path} cannot be written ({getattr(error, 'strerror', None) or 'disk full?'}): "
                "make room, then go on with resume="
            ) from error
        finally:
            temporary.unlink(missing_ok=True)


class LastCheckpoint(Callback):
    """Keeps `dirpath/last.ckpt` every `every_n_steps` steps, between epochs, at the end, and on an interruption.

    Between epochs means at the start of the next one: at the end of an epoch Lightning has yet to step the
    learning-rate plateau. The one before stays as `previous.ckpt`, for the day that a disk returns something else
    than was written.
    """

    def __init__(self, dirpath: str, every_n_steps: int) -> None:
        self.path = Path(dirpath) / LAST_NAME
        self.every_n_steps = every_n_steps
        self._saved_step = 0
        self._saving = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step - self._saved_step >= self.every_n_steps:
            self._save(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._saved_step = trainer.global_step

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step > self._saved_step:
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Weights that a diverged loss may have touched do not replace good ones."""
        started = trainer.global_step > 0 and not trainer.sanity_checking
        if started and trainer.global_step != self._saved_step and not isinstance(exception, NonFiniteLoss):
            self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        self._saved_step = trainer.global_step
        if trainer.is_global_zero and self.path.exists():
            _replace_by_link(self.path, self.path.with_name(PREVIOUS_NAME))
        self._saving = True
        try:
            trainer.save_checkpoint(self.path, weights_only=False)
        finally:
            self._saving = False

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self._saving:
            settle(checkpoint["loops"], trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit":
            count_resumed_epoch(trainer)


def _replace_by_link(source: Path, target: Path) -> None:
    """A second name for the same bytes, put in place at once; neither name is ever missing."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    os.link(source, temporary)
    os.replace(temporary, target)


class GracefulInterrupt(Callback):
    """The first Ctrl-C ends the run after the batch in hand, as SIGTERM does; the second one at once.

    An optimizer step cut in half leaves weights of two different steps. Lightning already handles SIGTERM between
    batches and on every rank, so Ctrl-C is turned into that.
    """

    def __init__(self) -> None:
        self._previous: Any = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._on_interrupt)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
            self._previous = None

    def _on_interrupt(self, signum: int, frame: Any) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.raise_signal(signal.SIGTERM)
