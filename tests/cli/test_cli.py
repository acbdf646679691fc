"""The command lines as people type them: `upscale restore`, `info`, `listen`."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from upscale import audio
from upscale.cli import main
from upscale.cli.view import View
from upscale.codec import CodecSpec, encode
from upscale.models import WaveletUNet
from upscale.restore import Restorer
from upscale.restore.batch import Outcome
from upscale.restore.bundle import save_bundle
from upscale.restore.library import Job

RATE = 44_100


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that gives back its input: an untrained network with a residual that starts at zero."""
    arguments = {"channels": 2, "num_layers": 2, "num_filters": 4, "kernel_size": 4}
    folder = tmp_path_factory.mktemp("models") / "tiny"
    return save_bundle(folder, WaveletUNet(**arguments), arguments=arguments, bitrates=[64, 128])


@pytest.fixture(scope="module")
def mp3() -> bytes:
    time_axis = np.arange(RATE) / RATE
    noise = np.random.default_rng(0).standard_normal((2, RATE)) * np.exp(-8 * (time_axis % 0.25))
    wav = 0.2 * np.sin(2 * np.pi * 440 * time_axis) + 0.08 * noise
    return encode(wav.astype(np.float32), CodecSpec(bitrate=128))


def test_restore_writes_the_file_its_picture_and_the_report(model, mp3, tmp_path, capsys):
    song = tmp_path / 'Song (live), Pt. 1 = [best]; it\'s "new" €.mp3'
    song.write_bytes(mp3)
    assert main(["restore", str(song), "--model", str(model), "--pictures", "--report", str(tmp_path / "r.json")]) == 0
    target = song.with_suffix(".restored.flac")
    decoded, _ = audio.read(song)
    restored, rate = audio.read(target)
    assert rate == RATE and restored.shape == decoded.shape
    np.testing.assert_allclose(restored, decoded, atol=1e-5)
    assert (tmp_path / f"{target.stem}.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "r.json").read_text())["files"][0]["status"] == "restored"
    assert "1 restored, 0 skipped, 0 failed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flag", "lines"),
    [
        ("--restore-level", []),
        ("--match-level", ["--match-level is deprecated: use --restore-level, which does the same"]),
    ],
)
def test_restore_level_flag_and_its_deprecated_name(flag, lines, model, mp3, tmp_path, capsys, monkeypatch):
    (tmp_path / "a.mp3").write_bytes(mp3)
    used = []
    monkeypatch.setattr("upscale.restore.batch.restore_file", lambda *_, **__: used.append(_[3]) or 1 / 0)
    assert main(["restore", str(tmp_path / "a.mp3"), flag, "--model", str(model)]) == 1
    assert [options.restore_level for options in used] == [True]
    assert capsys.readouterr().err.splitlines() == lines


def test_restore_a_list_from_stdin(model, mp3, tmp_path, capsys, monkeypatch):
    (tmp_path / "a.mp3").write_bytes(mp3)
    (tmp_path / "b.mp3").write_bytes(b"junk" * 500)
    names = f"{tmp_path}/a.mp3\n{tmp_path}/b.mp3\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(names.encode())))
    out = tmp_path / "out"
    status = main(["restore", "--list", "-", "--out", str(out), "--model", str(model)])
    assert status == 1 and [path.name for path in out.iterdir()] == ["a.flac"]
    assert "failed: " + f"{tmp_path}/b.mp3: cannot be read" in capsys.readouterr().out


def test_restore_a_list_from_a_file(model, mp3, tmp_path):
    (tmp_path / "Ünïcode = [1], a.mp3").write_bytes(mp3)
    (tmp_path / "songs.txt").write_text(f"{tmp_path}/Ünïcode = [1], a.mp3\n", encoding="utf-8")
    out = tmp_path / "out"
    status = main(["restore", "--list", str(tmp_path / "songs.txt"), "--out", str(out), "--model", str(model)])
    assert status == 0 and [path.name for path in out.iterdir()] == ["Ünïcode = [1], a.flac"]


def test_file_names_that_are_not_text_are_restored(model, mp3, tmp_path, capsys):
    song = os.fsencode(tmp_path) + b"/caf\xe9.mp3"
    with open(song, "wb") as file:
        file.write(mp3)
    assert main(["restore", str(tmp_path), "--model", str(model), "--report", str(tmp_path / "r.json")]) == 0
    assert os.path.exists(os.fsencode(tmp_path) + b"/caf\xe9.restored.flac")
    assert main(["info", os.fsdecode(song), "--model", str(model)]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["restore"], "which files?"),
        (["restore", "nowhere.mp3"], "nowhere.mp3: no such file"),
        (["restore", ".", "--list", "nowhere.txt"], "nowhere.txt: No such file"),
        (["info", "nowhere.mp3", "--model", "nobody"], "no model at nobody"),
        (["play"], "no command 'play'"),
    ],
)
def test_a_usage_mistake_is_one_line(arguments, message, capsys):
    assert main(arguments) != 0
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1


