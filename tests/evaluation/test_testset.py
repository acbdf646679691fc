"""Test sets: folders of songs, splits of shards, excerpts of both."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from upscale.audio import write
from upscale.errors import UserError
from upscale.evaluation.testset import load_test_set

RATE = 44_100


def wav_bytes(folder: Path, wav: np.ndarray) -> bytes:
    write(folder / "clip.wav", wav, RATE, subtype="PCM_16")
    return (folder / "clip.wav").read_bytes()


def write_shard(path: Path, clips: dict[str, tuple[str, bytes]]) -> None:
    """`{key: (song, WAV file)}` as a WebDataset shard."""
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w") as tar:
        for key, (song, data) in clips.items():
            for name, content in ((f"{key}.json", json.dumps({"song": song}).encode()), (f"{key}.wav", data)):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


@pytest.fixture
def shards(tmp_path: Path) -> tuple[Path, dict[str, np.ndarray]]:
    random = np.random.default_rng(0)
    wavs = {key: (np.round(random.normal(size=(2, 9_000)) * 3_000) / 32_768).astype("f4") for key in ("a1", "a2", "b")}
    clips = {key: (f"song {key[0]}", wav_bytes(tmp_path, wav)) for key, wav in wavs.items()}
    write_shard(tmp_path / "shards" / "val" / "shard-000000.tar", clips)
    return tmp_path / "shards", wavs


@pytest.mark.parametrize("inside", [False, True])
def test_shards(shards: tuple[Path, dict[str, np.ndarray]], inside: bool):
    root, wavs = shards
    clips = load_test_set(root / "val" if inside else root, split="val")
    assert [(clip.song, clip.name) for clip in clips] == [("song a", "a1"), ("song a", "a2"), ("song b", "b")]
    for clip in clips:
        wav, sample_rate = clip.load()
        assert sample_rate == RATE and np.abs(wav - wavs[clip.name]).max() <= 1.5 / 32_768
        assert clip.length() == (9_000, RATE)


def test_clips_of_a_shard_group_by_song(run: Callable[..., Any], shards: tuple[Path, dict[str, np.ndarray]]):
    result = run(data=str(shards[0]), split="val", system="identity", bitrates=[128], metrics=["sdr"])
    assert [row.clip for row in result.rows] == ["a1", "a2", "b"]
    assert (result.table["num_songs"], result.table["num_clips"]) == (2, 3)
    values = {row.clip: row.do_nothing for row in result.rows}
    expected = ((values["a1"] + values["a2"]) / 2 + values["b"]) / 2
    assert result.table["table"][0]["do_nothing"] == pytest.approx(expected)


def test_another_split_is_named(shards: tuple[Path, dict[str, np.ndarray]]):
    with pytest.raises(UserError, match=r"split=test; choose from val"):
        load_test_set(shards[0], split="test")


def test_excerpts_come_from_the_middle_and_short_songs_stay_whole(tmp_path: Path):
    ramp = np.linspace(-0.5, 0.5, RATE, dtype=np.float32)[None]
    write(tmp_path / "long.wav", ramp, RATE, subtype="FLOAT")
    write(tmp_path / "short.wav", ramp[:, :4_000], RATE, subtype="FLOAT")
    long, short = load_test_set(tmp_path, excerpt_seconds=0.5)
    assert np.array_equal(long.load()[0], ramp[:, 11_025:33_075])
    assert np.array_equal(short.load()[0], ramp[:, :4_000])
    assert [clip.song for clip in load_test_set(tmp_path, max_songs=1)] == ["long"]


def test_sample_rates_that_no_codec_knows_are_resampled(tmp_path: Path):
    write(tmp_path / "high.wav", np.zeros((2, 9_600), np.float32), 96_000, subtype="FLOAT")
    write(tmp_path / "usual.wav", np.zeros((2, 4_800), np.float32), 48_000, subtype="FLOAT")
    (high, high_rate), (usual, usual_rate) = (clip.load() for clip in load_test_set(tmp_path))
    assert (high_rate, high.shape) == (44_100, (2, 4_410))
    assert (usual_rate, usual.shape) == (48_000, (2, 4_800))


def test_what_is_no_test_set(tmp_path: Path):
    with pytest.raises(UserError, match="no lossless audio"):
        load_test_set(tmp_path)
    write(tmp_path / "song.wav", np.zeros((2, 100), np.float32), RATE)
    write(tmp_path / "song.flac", np.zeros((2, 100), np.float32), RATE)
    with pytest.raises(UserError, match="have one name"):
        load_test_set(tmp_path)
