"""A tagged MP3 through the whole command: what a listener sees in the player afterwards."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from mp3s import by_ffmpeg, by_lame, music, save
from mutagen import apev2, id3
from mutagen.flac import FLAC
from PIL import Image

from upscale import audio
from upscale.cli import main
from upscale.models import WaveletUNet
from upscale.restore.bundle import save_bundle

WAV = music(seconds=1.0)


def _image(kind: str, colour: str) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (32, 24), colour).save(data, kind)
    return data.getvalue()


JPEG, PNG = _image("JPEG", "red"), _image("PNG", "blue")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    arguments = {"channels": 2, "num_layers": 1, "num_filters": 4, "kernel_size": 3, "wavelet": "db2"}
    folder = tmp_path_factory.mktemp("models") / "same"
    return save_bundle(folder, WaveletUNet(**arguments), arguments=arguments, bitrates=[320])


def _id3v2(path: Path, version: int) -> None:
    tags = id3.ID3()
    tags.add(id3.TIT2(encoding=1, text="Älska — 愛"))
    tags.add(id3.TPE1(encoding=1, text="Somebody"))
    tags.add(id3.APIC(encoding=0, mime="image/jpeg", type=3, desc="front", data=JPEG))
    tags.add(id3.APIC(encoding=0, mime="image/png", type=4, desc="back", data=PNG))
    tags.save(path, v1=2, v2_version=version)


def _ape(path: Path) -> None:
    tags = apev2.APEv2()
    tags.update({"Title": "Älska — 愛", "Artist": "Somebody"})
    for side, image, ending in (("Front", JPEG, "jpg"), ("Back", PNG, "png")):
        value = f"cover.{ending}".encode() + b"\0" + image
        tags[f"Cover Art ({side})"] = apev2.APEValue(value, apev2.BINARY)
    tags.save(path)


TAGS = {"id3v2.3": lambda path: _id3v2(path, 3), "id3v2.4": lambda path: _id3v2(path, 4), "ape": _ape}
FILES = {
    "ffmpeg vbr": lambda: by_ffmpeg(WAV, mode="vbr", bitrate=4),
    "lame cbr": lambda: by_lame(WAV),
    "lame mono abr": lambda: by_lame(WAV[:1], mode="abr", bitrate=96),
}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("kind", TAGS)
def test_restored_file_keeps_tags_cover_length_and_time(model, tmp_path, kind, file):
    song = save(tmp_path / "song.mp3", FILES[file]())
    untagged, rate = audio.read(song)
    TAGS[kind](song)
    os.utime(song, (1e9, 1.1e9))
    assert main(["restore", str(song), "--model", str(model), "--out", str(tmp_path / "out"), "--force"]) == 0
    restored = FLAC(tmp_path / "out" / "song.flac")
    assert (restored["title"], restored["artist"]) == (["Älska — 愛"], ["Somebody"])
    assert sorted((picture.type, picture.mime, picture.data) for picture in restored.pictures) == [
        (3, "image/jpeg", JPEG),
        (4, "image/png", PNG),
    ]
    assert (restored.info.channels, restored.info.sample_rate) == (len(untagged), rate)
    # The tags moved no sample: the model changes nothing, so the music is that of the untagged file.
    np.testing.assert_allclose(audio.read(tmp_path / "out" / "song.flac")[0], untagged, atol=2**-22)
    assert (tmp_path / "out" / "song.flac").stat().st_mtime == 1.1e9
