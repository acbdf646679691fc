"""Progress of a training run, as Lightning's callback."""

import sys
import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar, RichProgressBar

from upscale.progress import EVERY_SECONDS, Interval

SHOWN = {"val/loss": "val/loss {:.4g}", "val/si_sdr_gain": "SI-SDR gain {:+.3f} dB"}


def progress_bar(every_seconds: float = EVERY_SECONDS) -> ProgressBar:
    """Rich's bar on a terminal; elsewhere a `LineProgress`."""
    return RichProgressBar(leave=True) if sys.stdout.isatty() else LineProgress(every_seconds=every_seconds)


class LineProgress(ProgressBar):
    """One line on stdout after each validation, and one every `every_seconds` in between."""

    def __init__(self, every_seconds: float = EVERY_SECONDS) -> None:
        super().__init__()
        self._enabled = True
        self._interval = Interval(every_seconds)
        self._start = time.monotonic()
        self._start_step = 0

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._interval.restart()
        self._start = time.monotonic()
        self._start_step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._interval.passed():
            self._print(trainer, [f"train/loss {outputs['loss'].item():.4g}"])

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking and trainer.state.fn == "fit":
            metrics = trainer.callback_metrics
            self._interval.restart()
            self._print(trainer, [form.format(metrics[name].item()) for name, form in SHOWN.items() if name in metrics])

    def _print(self, trainer: Trainer, facts: list[str]) -> None:
        if not self._enabled:
            return
        seconds = time.monotonic() - self._start
        rate = (trainer.global_step - self._start_step) / max(seconds, 1e-9)
        where = f"epoch {trainer.current_epoch}, step {trainer.global_step}, {seconds:.0f} s, {rate:.2f} steps/s"
        print("; ".join([where, *facts]), flush=True)
