"""The whole evaluation: what must be exact, what must be marked, what must be refused."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir

from upscale.audio import read, write
from upscale.codec import CodecSpec, roundtrip
from upscale.errors import UserError
from upscale.evaluation.scores import METRICS
from upscale.export import export_onnx
from upscale.metrics import sdr
from upscale.models import WaveletUNet
from upscale.restore import Restorer
from upscale.restore.bundle import save_bundle

CONFIG = Path(__file__).parents[2] / "conf" / "evaluate"
Run = Callable[..., Any]
RATE = 44_100
BEST = {"si_sdr": 200, "sdr": 200, "error_below": -200, "error_above": -200}


def without_system(rows: list[Any]) -> list[Any]:
    return [replace(row, system="", model="") for row in rows]


def figures(rows: list[Any]) -> dict[Any, tuple[float, ...]]:
    return {(r.clip, r.bitrate, r.metric): (r.do_nothing, r.level, r.restored, r.improvement) for r in rows}


def test_doing_nothing(run: Run, songs: Path):
    result = run(system="identity", data=str(songs))
    assert len(result.rows) == 3 * 2 * 7, "a row per song, bitrate and metric"
    assert {row.song for row in result.rows} == {"one", "album/two", "album/three (live) [x=1]"}
    assert all(row.restored == row.do_nothing and row.improvement == 0 for row in result.rows)
    assert all(line["share_better"] == 0 and line["verdict"] == "" for line in result.table["table"])


def test_rows_hold_what_the_metrics_say(run: Run, songs: Path):
    rows = run(system="identity", data=str(songs), metrics="sdr", bitrates=64).rows
    clean, _ = read(songs / "one.wav")
    degraded = roundtrip(clean, CodecSpec(bitrate=64), RATE)
    (row,) = [row for row in rows if row.song == "one"]
    assert row.do_nothing == sdr(clean, degraded)
    assert 9_000 < row.cutoff_hz < 13_000
    assert 0.2 < row.level_gain_db < 1, "LAME scales down by 0.45 dB"
    assert row.level > row.do_nothing


def test_level_gain_is_the_best_one_for_the_whole_test_set(run: Run, songs: Path):
    rows = run(system="identity", data=str(songs), metrics="sdr", bitrates=128).rows
    gain = 10 ** (rows[0].level_gain_db / 20)
    assert len({row.level_gain_db for row in rows}) == 1
    pairs = []
    for row in rows:
        clean, _ = row.source.load()
        pairs.append((clean, roundtrip(clean, row.spec, RATE)))
    errors = [sum(float(((c - g * gain * d) ** 2).sum()) for c, d in pairs) for g in (0.99, 1.0, 1.01)]
    assert errors[1] < errors[0] and errors[1] < errors[2]


def test_degraded_folder_is_exactly_doing_nothing(run: Run, songs: Path, tmp_path: Path):
    nothing = run(system="identity", data=str(songs), write_degraded=str(tmp_path / "degraded"))
    folder = run(system="folder", root=str(tmp_path / "degraded"), data=str(songs))
    assert without_system(folder.rows) == without_system(nothing.rows)
    assert folder.table["table"] == nothing.table["table"]


def test_clean_folder_has_the_best_values(run: Run, songs: Path):
    result = run(system="folder", root=str(songs), data=str(songs))
    assert all(row.restored == BEST.get(row.metric, 0) for row in result.rows)
    assert all(line["share_better"] == 1 for line in result.table["table"])


def test_excerpts_of_whole_files(run: Run, songs: Path):
    """Outputs as long as the song are cut like the song."""
    result = run(system="folder", root=str(songs), data=str(songs), excerpt_seconds=0.25)
    assert all(row.restored == BEST.get(row.metric, 0) for row in result.rows)
    assert {(row.start, row.num_samples) for row in result.rows} == {((RATE - 11_025) // 2, 11_025)}


PLAIN = {"system": "identity", "metrics": ["si_sdr", "lsd"], "bitrates": [64]}


def test_repeats(run: Run, songs: Path):
    first, again = (run(**PLAIN, data=str(songs)) for _ in range(2))
    assert first.rows == again.rows and first.table == again.table


@pytest.mark.slow
def test_processes_change_nothing(run: Run, songs: Path):
    single, parallel = (run(**PLAIN, data=str(songs), jobs=jobs) for jobs in (1, 2))
    assert [row.clip for row in parallel.rows] == [row.clip for row in single.rows]
    for key, values in figures(parallel.rows).items():
        assert values == pytest.approx(figures(single.rows)[key], abs=1e-6)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    arguments = {"channels": 2, "num_layers": 1, "num_filters": 4, "kernel_size": 3, "wavelet": "db2"}
    return save_bundle(tmp_path / "bundle", WaveletUNet(**arguments), arguments=arguments)


def test_a_bundle(run: Run, songs: Path, bundle: Path):
    """An untrained residual network returns its input: nothing gained, nothing lost."""
    result = run(ckpt=str(bundle), data=str(songs), metrics=["sdr"])
    assert result.table["model"] == str(bundle)
    assert all(abs(row.improvement) < 1e-3 for row in result.rows)


@pytest.mark.slow
def test_a_checkpoint_and_an_exported_model_have_the_bundles_figures(run: Run, songs: Path, tmp_path: Path):
    """One network in its three forms on disk; it changes its input, so that equal figures mean something."""
    torch.manual_seed(0)
    arguments = {"channels": 2, "num_layers": 1, "num_filters": 4, "kernel_size": 3, "wavelet": "db2"}
    net = WaveletUNet(**arguments).eval()
    for parameter in net.parameters():
        parameter.data.add_(0.02 * torch.randn_like(parameter))
    forms = {"bundle": save_bundle(tmp_path / "bundle", net, arguments=arguments)}
    state = {f"net.{name}": value for name, value in net.state_dict().items()}
    described = {"class": "upscale.models.WaveletUNet", "arguments": arguments}
    forms["checkpoint"] = tmp_path / "best.ckpt"
    torch.save({"upscale_model": described, "state_dict": state}, forms["checkpoint"])
    forms["onnx"] = export_onnx(Restorer.load(forms["bundle"], device="cpu"), tmp_path / "net.onnx")
    rows = {
        name: figures(run(ckpt=str(path), data=str(songs), metrics=["si_sdr", "lsd"], bitrates=[64]).rows)
        for name, path in forms.items()
    }
    assert all(abs(values[3]) > 1e-3 for values in rows["bundle"].values())
    assert rows["checkpoint"] == rows["bundle"]
    for key, values in rows["onnx"].items():
        assert values == pytest.approx(rows["bundle"][key], abs=1e-3)


@pytest.mark.slow
def test_visqol_of_several_songs(run: Run, songs: Path):
    pytest.importorskip("visqol")
    folder = run(system="folder", root=str(songs), data=str(songs), metrics=["visqol"], bitrates=[32, 128], max_songs=2)
    assert len(folder.rows) == 4 and all(row.restored > 4.7 for row in folder.rows)
    for low, high in zip(folder.rows[::2], folder.rows[1::2], strict=True):
        assert (low.song, low.bitrate, high.bitrate) == (high.song, 32, 128)
        assert 1 <= low.do_nothing < high.do_nothing <= low.restored
    assert all(line["verdict"] == "" and line["share_better"] == 1 for line in folder.table["table"])


def test_a_regression_is_marked(run: Run, songs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for path in songs.rglob("*.wav"):
        target = tmp_path / "louder" / path.relative_to(songs)
        target.parent.mkdir(parents=True, exist_ok=True)
        write(target, 3 * read(path)[0], RATE, subtype="FLOAT")
    result = run(system="folder", root=str(tmp_path / "louder"), data=str(songs), metrics=["sdr", "si_sdr"])
    verdicts = {(line["metric"], line["verdict"]) for line in result.table["table"]}
    assert verdicts == {("sdr", "worse than nothing"), ("si_sdr", "")}
    for text in (capsys.readouterr().out, (result.folder / "report.md").read_text()):
        assert text.count("▼ worse than nothing") == 2 and "2 of 4 lines are worse than doing nothing" in text


def test_silence_is_left_out_and_said(run: Run, songs: Path, tmp_path: Path):
    data = tmp_path / "with_silence"
    for name, wav in {"music": read(songs / "one.wav")[0], "silence": np.zeros((2, RATE), np.float32)}.items():
        data.mkdir(exist_ok=True)
        write(data / f"{name}.wav", wav, RATE, subtype="FLOAT")
    result = run(system="folder", root=str(data), data=str(data), bitrates=[128])
    silent = {row.metric: row.restored for row in result.rows if row.song == "silence"}
    assert silent.pop("lsd") == 0 and all(math.isnan(value) for value in silent.values())
    lines = {line["metric"]: line for line in result.table["table"]}
    assert (lines["sdr"]["num_songs"], lines["sdr"]["num_undefined"]) == (1, 1)
    assert lines["lsd"]["num_songs"] == 2
    assert "Without a value in some metric (silent, or too short for it): silence." in result.table["notes"]


def test_clips_shorter_than_a_window(run: Run, tmp_path: Path, songs: Path):
    (tmp_path / "short").mkdir()
    write(tmp_path / "short" / "tiny.wav", read(songs / "one.wav", num_samples=500)[0], RATE)
    result = run(system="identity", data=str(tmp_path / "short"), bitrates=[128])
    assert len(result.rows) == len({row.metric for row in result.rows}) == 7
    assert all(math.isfinite(row.do_nothing) for row in result.rows if row.metric != "error_above")


def test_other_codecs(run: Run, songs: Path):
    result = run(system="identity", data=str(songs), codec=["mp3", "opus"], bitrates=[64], metrics=["sdr"], max_songs=1)
    assert [(row.codec, row.bitrate, row.song) for row in result.rows] == [
        ("mp3", 64, "album/three (live) [x=1]"),
        ("opus", 64, "album/three (live) [x=1]"),
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data": "nowhere"}, "data=nowhere is no folder"),
        ({"metrics": ["sdr", "pesq"]}, "pesq.*choose from si_sdr"),
        ({"metrics": []}, "choose from"),
        ({"bitrates": [24]}, "24 kbit/s"),
        ({"bitrates": []}, "name one each"),
        ({"system": "folder"}, "root=FOLDER"),
        ({"system": "magic"}, "use model, folder or identity"),
        ({"system": "folder", "root": "nowhere"}, "root=nowhere is not a folder"),
        ({"jobs": 0}, "jobs=0"),
        ({"visqol_bitrates": [96]}, r"visqol_bitrates=\[96\] must be among bitrates=\[64, 128\]"),
        ({"visqol_seconds": 0.5}, "visqol_seconds=0.5: ViSQOL needs 1 s at least"),
        ({"redraw": "nowhere.csv"}, "nowhere.csv"),
    ],
)
def test_mistakes(run: Run, songs: Path, settings: dict[str, Any], message: str):
    with pytest.raises(UserError, match=message):
        run(**{"system": "identity", "data": str(songs), **settings})


def test_a_mono_song_is_measured_as_mono(run: Run, songs: Path, tmp_path: Path, bundle: Path):
    """Also by a model with two channels, which hears it on both."""
    (tmp_path / "mono").mkdir()
    clean = read(songs / "one.wav")[0][:1]
    write(tmp_path / "mono" / "one.wav", clean, RATE, subtype="FLOAT")
    (row,) = run(ckpt=str(bundle), data=str(tmp_path / "mono"), metrics=["sdr"], bitrates=[64]).rows
    assert (row.channels, row.output_channels) == (1, 1)
    assert row.do_nothing == sdr(clean, roundtrip(clean, CodecSpec(bitrate=64), RATE))


def test_the_model_is_given_the_bitrate_where_it_is_known(run: Run, songs: Path, monkeypatch: pytest.MonkeyPatch):
    given = []

    def restorer(wav: np.ndarray, sample_rate: int, bitrate: float | None) -> np.ndarray:
        given.append(bitrate)
        return wav

    monkeypatch.setattr(Restorer, "load", lambda *_, **__: restorer)
    for known in (True, False):
        result = run(data=str(songs), bitrates=[64], metrics=["sdr"], max_songs=1, bitrate_known=known)
        assert result.rows[0].bitrate_known == result.table["bitrate_known"] == known
        assert ("The model was not given the bitrate." in result.table["notes"]) == (not known)
    assert given == [64, None]


def test_visqol_hears_an_excerpt_at_chosen_bitrates(run: Run, songs: Path, monkeypatch: pytest.MonkeyPatch):
    heard = []
    monkeypatch.setattr("upscale.metrics.visqol", lambda x, y, rate: heard.append((x, y)) or 4.0)
    scope = {"visqol_seconds": 1.0, "visqol_bitrates": [128]}
    rows = run(system="identity", data=str(longer(songs)), metrics=["sdr", "visqol"], max_songs=1, **scope).rows
    assert [(row.bitrate, row.metric) for row in rows] == [(64, "sdr"), (128, "sdr"), (128, "visqol")]
    clean, _ = rows[0].source.load()
    middle = clean[:, (clean.shape[1] - RATE) // 2 :][:, :RATE]
    assert all(x.shape == y.shape and np.array_equal(x, middle) for x, y in heard)


def longer(songs: Path) -> Path:
    folder = songs.parent / "longer"
    folder.mkdir(exist_ok=True)
    write(folder / "one.wav", np.tile(read(songs / "one.wav")[0], 2), RATE, subtype="FLOAT")
    return folder


def test_settings_lie_beside_the_results(run: Run, songs: Path):
    result = run(system="identity", data=str(songs), metrics=["sdr"], excerpt_seconds=0.5, max_songs=1)
    settings = yaml.safe_load((result.folder / "settings.yaml").read_text())
    assert settings["options"]["excerpt_seconds"] == 0.5 and settings["options"]["bitrate_known"] is True
    assert settings["seconds"] > 0 and settings["machine"]["threads"] >= 1
    assert {"upscalemp3", "torch", "av"} <= settings["versions"].keys()
    assert "output" not in settings["options"]


def test_kinds_of_music_have_means_of_their_own(run: Run, songs: Path, tmp_path: Path):
    data = tmp_path / "kinds"
    for path in songs.rglob("*.wav"):
        target = data / path.relative_to(songs)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    (data / "TRACKS.tsv").write_text("file\tkind\tnote\none.wav\tsolo\t\nalbum/two.wav\tband\tx\n")
    result = run(system="identity", data=str(data), metrics=["sdr"], bitrates=[64])
    assert {row.song: row.kind for row in result.rows} == {
        "one": "solo",
        "album/two": "band",
        "album/three (live) [x=1]": "",
    }
    assert list(result.table["kinds"]) == ["band", "solo"]
    one = next(row for row in result.rows if row.song == "one")
    assert result.table["kinds"]["solo"][0]["do_nothing"] == one.do_nothing
    assert "## solo: 1 songs" in (result.folder / "report.md").read_text()


def test_options_with_the_name_of_a_config_group_are_plain_options():
    """`data=FOLDER` and `codec=[...]` on the command line, although conf/data and conf/codec exist."""
    with initialize_config_dir(str(CONFIG), version_base="1.3"):
        config = compose("evaluate", overrides=["data=some/songs", "codec=[mp3,opus]"])
    assert (config.data, list(config.codec)) == ("some/songs", ["mp3", "opus"])


def test_every_metric_says_what_is_better():
    higher, lower, zero = (METRICS[name].improvement for name in ("sdr", "lsd", "level_difference"))
    assert higher(12, 10) == lower(10, 12) == zero(-1, -3) == zero(1, -3) == 2
    assert zero(3, 1) == -2
