"""Every stage of the released models, trained by the real trainer, has the losses of the trainer that made them.

`released_losses.json` was recorded from that trainer before it went, by a test of this file in the history.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from lightning.pytorch import Callback
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from scripts.released.precompute import inputs_and_target
from tests.training.released_batches import repetition_batch, set_weights, wav_batch
from upscale.datamodule import AnyBatch, Batch, FrameBatch, RepetitionBatch
from upscale.training.fit import build_module, build_trainer

CONF = Path(__file__).parents[2] / "conf"
RECORDED = json.loads(Path(__file__).with_name("released_losses.json").read_text())
NUM_STEPS = 20
TINY = ["width=8", "num_blocks=2", "num_bands=16", "frame_width=16", "average_frames=3"]
TINY_LEVEL = ["level_width=8", "num_level_blocks=2", "level_frame_width=16", "period=8192"]
RATES = {"coarse": 2e-3, "fine": 2e-3, "filters": 1e-3, "repetition_mixer": 2e-3, "band_envelope": 1e-3}
RATES |= {"stereo_correlation": 1e-2, "log_magnitude": 5e-3}


class Steps(Dataset):
    """The batch of each step in turn."""

    def __init__(self, make: Callable[[int], AnyBatch]) -> None:
        self.make = make

    def __len__(self) -> int:
        return NUM_STEPS

    def __getitem__(self, step: int) -> AnyBatch:
        return self.make(step)


class Losses(Callback):
    """Collects them. Whatever a step draws itself, as dropout does, depends on its number alone."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        torch.manual_seed(batch_idx)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.values.append(float(outputs["loss"]))


def keys(tensors: dict[str, Tensor]) -> list[str]:
    return [str(clip) for clip in range(len(tensors["bitrate"]))]


def wavs(step: int, size: int, num_samples: int) -> Batch:
    tensors = wav_batch(step, size, num_samples)
    return Batch(**tensors, key=keys(tensors))


def repetitions(step: int) -> RepetitionBatch:
    tensors = repetition_batch(step, 2, num_blocks=6, num_matches=4)
    return RepetitionBatch(**tensors, key=keys(tensors))


def frames(predictor: Any, step: int) -> FrameBatch:
    """The frames of clips of 72 frames; every other clean clip is known up to 15 kHz only."""
    tensors = wav_batch(step, 4, 72 * 512)
    inputs, target = inputs_and_target(predictor, tensors["degraded"], tensors["clean"])
    target[::2, :, int(15_000 / 22_050 * predictor.num_bands) :] = float("nan")
    target[::2, 2] = float("nan")
    return FrameBatch(inputs, target, tensors["bitrate"], keys(tensors))


def train(stage: str, precision: str, tmp_path: Path) -> list[float]:
    tiny = TINY + (TINY_LEVEL if stage in ("band_envelope", "stereo_correlation", "log_magnitude") else [])
    overrides = [f"experiment=released/{stage}", *(f"model.{argument}" for argument in tiny)]
    overrides += [f"output_dir={tmp_path}", f"optimizer.lr={RATES[stage]}", f"trainer.precision={precision}"]
    overrides += [f"trainer.max_steps={NUM_STEPS}", "trainer.limit_val_batches=0", "data.root=unused"]
    overrides += ["~callbacks.progress", "trainer.enable_model_summary=false"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", overrides=overrides)
    module, trainer, losses = build_module(config), build_trainer(config), Losses()
    part: Any = module.net.level if stage in ("band_envelope", "stereo_correlation") else module.net
    set_weights(part)
    trainer.callbacks.append(losses)  # type: ignore[attr-defined]
    make: dict[str, Callable[[int], AnyBatch]] = {
        "coarse": lambda step: wavs(step, 2, 24_576),
        "fine": lambda step: wavs(step, 2, 32_768),
        "filters": lambda step: wavs(step, 2, 32_768),
        "repetition_mixer": repetitions,
        "log_magnitude": lambda step: wavs(step, 2, 33_792),
    }
    data = Steps(make.get(stage, lambda step: frames(part, step)))
    trainer.fit(module, DataLoader(data, batch_size=None, shuffle=False))
    return losses.values


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("stage", RATES)
def test_losses_of_a_stage_are_the_recorded_ones(stage: str, precision: str, tmp_path: Path) -> None:
    losses = train(stage, precision, tmp_path)
    recorded = RECORDED[stage][precision]["minimised"]
    assert len(recorded) == NUM_STEPS
    # In bfloat16 the last bit of a weight decides how the next activation is rounded.
    assert losses == pytest.approx(recorded, rel=1e-4 if precision == "32-true" else 2e-3, abs=1e-5)
