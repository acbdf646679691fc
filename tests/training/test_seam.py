"""The seam: shards -> data module -> training -> checkpoint -> restoring a real MP3, tiny, on the CPU."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Compose
from lightning.pytorch import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from upscale import audio
from upscale.codec import CodecSpec, encode
from upscale.corpus.demo import compose as compose_song
from upscale.metrics import sdr
from upscale.restore import Restorer
from upscale.restore.bundle import load_bundle
from upscale.training import fit as fit_module
from upscale.training.fit import fit
from upscale.training.module import RestorationModule
from upscale.training.non_finite import NonFiniteLoss

SPECTRAL = [
    "model=spectral_gain",
    "model.width=4",
    "model.num_blocks=1",
    "model.window_size=512",
    "loss=fidelity",
    "optimizer.lr=0.01",
    "data.batch_size=4",
    "data.num_batches=15",
    "data.clip_seconds=0.5",
    "codec.bitrates=[96]",
    "+callbacks.audio_logging._target_=upscale.training.audio_logging.AudioLogging",
    "trainer.log_every_n_steps=5",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("seam")


@pytest.fixture
def trained(run: Path, compose_debug: Compose) -> Path:
    """A stereo network after 30 steps."""
    if not (run / "result.json").exists():
        best = fit(compose_debug(*SPECTRAL, output_dir=run))
        assert best == json.loads((run / "result.json").read_text())["best"]
    return run


def test_trained_checkpoint_restores_an_mp3(trained: Path, tmp_path: Path) -> None:
    checkpoint = trained / "checkpoints" / "best.ckpt"
    clean = compose_song(seed=12345, seconds=2.0)
    (tmp_path / "song.mp3").write_bytes(encode(clean, CodecSpec(bitrate=96)))
    degraded, sample_rate = audio.read(tmp_path / "song.mp3")
    restored = Restorer.load(checkpoint)(degraded, sample_rate, bitrate=96)
    assert restored.shape == clean.shape
    assert restored.dtype == np.float32
    assert sdr(clean, restored) > sdr(clean, degraded)  # 30 steps learn that LAME turns the level down
    net, description = load_bundle(checkpoint)
    assert description.bitrates == (96,)
    with torch.no_grad():
        direct = net(torch.from_numpy(degraded)[None])[0].numpy()
    np.testing.assert_allclose(restored, direct, atol=1e-4)


def test_checkpoints_hold_nothing_but_plain_data(trained: Path) -> None:
    for name in ("best", "last"):
        content = torch.load(trained / "checkpoints" / f"{name}.ckpt", map_location="cpu", weights_only=True)
        assert content["upscale_model"]["class"] == "upscale.models.SpectralGain"
        assert content["upscale_model"]["arguments"] == {"width": 4, "num_blocks": 1, "window_size": 512}
        assert all(key.startswith("net.") for key in content["state_dict"])


def test_run_folder_keeps_the_composed_config(trained: Path) -> None:
    config = OmegaConf.load(trained / "config.yaml")
    assert config.model.width == 4
    assert config.codec.bitrates == [96]


def test_tensorboard_shows_curves_pictures_sounds_and_settings(trained: Path) -> None:
    events = EventAccumulator(str(trained / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    expected = {
        f"val/{metric}_{side}{at}"
        for metric in ("sdr", "si_sdr")
        for side in ("degraded", "restored", "gain")
        for at in ("", "/96")
    }
    assert expected | {"train/loss", "val/loss", "lr-Adam", "best/val/loss"} <= set(tags["scalars"])
    assert len(tags["images"]) == len({tag.split("/")[0] for tag in tags["audio"]}) > 0
    assert {tag.split("/")[1] for tag in tags["audio"]} == {"clean", "degraded", "restored"}
    assert any("hparams" in tag for tag in events.summary_metadata)
    gain = events.Scalars("val/si_sdr_gain/96")[-1].value
    difference = events.Scalars("val/si_sdr_restored/96")[-1].value - events.Scalars("val/si_sdr_degraded/96")[-1].value
    assert gain == pytest.approx(difference, abs=1e-4)


def test_retraining_starts_from_the_checkpoint_with_a_new_optimizer(
    trained: Path, compose_debug: Compose, tmp_path: Path
) -> None:
    config = compose_debug(
        *SPECTRAL, f"ckpt={trained}/checkpoints/best.ckpt", "trainer.max_epochs=1", "optimizer.lr=1e-12"
    )
    fit(config)
    before, after = (
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in (trained, tmp_path / "run")
    )
    best = torch.load(trained / "checkpoints" / "best.ckpt", weights_only=True)
    assert after["global_step"] == 15 < before["global_step"]
    for name, weight in best["state_dict"].items():
        torch.testing.assert_close(after["state_dict"][name], weight, atol=1e-6, rtol=1e-5)


def test_same_seed_gives_the_same_weights(compose_debug: Compose, tmp_path: Path) -> None:
    runs = [tmp_path / name for name in ("one", "two")]
    for run in runs:
        fit(compose_debug("model.num_layers=2", "data.num_batches=3", "trainer.max_epochs=1", output_dir=run))
    states = [torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for run in runs]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_loss_that_is_not_finite_stops_the_run_and_names_the_batch(
    compose_debug: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Poison(Callback):
        def on_train_batch_start(self, trainer, pl_module: RestorationModule, batch, batch_idx: int) -> None:  # type: ignore[no-untyped-def]
            if trainer.global_step == 3:
                batch.degraded[1, 0, 5] = float("nan")

    original = fit_module.build_trainer

    def build(*args, **kwargs):  # type: ignore[no-untyped-def]
        trainer = original(*args, **kwargs)
        trainer.callbacks.append(Poison())
        return trainer

    monkeypatch.setattr(fit_module, "build_trainer", build)
    with pytest.raises(NonFiniteLoss, match=r"train loss is nan at epoch 0, step 3.*non_finite_loss\.json"):
        fit(compose_debug("model.num_layers=2"))
    facts = json.loads((tmp_path / "run" / "non_finite_loss.json").read_text())
    assert [clip["degraded_finite"] for clip in facts["clips"]] == [True, False]
    assert facts["weights_finite"]
    assert (facts["batch"], facts["seed"]) == (3, 0)
    assert all(clip["key"] and clip["bitrate"] > 0 for clip in facts["clips"])
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert all(torch.isfinite(weight).all() for weight in last["state_dict"].values())


def test_logger_keeps_one_folder_for_one_run(compose_debug: Compose, tmp_path: Path) -> None:
    trainer = fit_module.build_trainer(compose_debug())
    assert isinstance(trainer.logger, TensorBoardLogger)
    assert Path(trainer.logger.log_dir) == tmp_path / "run" / "tensorboard"
