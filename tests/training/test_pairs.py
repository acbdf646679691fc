"""`data=pairs` through the whole of training: composed by Hydra, two steps, a checkpoint, a batch made again."""

import json
from pathlib import Path

import pytest
import torch
from conftest import Compose
from lightning.pytorch import Callback

from upscale import audio
from upscale.codec import CodecSpec, roundtrip
from upscale.corpus.demo import compose
from upscale.training import fit as fit_module
from upscale.training.fit import fit
from upscale.training.non_finite import NonFiniteLoss
from upscale.training.replay import replay

TINY = ["model=spectral_gain", "model.width=4", "model.num_blocks=1", "model.window_size=512", "data=pairs"]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    for song in range(3):
        clean = 0.5 * compose(song, seconds=1.0)
        for side, wav in (("clean", clean), ("degraded/64", roundtrip(clean, CodecSpec(bitrate=64)))):
            (folder / side).mkdir(parents=True, exist_ok=True)
            audio.write(folder / side / f"{song}.flac", wav, 44_100, subtype="PCM_16")
    return folder


def test_two_steps_on_pairs_leave_a_checkpoint(compose_debug: Compose, pairs: Path, tmp_path: Path) -> None:
    config = compose_debug(*TINY, f"data.root={pairs}", "data.num_batches=2", "trainer.max_epochs=1")
    assert config.data._target_ == "upscale.datamodule.PairDataModule"
    assert fit(config) is not None
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 2
    assert last["upscale_model"]["bitrates"] == [64]  # of the pairs, not of the codec group
    metrics = json.loads((tmp_path / "run" / "result.json").read_text())["metrics"]
    assert metrics["val/si_sdr_degraded/64"] > 0


def test_the_batch_that_stopped_a_run_on_pairs_is_made_again(
    compose_debug: Compose, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    class Poison(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx: int) -> None:  # type: ignore[no-untyped-def]
            if trainer.global_step == 1:
                seen.append(batch.clean.clone())
                batch.degraded[1, 0, 5] = float("nan")

    original = fit_module.build_trainer

    def build(*args, **kwargs):  # type: ignore[no-untyped-def]
        trainer = original(*args, **kwargs)
        trainer.callbacks.append(Poison())
        return trainer

    monkeypatch.setattr(fit_module, "build_trainer", build)
    with pytest.raises(NonFiniteLoss):
        fit(compose_debug(*TINY, f"data.root={pairs}"))
    assert torch.equal(replay(tmp_path / "run").clean, seen[0])