@pytest.mark.parametrize("option", [["--mix", "1.5"], ["--jobs", "0"], ["--format", "mp3"], ["--ceiling", "loud"]])
def test_an_option_out_of_range_is_refused(option, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["restore", "x.mp3", *option])
    assert stopped.value.code == 2 and option[0] in capsys.readouterr().err


def test_info_describes_files_as_text_and_json(model, mp3, tmp_path, capsys):
    (tmp_path / "a.mp3").write_bytes(mp3)
    assert main(["info", str(tmp_path / "a.mp3"), "--model", str(model)]) == 0
    text = capsys.readouterr().out
    assert "128 kbit/s CBR" in text and "cut-off    16." in text and "for 128 kbit/s" in text
    (tmp_path / "b.mp3").write_bytes(b"junk")
    assert main(["info", str(tmp_path), "--model", str(model), "--json"]) == 1
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["codec"], found["bitrate"], found["already_good"]) == ("mp3", 128.0, None)


def test_listen_measures_where_there_is_no_sound_card(model, mp3, tmp_path, capsys):
    (tmp_path / "a.mp3").write_bytes(mp3)
    assert main(["listen", str(tmp_path / "a.mp3"), "--model", str(model), "--benchmark", "--seconds", "0.5"]) == 0
    assert "latency" in (text := capsys.readouterr().out) and "0.5 s of sound at" in text


def test_listen_plays_the_restored_sound(model, mp3, tmp_path, monkeypatch, capsys):
    """A sound card that keeps what it is given."""
    played = []

    class Card:
        def __init__(self, **settings: object) -> None:
            assert settings == {"samplerate": RATE, "channels": 2, "dtype": "float32"}

        def __enter__(self) -> "Card":
            return self

        def __exit__(self, *_: object) -> None: ...

        def write(self, block: np.ndarray) -> None:
            assert block.flags.c_contiguous and block.dtype == np.float32
            played.append(block)

    monkeypatch.setitem(sys.modules, "sounddevice", SimpleNamespace(OutputStream=Card))
    (tmp_path / "a.mp3").write_bytes(mp3)
    assert main(["listen", str(tmp_path / "a.mp3"), "--model", str(model)]) == 0
    wav, _ = audio.read(tmp_path / "a.mp3")
    expected = Restorer.load(model, device="cpu")(wav, RATE, bitrate=128)
    np.testing.assert_allclose(np.concatenate(played).T, expected, atol=1e-5)
    assert "latency" in capsys.readouterr().out


def test_view_shows_a_bar_for_each_file_and_one_for_all(tmp_path):
    """What is drawn while two files are at work: names, shares done and the time left; then a line for each."""
    console = Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)
    jobs = [Job(tmp_path / name, tmp_path / f"{name}.flac", "PCM_24") for name in ("one [x].mp3", "two.mp3")]
    with View(len(jobs), console) as view:
        for job in jobs:
            view.started(job, seconds=10.0)
        view.advanced(jobs[0], 5.0)
        view.advanced(jobs[1], 2.5)
        view._progress._bars.refresh()
        drawn = console.file.getvalue()
        view.finished(Outcome(jobs[1], "failed", "broken"))
    assert all(
        text in drawn for text in ("all 2 files", "one [x].mp3", "two.mp3", " 50 %", " 25 %", " 38 %", "-:--:--")
    )
    assert f"failed: {jobs[1].source}: broken" in console.file.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_no_half_file_and_goes_on(model, tmp_path, number):
    """Ctrl-C in the middle of the first file; then the same command finishes."""
    slow = {"channels": 2, "num_layers": 4, "num_filters": 16}
    save_bundle(tmp_path / "slow", WaveletUNet(**slow), arguments=slow, bitrates=[320])
    music = 0.1 * np.random.default_rng(0).standard_normal((2, 20 * RATE)).astype(np.float32)
    (tmp_path / "m").mkdir()
    for name in "ab":
        audio.write(tmp_path / f"m/{name}.flac", music, RATE, "PCM_16")
    out = tmp_path / "out"
    options = ["restore", str(tmp_path / "m"), "--out", str(out), "--force"]
    command = [sys.executable, "-m", "upscale.cli", *options, "--model", str(tmp_path / "slow")]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A test run in the background ignores Ctrl-C, and its children would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while not out.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)
    process.send_signal(number)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 130 and error.strip() == "interrupted"
    assert list(out.iterdir()) == []
    assert main([*options, "--model", str(model)]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["a.flac", "b.flac"]
