"""What a training run prints where there is no terminal."""

from types import SimpleNamespace

import pytest
import torch

from upscale import progress
from upscale.training.progress import LineProgress, progress_bar


def trainer(step: int, **metrics: float) -> SimpleNamespace:
    return SimpleNamespace(
        current_epoch=step // 10,
        global_step=step,
        sanity_checking=False,
        state=SimpleNamespace(fn="fit"),
        callback_metrics={name.replace("__", "/"): torch.tensor(value) for name, value in metrics.items()},
    )


def test_a_log_gets_a_line_an_interval_and_one_after_each_validation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    shown = LineProgress(every_seconds=60.0)
    shown.on_train_start(trainer(100), None)
    for step, now in ((101, 50.0), (102, 70.0), (103, 80.0)):  # noqa: B007  `now` is read by the clock
        shown.on_train_batch_end(trainer(step), None, {"loss": torch.tensor(0.25)}, None, 0)
    shown.on_validation_end(trainer(104, val__loss=0.5, val__si_sdr_gain=0.125), None)
    for step, now in ((105, 135.0), (106, 140.0)):  # noqa: B007
        shown.on_train_batch_end(trainer(step), None, {"loss": torch.tensor(0.125)}, None, 0)
    assert capsys.readouterr().out.splitlines() == [
        "epoch 10, step 102, 70 s, 0.03 steps/s; train/loss 0.25",
        "epoch 10, step 104, 80 s, 0.05 steps/s; val/loss 0.5; SI-SDR gain +0.125 dB",
        "epoch 10, step 106, 140 s, 0.04 steps/s; train/loss 0.125",
    ]


def test_progress_is_lines_where_stdout_is_no_terminal() -> None:
    assert isinstance(progress_bar(every_seconds=5.0), LineProgress)
