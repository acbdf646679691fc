"""Untrusted files: loading never runs their code or follows their paths, and ends in an error of ours at worst."""

import io
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from conftest import Fault
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from upscale.codec import CodecSpec, roundtrip
from upscale.errors import UserError
from upscale.models import SpectralGain
from upscale.restore import Restorer
from upscale.restore.bundle import save_bundle
from upscale.shards import index_shards
from upscale.shards.clip import ClipReader
from upscale.shards.index import read_members
from upscale.training.resume import with_resume

ARGUMENTS = {"width": 2, "num_blocks": 1, "window_size": 256}


class Bomb:
    """Unpickled, it leaves a file behind."""

    def __init__(self, crater: Path) -> None:
        self.crater = crater

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.crater),)


def plain_pickle(path: Path, crater: Path) -> None:
    path.write_bytes(pickle.dumps(Bomb(crater)))


def in_a_checkpoint(path: Path, crater: Path) -> None:
    torch.save({"state_dict": {}, "upscale_model": {"class": Bomb(crater)}, "global_step": 1}, path)


def in_the_zip(path: Path, crater: Path) -> None:
    """As torch lays a checkpoint out, by hand."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps(Bomb(crater), protocol=2))
        file.writestr("archive/version", "3\n")
        file.writestr("archive/byteorder", "little")


@pytest.mark.parametrize("lay", [plain_pickle, in_a_checkpoint, in_the_zip])
def test_a_pickle_that_runs_code_is_refused(lay: Callable[[Path, Path], None], tmp_path: Path, fault: Fault) -> None:
    crater = tmp_path / "crater"
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    checkpoint.parent.mkdir(parents=True)
    lay(checkpoint, crater)
    with pytest.raises(UserError, match="is not a checkpoint that can be read safely") as raised:
        Restorer.load(checkpoint)
    assert "\n" not in str(raised.value)
    (tmp_path / "run" / ".hydra").mkdir()
    (tmp_path / "run" / ".hydra" / "overrides.yaml").write_text("[]")
    with pytest.raises(UserError, match=r"no checkpoint in .* can be read"):
        with_resume([f"resume={tmp_path / 'run'}"])
    assert not crater.exists()
    fault("pickle bomb")


@pytest.mark.parametrize(
    "change",
    [
        {"class": "os.system"},
        {"class": "upscale.models.torch"},
        {"class": "upscale.models.spectral_gain.SpectralGain"},
        {"class": "upscale.restore.restorer.Restorer"},
        {"class": "upscale.models.__loader__"},
        {"class": ["upscale.models.SpectralGain"]},
        {"class": None},
        {"arguments": {"_target_": "os.mkdir", "path": "crater"}},
        {"arguments": {**ARGUMENTS, "_target_": "os.mkdir"}},
        {"arguments": {**ARGUMENTS, "width": {"_target_": "os.mkdir", "path": "crater"}}},
        {"arguments": {**ARGUMENTS, "width": -3}},
        {"arguments": {**ARGUMENTS, "width": "2"}},
        {"arguments": {**ARGUMENTS, "window_size": 0}},
        {"arguments": [1, 2]},
        {"sample_rate": "fast"},
        {"bitrates": {"64": 1}, "metrics": 5},
    ],
    ids=str,
)
def test_a_bundle_with_foreign_classes_or_wrong_types_is_refused(
    change: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    monkeypatch.chdir(tmp_path)
    bundle = save_bundle(tmp_path / "bundle", SpectralGain(**ARGUMENTS), arguments=ARGUMENTS)
    values = yaml.safe_load((bundle / "model.yaml").read_text())
    (bundle / "model.yaml").write_text(yaml.safe_dump(values | change))
    with pytest.raises(UserError) as raised:
        Restorer.load(bundle)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "crater").exists()
    fault("untrusted bundle")


def hostile_tar(path: Path, outside: Path) -> None:
    """A good clip among members that name, link to or pretend to be other places."""
    with tarfile.open(path, "w") as tar:
        for name in (f"../../{outside.name}.wav", f"{outside}.wav", "good.wav", "a/../../b.wav"):
            data = wav_bytes(4_410)
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        for number, kind in enumerate((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)):
            member = tarfile.TarInfo(f"special{number}.wav")
            member.type, member.linkname = kind, str(outside)
            tar.addfile(member)


def wav_bytes(num_samples: int) -> bytes:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, np.zeros((num_samples, 2)), 44_100, format="WAV", subtype="PCM_16")
    return file.getvalue()


def test_tar_members_with_paths_links_and_devices_are_never_followed(tmp_path: Path, fault: Fault) -> None:
    outside = tmp_path / "outside"
    outside.write_text("secret")
    (tmp_path / "train").mkdir()
    hostile_tar(tmp_path / "train" / "shard-000000.tar", outside)
    before = sorted(tmp_path.rglob("*"))
    index = index_shards([tmp_path / "train" / "shard-000000.tar"])
    assert not [key for key in index.keys if "special" in key]
    assert all(ClipReader(index.member(number)).num_samples == 4_410 for number in range(len(index)))
    assert sorted(tmp_path.rglob("*")) == before
    fault("untrusted tar member", injected=7)


EXAMPLES = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@EXAMPLES
@given(
    bitrate=st.sampled_from([32, 64, 128, 320]),
    channels=st.sampled_from([1, 2]),
    length=st.integers(1, 6_000),
    level=st.floats(0, 4),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_codec_accepts_any_wav(bitrate: int, channels: int, length: int, level: float, seed: int) -> None:
    """Silence, one sample, far beyond full scale: the same shape comes back, finite, or an error of ours."""
    wav = (level * np.random.default_rng(seed).standard_normal((channels, length))).astype(np.float32)
    kept = wav.copy()
    degraded = roundtrip(wav, CodecSpec(bitrate=bitrate))
    assert degraded.shape == wav.shape and degraded.dtype == np.float32 and np.isfinite(degraded).all()
    np.testing.assert_array_equal(wav, kept)


@EXAMPLES
@given(changes=st.lists(st.tuples(st.integers(0, 2**31), st.integers(0, 255)), max_size=20), cut=st.floats(0, 1))
def test_a_shard_of_any_bytes_is_read_or_refused(
    changes: list[tuple[int, int]], cut: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    shard = tmp_path_factory.mktemp("shard") / "shard-000000.tar"
    hostile_tar(shard, shard.parent / "outside")
    data = bytearray(shard.read_bytes())
    for place, value in changes:
        data[place % len(data)] = value
    shard.write_bytes(bytes(data[: int(len(data) * (1 - cut / 2))]))
    for salvage in (False, True):
        try:
            members = read_members(shard, salvage)
            index = index_shards([shard], salvage)
        except UserError as error:
            assert "\n" not in str(error)
            continue
        assert len(index) <= len(members)
        for number in range(len(index)):
            try:
                reader = ClipReader(index.member(number))
                assert np.isfinite(reader.read(0, min(100, reader.num_samples))).all()
            except ValueError:
                assert index.num_samples[number] == -1 or index.sizes[number, 0] > 0
