"""Songs become pairs: aligned, unclipped, split by song, resumed song by song, and `data=pairs` opens them."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from scripts.make_pairs import make_pairs
from upscale import audio
from upscale.codec import CodecSpec, roundtrip
from upscale.corpus.demo import compose
from upscale.datamodule import PairDataModule
from upscale.errors import UserError

VARIANTS = {"v5": {"bitrate": 130, "mode": "vbr"}, "s128": {"bitrate": 128, "stereo": "plain"}}


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("music")
    (folder / "album").mkdir()
    for number in range(4):
        name = f"album/{number}.flac" if number % 2 else f"{number}.wav"
        wav = compose(number, seconds=1.0)
        audio.write(folder / name, wav / np.abs(wav).max(), 44_100, subtype="PCM_16")  # MP3 will overshoot
    return folder


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.wav"))


def test_every_song_is_encoded_whole_at_one_gain_for_all_sides(music: Path, tmp_path: Path) -> None:
    assert make_pairs(str(music), str(tmp_path), bitrates=[64, 128], workers=1) == []
    assert len(files(tmp_path)) == 4 * 3
    assert len(list(tmp_path.glob("val/clean/**/*.wav"))) == 1
    source, _ = audio.read(music / "0.wav")
    (path,) = tmp_path.glob("*/clean/0.wav")
    clean, _ = audio.read(path)
    gain = np.vdot(clean, source) / np.vdot(source, source)
    np.testing.assert_allclose(clean, gain * source, atol=1e-4)
    for bitrate in (64, 128):
        degraded, _ = audio.read(path.parents[1] / "degraded" / str(bitrate) / "0.wav")
        assert np.abs(degraded).max() <= 1
        np.testing.assert_allclose(degraded, gain * roundtrip(source, CodecSpec(bitrate=bitrate)), atol=1e-4)


def test_further_versions_are_drawn_from_the_name_and_named_in_a_table(music: Path, tmp_path: Path) -> None:
    for run in ("one", "two"):
        make_pairs(str(music), str(tmp_path / run), [64], num_drawn=1, variants=VARIANTS, workers=1, val_share=0.3)
    assert files(tmp_path / "one") == files(tmp_path / "two")
    drawn = {path.split("/")[2] for path in files(tmp_path / "one") if "/degraded/" in path} - {"64"}
    assert drawn <= {"v5", "s128"} and len(files(tmp_path / "one")) == 4 * 3
    assert yaml.safe_load((tmp_path / "one/pairs.yaml").read_text()) == {"64": 64, "s128": 128, "v5": 130}
    data = PairDataModule(str(tmp_path / "one"), clip_seconds=0.2, batch_size=2, num_workers=0, channels=2)
    data.prepare_data()
    data.setup("fit")
    bitrates = {version.bitrate for versions in data.clips["train"].source.versions for version in versions}
    assert 64 in bitrates and bitrates <= {64, 128, 130}
    next(iter(data.train_dataloader()))


def test_a_song_that_is_done_is_kept_and_an_unfinished_one_made_again(music: Path, tmp_path: Path) -> None:
    make_pairs(str(music), str(tmp_path), [64], workers=1)
    before = {path: (tmp_path / path).stat().st_mtime_ns for path in files(tmp_path)}
    (done,) = tmp_path.glob("*/clean/album/1.wav")
    done.unlink()
    make_pairs(str(music), str(tmp_path), [64], workers=1, val_share=0.9)
    after = {path: (tmp_path / path).stat().st_mtime_ns for path in files(tmp_path)}
    changed = {path for path in after if before.get(path) != after[path]}
    assert {path.rsplit("/", 1)[1] for path in changed} == {"1.wav"}
    with pytest.raises(UserError, match="was made with other settings"):
        make_pairs(str(music), str(tmp_path), [96], workers=1)


def test_some_songs_are_mixed_down(music: Path, tmp_path: Path) -> None:
    make_pairs(str(music), str(tmp_path), [64], mono_share=1.0, val_share=0.0, workers=1)
    clean, _ = audio.read(tmp_path / "train/clean/0.wav")
    assert clean.shape[0] == 2 and np.abs(clean[0] - clean[1]).max() < 1e-4  # dither
    assert not (tmp_path / "val").exists()


def test_wrong_settings_of_make_pairs_are_explained(music: Path, tmp_path: Path) -> None:
    for arguments, message in [
        ({"music": None}, "which music"),
        ({"music": str(tmp_path)}, "holds no WAV"),
        ({"bitrates": []}, "asks for no version"),
        ({"bitrates": [65]}, "mp3 has no bitrate 65"),
        ({"num_drawn": 1}, "num_drawn=1 is more than the 0 variants"),
        ({"variants": {"x": {"bit": 3}}}, "variants.x"),
        ({"file_format": "mp3"}, "file_format=mp3"),
    ]:
        with pytest.raises(UserError, match=message):
            make_pairs(**({"music": str(music), "out": str(tmp_path / "out"), "workers": 1} | arguments))


def test_a_broken_song_is_named_and_the_rest_made(music: Path, tmp_path: Path) -> None:
    for name, data in (("good.wav", (music / "0.wav").read_bytes()), ("bad.wav", b"RIFF" + bytes(100))):
        (tmp_path / "music").mkdir(exist_ok=True)
        (tmp_path / "music" / name).write_bytes(data)
    ((path, reason),) = make_pairs(str(tmp_path / "music"), str(tmp_path / "out"), [64], workers=1, val_share=0.0)
    assert path.name == "bad.wav" and "cannot be read" in reason
    assert len(files(tmp_path / "out")) == 2
