"""Folders laid out like the real data sets, through the commands of the README, to a batch."""

import json
import logging
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hydra.core.global_hydra import GlobalHydra

from upscale.codec import CodecSampler, CodecSpec, encode
from upscale.corpus.demo import compose
from upscale.datamodule import ShardDataModule
from upscale.errors import UserError

SCRIPTS = Path(__file__).parents[2] / "scripts"
Script = Callable[..., int]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Script:
    """script(name, *arguments): run one of scripts/ in an empty folder; returns its exit status."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")

    def run(name: str, *arguments: str) -> int:
        GlobalHydra.instance().clear()
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        handlers = logging.root.handlers[:]  # Hydra sets up logging, which is the test runner's here
        try:
            runpy.run_path(str(SCRIPTS / name), run_name="__main__")
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else 1
        finally:
            logging.root.handlers[:] = handlers
        return 0

    return run


def song(path: Path, seed: int, rate: int = 44_100, subtype: str = "PCM_16", channels: int = 2) -> None:
    """1.2 s of a demo song."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, compose(seed, seconds=1.2 * rate / 44_100)[:channels].T, rate, subtype=subtype)


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The three data sets as people unpack them: parent folders, stems beside mixes, some songs in more than one."""
    top = tmp_path_factory.mktemp("data sets")
    musdb = top / "downloads" / "musdb18hq"
    for seed, name in enumerate(("train/Music Delta - Disco", "train/ANiMAL - Rockshow", "test/Zeno - Signs")):
        song(musdb / name / "mixture.wav", seed)
        for stem in ("vocals", "drums"):
            song(musdb / name / f"{stem}.wav", 90)
    medleydb = top / "MedleyDB"
    for seed, name in enumerate(("V1/MusicDelta_Disco", "V2/Nobody_Alone", "Audio/AlexanderRoss_GoodbyeBolero"), 10):
        folder = medleydb / name
        song(folder / f"{folder.name}_MIX.wav", seed)
        song(folder / f"{folder.name}_STEMS" / f"{folder.name}_STEM_01.wav", 91)
        song(folder / f"{folder.name}_RAW" / f"{folder.name}_RAW_01_01.wav", 92)
    music = top / "my music"
    song(music / "one.wav", 20, subtype="PCM_24")
    song(music / "Album (1999)" / "01 - Somebody - Sóng, the first.flac", 21)
    song(music / "Album (1999)" / "CD 2" / "live.aiff", 22, rate=48_000)
    song(music / "tapes" / "mono.wav", 23, rate=96_000, channels=1)
    song(music / "Zeno - Signs.wav", 24)  # a test song of MUSDB18, in a folder
    (music / "old.mp3").write_bytes(encode(compose(25, 1.0), CodecSpec()))
    (music / "broken.flac").write_bytes(b"fLaC" + bytes(200))
    return {"musdb18hq": top / "downloads", "medleydb": medleydb, "folder": music}


def test_from_three_data_sets_to_a_batch(
    script: Script, roots: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folders = [f"roots.{name}='{root}'" for name, root in roots.items()]
    cut = ["segment_seconds=1.0", "min_seconds=1.0", "workers=2"]
    status = script("prepare_shards.py", "sources=[musdb18hq,medleydb,folder]", *folders, "out=shards", *cut)
    printed = capfd.readouterr()
    assert status == 1, "a broken file shows in the exit status"
    assert "1 files could not be read" in printed.err and "folder: broken.flac" in printed.err
    assert "1 lossy files" in printed.out + printed.err

    split_of = {}
    for split in ("train", "val", "test"):
        manifest = json.loads((tmp_path / "shards" / split / "manifest.json").read_text())
        assert manifest["num_clips"] == sum(manifest["songs"].values())
        split_of |= dict.fromkeys(manifest["songs"], split)
    # 3 + 3 + 5 files are 9 songs: Disco and Signs are there twice.
    assert len(split_of) == 9
    assert split_of["zeno|signs"] == "test"
    assert split_of["animal|rockshow"] == split_of["alexanderross|goodbyebolero"] == "val"
    assert split_of["musicdelta|disco"] == "train"

    assert script("verify_shards.py", "shards", "--workers", "1") == 0
    assert "no fault found; a batch could be made" in capfd.readouterr().out

    data = ShardDataModule("shards", CodecSampler(), clip_seconds=0.5, batch_size=2, channels=2, num_workers=0)
    data.prepare_data()
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert batch.degraded.shape == batch.clean.shape == (2, 2, 22_050)
    data.setup("test")
    heard = {key.split("_")[0] for batch in data.test_dataloader() for key in batch.key}
    assert {"musdb18hq", "folder"} <= heard


@pytest.mark.parametrize("source", ["musdb18hq", "medleydb", "folder"])
def test_any_one_of_them(script: Script, roots: dict[str, Path], tmp_path: Path, source: str) -> None:
    cut = ["segment_seconds=1.0", "min_seconds=1.0", "workers=1", "channels=1"]
    status = script("prepare_shards.py", f"sources=[{source}]", f"roots.{source}='{roots[source]}'", "out=one", *cut)
    assert status == (source == "folder")
    summary = json.loads((tmp_path / "one" / "prepared.json").read_text())
    songs = {split: totals["songs"] for split, totals in summary["splits"].items()}
    if source == "musdb18hq":
        assert songs == {"train": 1, "val": 1, "test": 1}
    assert sum(songs.values()) == (5 if source == "folder" else 3)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["sources=[folder]"], "add roots.folder=DIR"),
        (["sources=[folder]", "roots.folder=nowhere"], "roots.folder=nowhere: no such folder"),
        (["sources=[musdb]"], "'musdb' is unknown"),
        (["surces=[demo]"], "did you mean sources=[demo]?"),
        (["channels=5"], "channels=5"),
        (["out=/dev/null/shards"], "cannot be made"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line(
    script: Script, capfd: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    assert script("prepare_shards.py", *arguments) == 1
    lines = [line for line in capfd.readouterr().err.splitlines() if line.strip()]
    assert len(lines) == 1 and lines[0].startswith("error: ") and expected in lines[0]


def test_a_manifest_of_somebody_else_is_one_line(tmp_path: Path) -> None:
    from upscale.shards import read_manifest

    (tmp_path / "manifest.json").write_text('{"split": "train", "shards": [], "songs": {}, "settings": {}}')
    with pytest.raises(UserError, match=r"manifest.json: is not a manifest of shards \('sample_rate'\)"):
        read_manifest(tmp_path)


def test_samples_survive_the_way(script: Script, roots: dict[str, Path], tmp_path: Path) -> None:
    """What training calls clean is the file's own samples."""
    folder = f"roots.musdb18hq='{roots['musdb18hq']}'"
    script("prepare_shards.py", "sources=[musdb18hq]", folder, "out=whole", "segment_seconds=1.2", "min_seconds=1.2")
    middle = {"clip_seconds": 1.0, "margin_seconds": 0.0}
    data = ShardDataModule("whole", CodecSampler(), batch_size=1, channels=2, num_workers=0, **middle)
    data.setup("validate")
    (batch,) = data.val_dataloader()
    source, _ = soundfile.read(
        roots["musdb18hq"] / "musdb18hq/train/ANiMAL - Rockshow/mixture.wav", dtype="float32", always_2d=True
    )
    start = (len(source) - 44_100) // 2
    np.testing.assert_array_equal(batch.clean[0].numpy(), source[start : start + 44_100].T)
