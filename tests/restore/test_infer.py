"""`python infer.py`: one file, any model, hard file names, and one line for each mistake."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from upscale import audio
from upscale.codec import CodecSpec, encode
from upscale.errors import UserError
from upscale.models import WaveletUNet
from upscale.restore import Restorer
from upscale.restore.bundle import save_bundle
from upscale.restore.infer import infer

ROOT = Path(__file__).parents[2]
RATE = 44_100
ARGUMENTS = {"channels": 1, "num_layers": 2, "num_filters": 4, "kernel_size": 4}


@pytest.fixture(scope="module")
def mp3() -> bytes:
    time_axis = np.arange(RATE) / RATE
    noise = np.random.default_rng(0).standard_normal((2, RATE)) * np.exp(-8 * (time_axis % 0.25))
    wav = 0.2 * np.sin(2 * np.pi * 440 * time_axis) + 0.08 * noise
    return encode(wav.astype(np.float32), CodecSpec(bitrate=128))


def _run(*arguments: object, **options: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **{"cwd": ROOT, **options})


def test_infer_restores_from_a_checkpoint_with_a_hard_name(mp3, tmp_path):
    state = {f"net.{name}": value for name, value in WaveletUNet(**ARGUMENTS).state_dict().items()}
    described = {"class": "upscale.models.WaveletUNet", "arguments": ARGUMENTS}
    torch.save({"upscale_model": described, "state_dict": state}, tmp_path / "best.ckpt")
    song = tmp_path / "Song (live), Pt. 1 = [best].mp3"
    song.write_bytes(mp3)
    done = _run("infer.py", f"ckpt={tmp_path}/best.ckpt", f'input="{song}"', f"output={tmp_path}/restored.wav")
    assert done.returncode == 0, done.stderr
    assert audio.probe(tmp_path / "restored.wav").num_samples == RATE
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".ckpt", ".mp3", ".wav"]


def test_infer_takes_the_shipped_model_and_says_where_checkpoints_are(mp3, tmp_path):
    """No checkpoint and no output named: what `upscale restore` would write, and one line about other models."""
    (tmp_path / "outputs/run/checkpoints").mkdir(parents=True)
    (tmp_path / "outputs/run/checkpoints/best.ckpt").touch()
    (tmp_path / "song.mp3").write_bytes(mp3)
    done = _run(ROOT / "infer.py", "input=song.mp3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    line = done.stderr.splitlines()[0]
    assert "no ckpt=PATH named: using fidelity" in line and "outputs/run/checkpoints/best.ckpt" in line
    assert done.stdout.startswith("song.restored.flac: 1.00 s")
    expected = Restorer.load("fidelity")(audio.read(tmp_path / "song.mp3")[0], RATE, bitrate=128)
    restored, _ = audio.read(tmp_path / "song.restored.flac")
    gain = np.sqrt(np.square(restored).sum() / np.square(expected).sum())
    np.testing.assert_allclose(restored, gain * expected, atol=1e-5)
    assert np.abs(restored - audio.read(tmp_path / "song.mp3")[0]).max() > 1e-3


@pytest.mark.parametrize(("name", "lines"), [("restore_level", 0), ("match_level", 1)])
def test_infer_takes_restore_level_and_its_deprecated_name(name, lines, mp3, tmp_path, capsys, monkeypatch):
    model = save_bundle(tmp_path / "tiny", WaveletUNet(**ARGUMENTS), arguments=ARGUMENTS)
    (tmp_path / "song.mp3").write_bytes(mp3)
    used = []
    monkeypatch.setattr("upscale.restore.infer.restore_file", lambda *_, **__: used.append(_[3]) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        infer(ckpt=str(model), input=str(tmp_path / "song.mp3"), output=None, **{name: True})
    assert [options.restore_level for options in used] == [True]
    assert capsys.readouterr().err.count("match_level is deprecated: use restore_level") == lines


@pytest.mark.parametrize(
    ("name", "message"), [(None, "add input=song.mp3"), ("nowhere.mp3", "nowhere.mp3: no such file")]
)
def test_infer_without_an_input_file_is_refused(name, message):
    with pytest.raises(UserError, match=message):
        infer(ckpt=None, input=name, output=None)
