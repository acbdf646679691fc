"""A checkpoint and the results of an evaluation become a bundle that restores and a card that says what it gained."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from scripts.released.publish import publish
from scripts.released.results import command
from upscale.errors import UserError
from upscale.evaluation.results import Row, write_csv
from upscale.models import WaveletUNet
from upscale.restore import Restorer
from upscale.restore.bundle import load_bundle, save_bundle

ARGUMENTS: dict[str, Any] = {"channels": 2, "num_layers": 1, "num_filters": 4, "kernel_size": 3, "wavelet": "db2"}
OPTIONS = {
    "ckpt": "runs/mixer/checkpoints/last.ckpt", "data": "music/recorded", "bitrate_known": False, "bitrates": [64, 96],
    "metrics": ["si_sdr", "lsd"], "excerpt_seconds": None, "visqol_seconds": 8, "visqol_bitrates": [64],
}  # fmt: skip


@pytest.fixture(autouse=True)
def short_song(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.released.publish.COMPOSED_SECONDS", 1.0)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two songs, one of which got worse."""
    folder = tmp_path / "evaluated"
    rows = [
        Row(
            song=song, clip=song, codec="mp3", bitrate=64, metric="si_sdr", unit="dB", better="higher", do_nothing=10.0,
            level=10.0, restored=10 + gain, improvement=gain, level_improvement=0.0, cutoff_hz=1.1e4, level_gain_db=0.4,
            length_difference=0, output_channels=2, channels=2, sample_rate=44_100, path=f"{song}.wav", start=0,
            num_samples=9, mode="cbr", quality=3, stereo="joint", system="model", model="m", bitrate_known=False,
            kind=kind,
        )
        for song, gain, kind in (("a", 1.25, "band"), ("b", -0.5, "solo"))
    ]  # fmt: skip
    write_csv(rows, folder / "results.csv")
    settings = {"options": OPTIONS, "machine": {"processor": "some"}, "versions": {"torch": "2"}}
    (folder / "settings.yaml").write_text(yaml.safe_dump(settings))
    return folder


def write_run(folder: Path, config: dict[str, Any], command: str) -> Path:
    """A run of train.py as it lies on disk."""
    torch.manual_seed(0)
    net = WaveletUNet(**ARGUMENTS)
    for parameter in net.parameters():
        parameter.data.add_(0.02 * torch.randn_like(parameter))
    checkpoint = folder / "checkpoints" / "last.ckpt"
    checkpoint.parent.mkdir(parents=True)
    described = {"class": "upscale.models.WaveletUNet", "arguments": ARGUMENTS, "bitrates": [64, 96]}
    state = {f"net.{name}": value for name, value in net.state_dict().items()}
    torch.save({"upscale_model": described, "state_dict": state}, checkpoint)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "result.json").write_text('{"steps": 1500, "seconds": 600.0}')
    (folder / "command.txt").write_text(f"{command}\n")
    return checkpoint


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    before = write_run(tmp_path / "filters", {"name": "filters"}, "python train.py experiment=released/filters")
    config = {"name": "mixer", "ckpt": None, "init": {"filter": {"coarse": str(before), "fine": str(before)}}}
    return write_run(tmp_path / "mixer", config, "python train.py experiment=released/mixer init.filter=...")


def test_a_published_bundle_restores_with_the_weights_of_its_checkpoint_in_float16(
    checkpoint: Path, results: Path, tmp_path: Path
) -> None:
    out = publish(str(checkpoint), [results], "fidelity", tmp_path / "released", bitrates=[64])
    trained, (released, description) = load_bundle(checkpoint)[0].state_dict(), load_bundle(out)
    for name, value in released.state_dict().items():
        assert torch.equal(value, trained[name].half().float()), name
    assert description.bitrates == (64,)
    wav = 0.1 * np.random.default_rng(0).standard_normal((2, 20_000)).astype(np.float32)
    assert np.abs(Restorer.load(out, device="cpu")(wav, 44_100) - wav).max() > 1e-3
    assert {path.name for path in out.iterdir()} == {"weights.safetensors", "model.yaml", "card.md"}


def test_a_card_has_the_mean_the_worst_song_and_the_share_that_got_worse(
    checkpoint: Path, results: Path, tmp_path: Path
) -> None:
    card = (publish(str(checkpoint), [results], "fidelity", tmp_path / "released") / "card.md").read_text()
    assert "| SI-SDR | 64 | 10.00 | 10.00 | 10.38 | +0.38 | -0.50 | 50 % |" in card
    assert "| band | 1 | SI-SDR | +1.25 (+1.25) |" in card
    assert "2 songs, stereo; whole; the bitrate was not given to the model" in card
    assert "python evaluate.py ckpt=fidelity data=recorded bitrate_known=false 'bitrates=[64,96]'" in card
    assert "{" not in card.split("## Data")[0]


def test_the_runs_behind_a_checkpoint_are_told_in_their_order(checkpoint: Path, results: Path, tmp_path: Path) -> None:
    out = publish(str(checkpoint), [results], "fidelity", tmp_path / "released")
    runs = load_bundle(out)[1].metrics["training"]["runs"]
    assert [run["name"] for run in runs] == ["filters", "mixer"]
    assert runs[0]["command"] == "python train.py experiment=released/filters"
    assert runs[1]["started_from"] == ["filters"] and (runs[1]["steps"], runs[1]["seconds"]) == (1500, 600)
    assert "`mixer`: 1,500 steps in 10 minutes." in (out / "card.md").read_text()


def test_a_bundle_published_again_keeps_its_weights_and_training(results: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    training = {"note": "Trained by hand."}
    save_bundle(tmp_path / "b", WaveletUNet(**ARGUMENTS), arguments=ARGUMENTS, bitrates=[96], dtype=torch.float16,
                metrics={"training": training})  # fmt: skip
    before = (tmp_path / "b" / "weights.safetensors").read_bytes()
    out = publish(str(tmp_path / "b"), [results, results], "perceptual", tmp_path / "b")
    assert (out / "weights.safetensors").read_bytes() == before
    description = load_bundle(out)[1]
    assert description.bitrates == (96,) and description.metrics["training"] == training
    assert len(description.metrics["results"]) == 2 and set(description.metrics["composed"]) == {64, 96}
    assert "Trained by hand." in (out / "card.md").read_text()


@pytest.mark.parametrize(("name", "message"), [("unheard", "there is no card unheard .* fidelity, perceptual")])
def test_a_card_without_a_template_is_refused(results: Path, tmp_path: Path, name: str, message: str) -> None:
    save_bundle(tmp_path / "b", WaveletUNet(**ARGUMENTS), arguments=ARGUMENTS)
    with pytest.raises(UserError, match=message):
        publish(str(tmp_path / "b"), [results], name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_results_without_settings_are_refused(results: Path, tmp_path: Path) -> None:
    (results / "settings.yaml").unlink()
    with pytest.raises(UserError, match=r"settings.yaml is not a settings.yaml of evaluate.py .*measure again"):
        publish("fidelity", [results], "fidelity", tmp_path / "out")


def test_a_command_is_one_that_hydra_reads() -> None:
    assert command(OPTIONS, "fidelity").split(" ", 3)[2:] == [
        "ckpt=fidelity",
        "data=recorded bitrate_known=false 'bitrates=[64,96]' 'metrics=[si_sdr,lsd]' visqol_seconds=8 "
        "'visqol_bitrates=[64]'",
    ]
