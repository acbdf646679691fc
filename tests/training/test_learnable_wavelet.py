"""Learnable filters: the penalty is part of what training minimises, and falls."""

from pathlib import Path

import pytest
import torch
from conftest import Compose
from omegaconf import DictConfig

from upscale.datamodule import Batch
from upscale.training.fit import build_module, fit
from upscale.training.module import RestorationModule, StepOutput

UNET = [
    "model=wavelet_unet_small",
    "model.learnable_wavelet=true",
    "model.num_layers=2",
    "model.num_filters=4",
    "model.kernel_size=4",
    "data.clip_seconds=0.1",
    "optimizer.lr=0.003",
]


@pytest.mark.slow
def test_regularizer_pulls_spoilt_filters_back_to_reconstruction(
    compose_debug: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Filters that start off reconstruction come back to it, although the loss alone would not move them there."""
    torch.manual_seed(0)
    config = compose_debug(*UNET, "data.num_batches=40", "trainer.max_epochs=1", output_dir=tmp_path / "run")
    assert build_module(config).net.regularizer() < 1e-9
    penalties = []

    def spoilt(config: DictConfig) -> RestorationModule:
        module = build_module(config)
        filters = [value for name, value in module.net.named_parameters() if name.endswith("filters")]
        assert len(filters) == 4  # analysis and synthesis of two levels
        for value in filters:
            value.data.add_(0.05 * torch.randn_like(value))
        step = module.training_step

        def watched(batch: Batch, batch_idx: int) -> StepOutput:
            penalties.append(module.net.regularizer().item())
            return step(batch, batch_idx)

        module.training_step = watched
        return module

    monkeypatch.setattr("upscale.training.fit.build_module", spoilt)
    fit(config)
    assert penalties[-1] < penalties[0] / 3
