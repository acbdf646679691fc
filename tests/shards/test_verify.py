"""Every kind of fault, planted in a good folder, is found and named."""

import io
import json
import runpy
import shutil
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from upscale.errors import UserError
from upscale.shards.clip import encode_clip
from upscale.shards.manifest import file_hash
from upscale.shards.prepare import prepare
from upscale.shards.verify import verify

SCRIPT = Path(__file__).parents[2] / "scripts" / "verify_shards.py"


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("good")
    prepare(
        out,
        num_demo_songs=4,
        demo_seconds=2.0,
        segment_seconds=1.0,
        min_seconds=1.0,
        degrade=[{"bitrate": 64}],
        workers=1,
        seed=3,
    )
    return out


@pytest.fixture
def folder(good, tmp_path) -> Path:
    shutil.copytree(good, tmp_path / "shards")
    return tmp_path / "shards"


def faults(root: Path) -> list[str]:
    return [fault for row in verify(root, workers=1) for fault in row.faults]


def first_shard(root: Path, split: str = "train") -> Path:
    return sorted((root / split).glob("*.tar"))[0]


def rewrite(shard: Path, change: Callable[[dict[str, bytes]], None], honest: bool = True) -> None:
    """Change the members (name -> bytes) of a shard; `honest` keeps the manifest's hash in step."""
    with tarfile.open(shard) as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}
    change(members)
    with tarfile.open(shard, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    if honest:
        manifest = shard.parent / "manifest.json"
        content = json.loads(manifest.read_text())
        entry = next(entry for entry in content["shards"] if entry["name"] == shard.name)
        entry["sha256"] = file_hash(shard)
        manifest.write_text(json.dumps(content))


def replace(ending: str, data: Callable[[bytes], bytes]) -> Callable[[dict[str, bytes]], None]:
    """Change the first member with this ending."""

    def change(members: dict[str, bytes]) -> None:
        name = next(
            name for name in members if name.endswith("." + ending) and name.count(".") == 1 + ending.count(".")
        )
        members[name] = data(members[name])

    return change


def tone(rate: int, num_samples: int) -> bytes:
    pcm = (1000 * np.sin(np.arange(num_samples) / 9)).astype("<i2")
    return encode_clip(np.stack([pcm, pcm], axis=1), rate, "wav")


def loud() -> bytes:
    """A second of floats beyond full scale: the only form of clip that can hold them."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.full((44_100, 2), 1.5, np.float32), 44_100, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


def edited(**changes) -> Callable[[bytes], bytes]:
    return lambda data: json.dumps(json.loads(data) | changes).encode()


def without(name: str) -> Callable[[bytes], bytes]:
    return lambda data: json.dumps({key: value for key, value in json.loads(data).items() if key != name}).encode()


def test_verify_of_a_good_folder_finds_nothing(good):
    assert faults(good) == []
    rows = {row.split: row for row in verify(good, workers=1)}
    assert sum(row.num_clips for row in rows.values()) == 8
    assert sum(len(row.songs) for row in rows.values()) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replace("wav", lambda data: data[:-1000]), "ends after"),
        (replace("wav", lambda data: b"junk" * 100), "not a WAV or FLAC"),
        (replace("wav", lambda data: tone(48_000, 44_100)), "48000 Hz instead of 44100"),
        (replace("wav", lambda data: encode_clip(np.zeros((44_100, 2), "<i2"), 44_100, "wav")), "is silent"),
        (replace("wav", lambda data: loud()), "holds samples outside +-1"),
        (replace("d00.wav", lambda data: loud()), "holds samples outside +-1"),
        (replace("wav", lambda data: tone(44_100, 400)), "not as long as the clean clip"),
        (replace("wav", lambda data: tone(44_100, 44_100)), "NOTHING"),
        (replace("d00.wav", lambda data: tone(44_100, 400)), "not as long as the clean clip"),
        (replace("json", lambda data: b"{"), "clip"),
        (replace("json", edited(split="test")), "belongs to test but lies in train"),
        (replace("json", without("song")), "JSON without song"),
        (replace("json", edited(song="someone|else")), "other songs or counts"),
        (lambda members: members.pop(next(name for name in members if name.endswith("json"))), "has no JSON"),
        (
            lambda members: members.pop(
                next(name for name in members if name.count(".") == 1 and name.endswith(".wav"))
            ),
            "0 clean clips",
        ),
        (lambda members: members.pop(next(name for name in members if name.endswith("d00.wav"))), "degraded versions"),
        (lambda members: members.update({"x_0000.wav": tone(44_100, 10)}), "has no JSON"),
    ],
)
def test_verify_names_a_bad_clip(folder, change, message):
    rewrite(first_shard(folder), change)
    found = faults(folder)
    if message == "NOTHING":  # another sound of the right form is a clip like any other, once the hash agrees
        assert found == []
    else:
        assert any(message in fault for fault in found), found


def test_verify_finds_a_changed_byte(folder):
    shard = first_shard(folder)
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    assert any("hash differs" in fault for fault in faults(folder))


def test_verify_finds_clips_missing_or_doubled(folder):
    def drop(members):
        key = next(iter(members)).split(".")[0]
        for name in [name for name in members if name.startswith(key)]:
            del members[name]

    rewrite(first_shard(folder), drop)
    assert any("good clips, the manifest says" in fault for fault in faults(folder))


def test_verify_finds_clips_of_another_length(folder):
    """All versions of a clip agree with each other, but not with the manifest."""

    def change(length: int) -> Callable[[dict[str, bytes]], None]:
        def both(members: dict[str, bytes]) -> None:
            key = next(iter(members)).split(".")[0]
            members[f"{key}.wav"] = members[f"{key}.d00.wav"] = tone(44_100, length)

        return both

    rewrite(first_shard(folder), change(40_000))
    found = faults(folder)
    assert len(found) == 1 and "samples, the manifest says" in found[0]
    rewrite(first_shard(folder), change(50_000))
    assert any("clips longer than segment_seconds=1.0" in fault for fault in faults(folder))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not a manifest"),
        ('{"split": "train", "shards": [], "songs": {}, "settings": {}}', "is not a manifest"),
    ],
)
def test_verify_names_a_damaged_manifest(folder, text, message):
    (folder / "train" / "manifest.json").write_text(text)
    assert any(message in fault for fault in faults(folder))


def test_verify_finds_a_song_moved_with_its_manifest(folder):
    """Everything agrees within each split: only the songs themselves tell."""
    test, train = first_shard(folder, "test"), first_shard(folder)
    with tarfile.open(test) as tar:
        stranger = {member.name: tar.extractfile(member).read() for member in tar}
    songs = {json.loads(data)["song"] for name, data in stranger.items() if name.endswith("json")}
    copied = {name: edited(split="train")(data) if name.endswith("json") else data for name, data in stranger.items()}
    rewrite(train, lambda members: members.update(copied))
    found = faults(folder)
    assert all(any(f"song {song} lies in train and in test" in fault for fault in found) for song in songs)


def test_verify_finds_shards_missing_cut_or_unknown(folder):
    shard = first_shard(folder)
    shutil.copy(shard, folder / "train" / "shard-000009.tar")
    found = faults(folder)
    assert any("is not in the manifest" in fault for fault in found)
    assert any("is there twice" in fault for fault in found)
    shard.write_bytes(shard.read_bytes()[:100_000])
    assert any("not a readable tar" in fault for fault in faults(folder))
    shard.unlink()
    assert any("in the manifest but not there" in fault for fault in faults(folder))
    (folder / "train" / "manifest.json").unlink()
    assert any("manifest.json: no such file" in fault for fault in faults(folder))


def test_verify_finds_a_song_in_two_splits_under_two_names(folder):
    shutil.rmtree(folder / "val")
    shutil.copytree(folder / "train", folder / "val")
    found = faults(folder)
    assert any("lies in train and in val" in fault for fault in found)
    assert any("is the same sound as" in fault for fault in found)


def test_script_reports_faults_in_one_error(good, folder, monkeypatch, capsys):
    main = runpy.run_path(str(SCRIPT))["main"]

    def run(path: Path) -> None:
        monkeypatch.setattr(sys, "argv", ["verify_shards.py", str(path), "--workers", "1"])
        main()

    run(good)
    assert "no fault found; a batch could be made" in capsys.readouterr().out
    rewrite(first_shard(folder), replace("json", edited(split="test")))
    with pytest.raises(UserError, match="faults; prepare the shards again"):
        run(folder)
    assert "belongs to test" in capsys.readouterr().err
