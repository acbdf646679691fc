"""Losses of every stage of the released models at a fixed seed, recorded from the trainer that made them."""

import json
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from scripts.released import clips as old_clips
from scripts.released import train_released as old
from tests.training.released_batches import repetition_batch, set_weights, wav_batch
from upscale.models import SpectralCascade, SpectralFill, SpectralFilter
from upscale.models.spectral.log_magnitude import LogMagnitudePredictor

RECORDED = Path(__file__).with_name("released_losses.json")
NUM_STEPS = 20
TINY = {"width": 8, "num_blocks": 2, "num_bands": 16, "frame_width": 16, "average_frames": 3}
TINY_LEVEL = {"level_width": 8, "num_level_blocks": 2, "level_frame_width": 16, "period": 8192}
RATES = {"coarse": 2e-3, "fine": 2e-3, "filters": 1e-3, "repetition_mixer": 2e-3, "band_envelope": 1e-3}
RATES |= {"stereo_correlation": 1e-2, "log_magnitude": 5e-3}


class Source:
    """The batch of each step in turn; whatever a step draws itself, as dropout does, depends on its number alone."""

    def __init__(self, make: Callable[[int], Any]) -> None:
        self.make, self.step, self.rng = make, 0, np.random.default_rng(0)

    def batch(self, size: int) -> Any:
        torch.manual_seed(self.step)
        self.step += 1
        return self.make(self.step - 1)


def wavs(size: int, num_samples: int) -> Source:
    return Source(lambda step: old_clips.Batch(**wav_batch(step, size, num_samples)))


@torch.no_grad()
def frame_batch(level: LogMagnitudePredictor, step: int) -> old_clips.FrameBatch:
    """The frames of clips of 72 frames; every other clean clip is known up to 15 kHz only."""
    batch = wav_batch(step, 4, 72 * 512)
    relative, around = level.relative(level.stft.analyse(batch["degraded"]))
    clean = level.stft.analyse(batch["clean"])
    bands = level.band_mean(level.log_power(clean) - around)
    target = torch.cat([bands, level.correlation(clean)[:, None]], dim=1)
    target[::2, :, int(15_000 / 22_050 * level.num_bands) :] = float("nan")
    target[::2, 2] = float("nan")
    inputs = level.inputs(batch["degraded"], relative, around, None)
    return old_clips.FrameBatch(inputs, batch["bitrate"], target)


def run(stage: str, out: Path) -> None:
    options = {"minutes": NUM_STEPS / 60, "seed": 0, "learning_rate": RATES[stage], "device": torch.device("cpu")}
    if stage == "coarse":
        model = SpectralFilter(**TINY)
        set_weights(model)
        old.train(
            model,
            lambda batch: model(batch.degraded, batch.bitrate),
            old.fidelity_loss,
            wavs(2, 24_576),
            out,
            **options,
        )
    elif stage in ("fine", "filters"):
        model = SpectralCascade(**TINY, brief_window_size=None if stage == "fine" else 256)
        set_weights(model)
        model.coarse.requires_grad_(stage == "filters")
        old.train(model, old.restorer(model), old.fidelity_loss, wavs(2, 32_768), out, **options)
    elif stage == "repetition_mixer":
        model = SpectralCascade(**TINY, brief_window_size=256, num_matches=4)
        set_weights(model)
        model.requires_grad_(False)
        source = Source(lambda step: old_clips.RepeatBatch(**repetition_batch(step, 2, 6, 4)))
        old.train_repeat(model, source, out, options)
    elif stage == "log_magnitude":
        model = SpectralFill(**TINY, **TINY_LEVEL, brief_window_size=256)
        set_weights(model)
        old.train_levels(model, wavs(2, 33_792), out, options)
    else:
        level = LogMagnitudePredictor(width=8, num_blocks=2, num_bands=16, frame_width=16, average_frames=6)
        set_weights(level)
        train = old.train_bands if stage == "band_envelope" else old.train_correlation
        train(level, Source(lambda step: frame_batch(level, step)), out, options)


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[float]]:
    """What each step minimises and what it shows; the clock goes on by a second a step."""
    found: dict[str, list[float]] = {"minimised": [], "shown": []}
    train = old.train

    def recording(
        model: Any, restore: Any, loss: Callable[[Tensor, Any], tuple[Tensor, Tensor]], *arguments: Any, **options: Any
    ) -> None:
        def recorded(restored: Tensor, batch: Any) -> tuple[Tensor, Tensor]:
            objective, shown = loss(restored, batch)
            found["minimised"].append(float(objective.detach()))
            found["shown"].append(float(shown.detach()))
            return objective, shown

        train(model, restore, recorded, *arguments, **options)

    ticks: Iterator[int] = (max(0, (call - 2) // 2) for call in count())
    monkeypatch.setattr(old, "time", SimpleNamespace(monotonic=ticks.__next__))
    monkeypatch.setattr(old, "train", recording)
    return found


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("stage", RATES)
def test_losses_of_a_stage_are_the_recorded_ones(
    stage: str, precision: str, losses: dict[str, list[float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if precision == "32-true":
        monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    run(stage, tmp_path / "out.pt")
    assert len(losses["minimised"]) == NUM_STEPS
    recorded = json.loads(RECORDED.read_text())[stage][precision]
    assert losses == {name: pytest.approx(values, rel=1e-4, abs=1e-5) for name, values in recorded.items()}
