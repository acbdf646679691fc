"""Every mistake on train.py's command line is one line on stderr that says what to type, and exit status 1."""

import runpy
import sys
from pathlib import Path

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

import upscale.models

TRAIN = Path(__file__).parents[1] / "train.py"


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Run train.py with arguments in an empty folder; returns the exit status and what it wrote to stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str]:
        GlobalHydra.instance().clear()
        monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
        monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
        try:
            runpy.run_path(str(TRAIN), run_name="__main__")
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        return status, capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["experiment=debug", "data.root=nowhere"], ["nowhere", "scripts/prepare_shards.py"]),
        (["codec.bitrates=[100]"], ["100", "128"]),
        (["trainer.max_epoch=3"], ["'trainer.max_epoch'", "did you mean trainer.max_epochs=3?"]),
        (["lr=3"], ["'lr'", "did you mean optimizer.lr=3?"]),
        (["modell=original"], ["'modell'", "did you mean model=original?"]),
        (["model=wavelet_net"], ["model=wavelet_net", "did you mean wavelet_unet?", "spectral_gain"]),
        (["experiment=retrain"], ["ckpt=PATH"]),
        (["ckpt=nowhere.ckpt"], ["nowhere.ckpt", "train one first"]),
        (["resume=nowhere"], ["nowhere", "last.ckpt"]),
        (["data.root=a(b"], ["'data.root=a(b'", """'data.root="a(b"'"""]),
        (["data.channels=2"], ["channels"]),
        (["model.num_layrs=2"], ["model.num_layers=2"]),
        (["+model.depth=2"], ["model", "depth"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_mistake_is_one_line_and_exit_1(command_line, arguments: list[str], expected: list[str]) -> None:
    status, stderr = command_line("hydra.run.dir=.", "hydra.output_subdir=null", *arguments)
    assert status == 1
    lines = stderr.strip().splitlines()
    assert len(lines) == 1, stderr
    assert lines[0].startswith("error: ")
    for part in expected:
        assert part in lines[0]


def test_a_checkpoint_of_another_model_names_what_differs(command_line, tmp_path: Path) -> None:
    net = upscale.models.WaveletUNet(num_layers=1, num_filters=4, kernel_size=3)
    arguments = {"channels": 1, "num_layers": 1, "num_filters": 4, "kernel_size": 3, "wavelet": "db4"}
    state = {f"net.{name}": value for name, value in net.state_dict().items()}
    description = {"class": "upscale.models.WaveletUNet", "arguments": arguments}
    torch.save({"state_dict": state, "upscale_model": description}, tmp_path / "other.ckpt")
    same = [f"model.{name}={value}" for name, value in arguments.items() if name != "num_layers"]
    status, stderr = command_line(
        "experiment=retrain", "ckpt=other.ckpt", "hydra.run.dir=.", "model.num_layers=2", *same
    )
    assert status == 1
    assert stderr.startswith("error: other.ckpt holds another model")
    assert "model.num_layers=1" in stderr
    assert "kernel_size" not in stderr


def test_a_bug_keeps_its_traceback(command_line, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(config: object) -> None:
        raise KeyError("a bug of ours")

    monkeypatch.setattr("upscale.training.fit.fit", broken)
    with pytest.raises(KeyError, match="a bug of ours"):
        command_line("hydra.run.dir=.")
