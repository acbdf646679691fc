"""Every shipped YAML composes, instantiates and, where it is a model, answers."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from upscale.training.fit import build_module, build_trainer

CONF = Path(__file__).parents[2] / "conf"
TRAIN_GROUPS = (
    "callbacks",
    "codec",
    "data",
    "experiment",
    "logger",
    "loss",
    "model",
    "optimizer",
    "scheduler",
    "trainer",
)
LOSSES_OF_PARTS = ("band_envelope", "log_magnitude", "stereo_correlation")  # of log powers, not of wavs
OTHER_PRIMARIES = ("prepare", "make_pairs", "infer")


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def compose_train(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", overrides=["output_dir=unused", *overrides])


@pytest.mark.parametrize("model", options("model"))
def test_models_answer_in_their_own_shape(model: str) -> None:
    net = instantiate(compose_train(f"model={model}").model, _convert_="all").eval()
    wav = 0.1 * torch.randn(1, net.channels, 8192)
    with torch.no_grad():
        assert net(wav, torch.tensor([128.0])).shape == wav.shape
    assert net.sample_rate == 44_100
    assert net.context >= 0
    assert net.stride >= 1


@pytest.mark.parametrize("loss", sorted({*options("loss")} - {*LOSSES_OF_PARTS}))
def test_losses_compare(loss: str) -> None:
    criterion = instantiate(compose_train(f"loss={loss}").loss, _convert_="all")
    clean, noise = 0.1 * torch.randn(2, 2, 4096), 0.01 * torch.randn(2, 2, 4096)
    assert criterion(clean, clean, clean).abs() < 1e-5
    assert torch.isfinite(criterion(clean + 0.5 * noise, clean, clean + noise))


@pytest.mark.parametrize("loss", LOSSES_OF_PARTS)
def test_losses_of_parts_build(loss: str) -> None:
    assert isinstance(instantiate(compose_train(f"loss={loss}").loss, _convert_="all"), torch.nn.Module)


@pytest.mark.parametrize("codec", options("codec"))
def test_codecs_draw(codec: str) -> None:
    sampler = instantiate(compose_train(f"codec={codec}").codec, _convert_="all")
    assert sampler.draw(3) == sampler.draw(3)


@pytest.mark.parametrize("optimizer", options("optimizer"))
@pytest.mark.parametrize("scheduler", options("scheduler"))
def test_optimizers_and_schedulers_build(optimizer: str, scheduler: str) -> None:
    model = ["model=spectral_fill"] if optimizer == "muon" else tiny_model()  # one that has matrices
    config = compose_train(f"optimizer={optimizer}", f"scheduler={scheduler}", "trainer.max_steps=10", *model)
    assert set(build_module(config).configure_optimizers()) == {"optimizer", "lr_scheduler"}


@pytest.mark.parametrize("experiment", options("experiment"))
def test_experiments_build_everything(experiment: str) -> None:
    config = compose_train(
        f"experiment={experiment}", "trainer.accelerator=cpu", "trainer.devices=1", "trainer.precision=32-true"
    )
    OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert config.name == experiment
    module, trainer = build_module(config), build_trainer(config)
    assert module.description["class"].startswith("upscale.models.")
    assert trainer.checkpoint_callback is not None


@pytest.mark.parametrize(("group", "option"), [(group, option) for group in TRAIN_GROUPS for option in options(group)])
def test_train_composes_with_every_option(group: str, option: str) -> None:
    config = compose_train(f"{group}={option}")
    assert "_target_" in OmegaConf.to_yaml(config, resolve=True)


@pytest.mark.parametrize("name", OTHER_PRIMARIES)
def test_other_entry_points_compose(name: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        assert OmegaConf.to_container(compose(name), resolve=True)


def test_the_originals_presets_are_as_published() -> None:
    phase1, retrain = compose_train("experiment=phase1"), compose_train("experiment=retrain")
    assert phase1.optimizer._target_ == "torch.optim.Adam"
    assert (phase1.optimizer.lr, retrain.optimizer.lr) == (1e-3, 1e-4)
    assert (phase1.data.num_batches, retrain.data.num_batches) == (3600, 4800)
    for preset in (phase1, retrain):
        assert preset.trainer.max_epochs == 100
        assert preset.data.num_val_batches * 10 == preset.data.num_batches
        assert (preset.data.batch_size, preset.data.clip_seconds) == (16, 1.0)
        assert preset.model.wavelet == "db4"
        assert preset.codec.bitrates == [64, 96, 128, 160, 192, 256]
        assert preset.callbacks.early_stopping.patience == 10
        plateau = preset.scheduler.scheduler
        assert (plateau.factor, plateau.patience, plateau.min_lr) == (0.5, 4, 1e-7)
        assert preset.loss._target_ == "upscale.losses.MSE"


def tiny_model() -> list[str]:
    return ["model=wavelet_unet", "model.num_layers=1", "model.num_filters=4", "model.kernel_size=3"]
