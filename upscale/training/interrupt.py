"""Signals end a run after the batch in hand, on every rank at once; SLURM is asked to start the job again.

Lightning's own handlers act in the middle of whatever happens to run: its SLURM handler writes a checkpoint while an
optimizer step may be half done, and its SIGTERM handler starts a collective operation that the other ranks are not in,
which can wait forever. Here a handler only takes a note, and the ranks compare their notes after each batch.
"""

import os
import signal
import subprocess
import sys
import threading
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.environments import SLURMEnvironment


class GracefulInterrupt(Callback):
    """SIGTERM (preemption), Ctrl-C and, in a SLURM job, `requeue_signal` end the run after the current batch.

    Interrupted in the middle, a step would leave weights of two steps. A second Ctrl-C does end it at once.
    Lightning puts every handler back when the trainer is torn down.
    """

    def __init__(self, requeue_signal: str = "SIGUSR1") -> None:
        self.requeue_signal = signal.Signals[requeue_signal]
        self.requeue_asked = self._asked = self._epoch_ends = False
        self._trainer: Trainer | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Here, not earlier: Lightning has just put its own handlers in place."""
        self.requeue_asked = self._asked = self._epoch_ends = False
        self._trainer = trainer
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        if slurm_job() is not None:
            signal.signal(self.requeue_signal, self._on_signal)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.world_size > 1 and trainer.strategy.reduce_boolean_decision(self._asked, all=False):
            _stop_after_this_batch(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Its figures are logged, but the plateau schedule waits for them: not a moment to leave, soon is."""
        self._epoch_ends = True
        if trainer.world_size == 1 and not trainer.sanity_checking:
            trainer._signal_connector.received_sigterm = False

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._leave_if_asked(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._leave_if_asked(trainer)

    def _leave_if_asked(self, trainer: Trainer) -> None:
        self._epoch_ends = False
        if trainer.world_size == 1 and self._asked:
            _stop_after_this_batch(trainer)

    def _on_signal(self, number: int, frame: Any) -> None:
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        self._asked = True
        self.requeue_asked |= slurm_job() is not None and number == self.requeue_signal
        assert self._trainer is not None
        if self._trainer.world_size == 1 and not self._epoch_ends:  # a validation ends in the middle, too
            _stop_after_this_batch(self._trainer)


def _stop_after_this_batch(trainer: Trainer) -> None:
    trainer._signal_connector.received_sigterm = True  # what Lightning looks at between batches


def slurm_job() -> str | None:
    """The id of the SLURM job that this process runs in, `JOB_TASK` in an array; None in an interactive shell."""
    if not SLURMEnvironment.detect():
        return None
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        return f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ.get("SLURM_JOB_ID")


def requeue(job: str) -> None:
    """Put `job` back into SLURM's queue; when it starts again, `resume=` goes on from the checkpoint just written."""
    try:
        subprocess.run(["scontrol", "requeue", job], check=True)
        print(f"job {job} is back in the queue", file=sys.stderr)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"warning: job {job} could not be requeued ({error}): submit it again", file=sys.stderr)
