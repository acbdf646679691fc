"""A folder of somebody else's outputs: how files are found, and what happens to those of another shape."""

from pathlib import Path

import numpy as np
import pytest

from upscale.audio import resample, write
from upscale.codec import CodecSpec
from upscale.errors import UserError
from upscale.evaluation.systems import Folder, label
from upscale.evaluation.testset import Clip

RATE = 44_100
SPEC = CodecSpec(bitrate=64)


@pytest.fixture
def music() -> np.ndarray:
    time = np.arange(2 * RATE) / RATE
    return 0.3 * np.stack([np.sin(700 * time), np.sin(1100 * time)]).astype(np.float32)


@pytest.fixture
def clip(tmp_path: Path, music: np.ndarray) -> Clip:
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / "song.wav", music, RATE, subtype="FLOAT")
    return Clip("song", "song", tmp_path / "data" / "song.wav", start=0, num_samples=music.shape[1])


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    (tmp_path / "outputs" / "64").mkdir(parents=True)
    return tmp_path / "outputs"


def put(path: Path, wav: np.ndarray, sample_rate: int = RATE) -> None:
    write(path, wav, sample_rate, subtype="FLOAT")


@pytest.mark.parametrize("name", ["64/song.wav", "song_64.wav", "song.wav", "64/song.flac"])
def test_names(outputs: Path, clip: Clip, music: np.ndarray, name: str):
    write(outputs / name, music, RATE, subtype=None if name.endswith("flac") else "FLOAT")
    folder = Folder(str(outputs))
    folder.check([clip], [SPEC])
    assert np.allclose(folder(clip, music, RATE, SPEC).wav, music, atol=1e-6)


def test_a_bitrates_own_file_comes_before_one_for_all(outputs: Path, clip: Clip, music: np.ndarray):
    put(outputs / "song.wav", 0 * music)
    put(outputs / "song_64.wav", music)
    assert np.array_equal(Folder(str(outputs))(clip, music, RATE, SPEC).wav, music)


def test_missing_files_are_named_before_any_work(outputs: Path, clip: Clip, music: np.ndarray):
    put(outputs / "64" / "song.wav", music)
    with pytest.raises(UserError, match=r"1 of 2 outputs are missing.*128/song\.wav or .*song_128\.wav"):
        Folder(str(outputs)).check([clip], [SPEC, CodecSpec(bitrate=128)])


def test_two_files_for_one_song_are_refused(outputs: Path, clip: Clip, music: np.ndarray):
    put(outputs / "song_64.wav", music)
    write(outputs / "song_64.flac", music, RATE)
    with pytest.raises(UserError, match="remove one"):
        Folder(str(outputs))(clip, music, RATE, SPEC)


def test_lengths(outputs: Path, clip: Clip, music: np.ndarray):
    folder = Folder(str(outputs))
    put(outputs / "song.wav", np.pad(music, ((0, 0), (0, 100)), constant_values=1))
    longer = folder(clip, music, RATE, SPEC)
    assert longer.length_difference == 100 and np.array_equal(longer.wav, music)
    put(outputs / "song.wav", music[:, :-300])
    shorter = folder(clip, music, RATE, SPEC)
    assert shorter.length_difference == -300 and shorter.wav.shape == music.shape
    assert np.array_equal(shorter.wav[:, :-300], music[:, :-300]) and not shorter.wav[:, -300:].any()
    put(outputs / "song.wav", music[:, : RATE // 2])
    with pytest.raises(UserError, match=r"does not belong to song: 0\.50 s against 2\.00 s"):
        folder(clip, music, RATE, SPEC)


def test_channels(outputs: Path, clip: Clip, music: np.ndarray):
    put(outputs / "song.wav", music[:1])
    doubled = Folder(str(outputs))(clip, music, RATE, SPEC)
    assert doubled.channels == 1 and np.array_equal(doubled.wav, music[[0, 0]])
    put(outputs / "song.wav", music)
    mixed = Folder(str(outputs))(clip, music[:1], RATE, SPEC)
    assert mixed.channels == 2 and np.allclose(mixed.wav, music.mean(axis=0, keepdims=True))


def test_another_sample_rate(outputs: Path, clip: Clip, music: np.ndarray):
    put(outputs / "song.wav", resample(music, RATE, 48_000), 48_000)
    output = Folder(str(outputs))(clip, music, RATE, SPEC)
    assert output.wav.shape == music.shape
    middle = slice(1000, -1000)
    assert np.abs(output.wav - music)[:, middle].max() < 1e-3


def test_a_whole_song_is_cut_to_the_excerpt(outputs: Path, clip: Clip, music: np.ndarray):
    excerpt = Clip("song", "song", clip.path, start=RATE // 2, num_samples=RATE // 4)
    wanted = music[:, RATE // 2 : RATE // 2 + RATE // 4]
    for given in (music, wanted):
        put(outputs / "song.wav", given)
        output = Folder(str(outputs))(excerpt, wanted, RATE, SPEC)
        assert np.array_equal(output.wav, wanted) and output.length_difference == 0


def test_labels():
    assert label(CodecSpec(bitrate=128)) == "128"
    assert label(CodecSpec(bitrate=130, mode="vbr")) == "mp3_vbr_130"
    assert label(CodecSpec("opus", 64)) == "opus_64"
