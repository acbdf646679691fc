"""From songs to shards: exact, the same bytes every time, resumable, honest about what is broken."""

import hashlib
import json
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import webdataset

from upscale.corpus.demo import compose
from upscale.errors import UserError
from upscale.shards import cutting, index_shards, read_manifest
from upscale.shards import prepare as preparing
from upscale.shards.clip import ClipReader, encode_clip, to_pcm16
from upscale.shards.jobs import run_jobs
from upscale.shards.prepare import prepare

RATE = 44_100
SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="module")
def music(tmp_path_factory) -> Path:
    """Six songs of 2.5 s in several formats, rates and channel counts."""
    root = tmp_path_factory.mktemp("music")
    formats = [("a.wav", RATE, 2), ("b.flac", RATE, 2), ("x/c.aiff", 48_000, 2), ("x/d.wav", 96_000, 1)]
    formats += [("x/e.flac", 32_000, 2), ("y/f - g.wav", RATE, 1)]
    for number, (name, rate, channels) in enumerate(formats):
        (root / name).parent.mkdir(exist_ok=True)
        wav = compose(seed=number, seconds=2.5 * rate / RATE)[:channels].T  # the pitch may differ, the length not
        soundfile.write(root / name, wav, rate, subtype="PCM_16")
    return root


def prepared(out: Path, music: Path, **changes):
    settings = {"segment_seconds": 1.0, "min_seconds": 0.4, "clips_per_shard": 4, "workers": 1}
    return prepare(out, sources=["folder"], roots={"folder": str(music)}, **(settings | changes))


def hashes(out: Path) -> dict[str, str]:
    """Of everything below `out`."""
    files = sorted(path for path in out.rglob("*") if path.is_file())
    return {path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def shards(music, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("shards")
    prepared(out, music)
    return out


def every_clip(out: Path):
    """(description, wav) of each clip, through webdataset itself."""
    urls = [str(path) for path in sorted(out.glob("*/*.tar"))]
    for sample in webdataset.WebDataset(urls, shardshuffle=False):
        data = sample.get("wav") or sample["flac"]
        reader = ClipReader(memoryview(data))
        assert reader.sample_rate == RATE
        yield json.loads(sample["json"]), reader.read(0, reader.num_samples)


def test_webdataset_reads_what_was_written(shards):
    clips = list(every_clip(shards))
    assert len(clips) == 6 * 3  # two of 1 s and one of 0.5 s each
    assert {wav.shape for _, wav in clips} == {(2, RATE), (2, RATE // 2)}
    for description, _ in clips:
        assert description["dataset"] == "folder"
        assert description["start_seconds"] in (0, 1, 2)
    for split in ("train", "val", "test"):
        manifest = read_manifest(shards / split)
        assert manifest.num_clips == sum(description["split"] == split for description, _ in clips)


def test_16_bit_sources_are_kept_to_the_bit(shards, music):
    for description, wav in every_clip(shards):
        source, rate = soundfile.read(music / description["track"], dtype="float32", always_2d=True)
        if rate == RATE:
            start = round(description["start_seconds"] * RATE)
            expected = np.broadcast_to(source[start : start + wav.shape[1]].T, wav.shape)
            np.testing.assert_array_equal(wav, expected)


def test_clips_of_a_resampled_song_join_without_a_seam(shards, music):
    """Cut first and resampled then: the same as resampling the whole song, within 16 bits."""
    from upscale import audio

    clips = {d["start_seconds"]: wav for d, wav in every_clip(shards) if d["track"] == "x/c.aiff"}
    joined = np.concatenate([clips[start] for start in sorted(clips)], axis=1)
    source, rate = audio.read(music / "x/c.aiff")
    whole = audio.resample(source, rate, RATE)[:, : joined.shape[1]]
    assert np.abs(joined - whole).max() < 3 / 32_768


def test_same_input_same_bytes_whatever_the_number_of_workers(shards, music, tmp_path):
    prepared(tmp_path, music, workers=3)
    assert hashes(tmp_path) == hashes(shards)


def test_songs_do_not_cross_splits(shards):
    songs: dict[str, set[str]] = {}
    for description, _ in every_clip(shards):
        songs.setdefault(description["song"], set()).add(description["split"])
    assert len(songs) == 6 and all(len(splits) == 1 for splits in songs.values())


def test_interrupted_run_is_resumed(music, shards, tmp_path, monkeypatch):
    written = []

    def stopping(job):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(job.path)
        return cutting.write_shard(job)

    monkeypatch.setattr(preparing, "write_shard", stopping)
    with pytest.raises(KeyboardInterrupt):
        prepared(tmp_path, music)
    assert not list(tmp_path.glob("*/manifest.json"))
    times = {path: path.stat().st_mtime_ns for path in written}
    monkeypatch.undo()
    analysed = []
    monkeypatch.setattr(preparing, "analyse", lambda track, cut: analysed.append(track))
    prepared(tmp_path, music)
    assert not analysed
    assert {path: path.stat().st_mtime_ns for path in written} == times
    assert hashes(tmp_path) == hashes(shards)


def test_a_finished_folder_is_not_made_again_nor_mixed(music, shards):
    before = {path: path.stat().st_mtime_ns for path in shards.rglob("*.tar")}
    prepared(shards, music)
    assert {path: path.stat().st_mtime_ns for path in shards.rglob("*.tar")} == before
    with pytest.raises(UserError, match=r"another segment_seconds.*overwrite=true"):
        prepared(shards, music, segment_seconds=0.9)


def test_overwrite_leaves_nothing_of_the_old_shards(music, shards, tmp_path):
    prepared(tmp_path, music, clips_per_shard=1)
    prepared(tmp_path, music, overwrite=True)
    assert hashes(tmp_path) == hashes(shards)


def test_broken_files_are_named_and_the_rest_goes_on(music, tmp_path):
    root = tmp_path / "music"
    root.mkdir()
    for name in ("a.wav", "b.flac"):
        (root / name).write_bytes((music / name).read_bytes())
    whole = (music / "b.flac").read_bytes()
    (root / "cut off.flac").write_bytes(whole[: len(whole) // 2])
    (root / "no audio.wav").write_bytes(b"hello")
    (root / "empty.aiff").write_bytes(b"")
    soundfile.write(root / "short.wav", np.ones((100, 2)) * 0.1, RATE)
    summary = prepared(tmp_path / "out", root)
    assert [name for name, _ in summary.broken] == [
        "folder: cut off.flac",
        "folder: empty.aiff",
        "folder: no audio.wav",
        "folder: short.wav",
    ]
    assert all(reason for _, reason in summary.broken)
    assert sum(split["clips"] for split in summary.splits.values()) == 6


def test_a_full_disk_leaves_no_half_shard(music, tmp_path, monkeypatch):
    def full(self, sample):
        if self.written == 3:
            raise OSError(28, "No space left on device")
        self.written += 1
        return write(self, sample)

    write = webdataset.TarWriter.write
    monkeypatch.setattr(webdataset.TarWriter, "written", 0, raising=False)
    monkeypatch.setattr(webdataset.TarWriter, "write", full)
    with pytest.raises(UserError, match=r"No space left.*make room"):
        prepared(tmp_path, music)
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".tar", ".part")]


@pytest.mark.parametrize("room", [100, 200_000])  # bytes a file may have: fails at the first JSON, and within a shard
def test_prepare_on_a_small_file_system_leaves_no_half_shard(music, tmp_path, room):
    """The system itself refuses to write on; afterwards the same command goes on and ends with the same bytes."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        with pytest.raises(UserError, match=r"cannot be written .*make room") as raised:
            prepared(tmp_path, music)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(raised.value)
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".tar", ".part")]
    prepared(tmp_path, music)
    assert sum(read_manifest(tmp_path / split).num_clips for split in ("train", "val", "test")) == 18


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").exists(), reason="looks for processes in /proc")
def test_killed_run_leaves_no_process_and_is_resumed(tmp_path):
    """kill -9 in the middle of a shard: its workers end too, and the next run ends with the same bytes."""
    arguments = ["num_demo_songs=8", "demo_seconds=20", "segment_seconds=2", "clips_per_shard=4", "workers=2"]
    command = [sys.executable, str(SCRIPTS / "prepare_shards.py"), "sources=[demo]", *arguments]
    run = subprocess.Popen([*command, f"out={tmp_path}/killed"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len(list(tmp_path.glob("killed/*/*.tar"))) < 3:
        assert run.poll() is None, "ended before it could be killed"
        time.sleep(0.01)
    workers = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
    run.kill()
    run.wait()
    assert len(workers) >= 2
    deadline = time.monotonic() + 10
    while any(_runs(worker) for worker in workers):
        assert time.monotonic() < deadline, "workers outlive their parent"
        time.sleep(0.05)
    for name in ("killed", "whole"):
        subprocess.run([*command, f"out={tmp_path}/{name}"], check=True, stdout=subprocess.DEVNULL)
    assert hashes(tmp_path / "killed") == hashes(tmp_path / "whole")


def _runs(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_worker_that_dies_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"a worker process was killed.*workers=1"):
        list(run_jobs(os._exit, [1, 1], workers=2, description="dying"))


def test_prepare_leaves_silence_out(tmp_path):
    wav = np.concatenate([compose(1, 1.0), np.zeros((2, RATE), np.float32), 1e-4 * compose(2, 1.0)], axis=1)
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in/song.wav", wav.T, RATE)
    summary = prepared(tmp_path / "out", tmp_path / "in", val_share=0.0, test_share=0.0)
    assert (summary.splits["train"]["clips"], summary.num_silent) == (1, 2)


def test_once_lossy_songs_are_reported_or_refused(tmp_path, caplog):
    from upscale.codec import CodecSpec, roundtrip

    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in/was mp3.wav", roundtrip(compose(1, 2.0), CodecSpec(bitrate=96)).T, RATE)
    soundfile.write(tmp_path / "in/clean.wav", compose(2, 2.0).T, RATE)
    with pytest.raises(UserError, match=r"strict=true refuses 1 songs.*was mp3.wav"):
        prepared(tmp_path / "out", tmp_path / "in", strict=True)
    summary = prepared(tmp_path / "out2", tmp_path / "in")
    assert [name for name, _ in summary.lossy] == ["folder: was mp3.wav"]
    assert "was mp3.wav" in caplog.text and "clean.wav" not in caplog.text


def test_prepare_writes_mono_and_flac(music, tmp_path):
    prepared(tmp_path, music, channels=1, file_format="flac")
    assert {wav.shape[0] for _, wav in every_clip(tmp_path)} == {1}


def test_degraded_versions_lie_beside_the_clean_clip(tmp_path):
    prepare(
        tmp_path,
        num_demo_songs=1,
        demo_seconds=3.0,
        segment_seconds=1.0,
        min_seconds=1.0,
        val_share=0.0,
        test_share=0.0,
        degrade=[{"bitrate": 64}, {"bitrate": 192}],
        workers=1,
    )
    index = index_shards(sorted(tmp_path.glob("train/*.tar")))
    assert [spec["bitrate"] for spec in index.specs] == [64, 192]
    for number in range(len(index)):
        clean, low, high = (ClipReader(index.member(number, column)).read(0, RATE) for column in range(3))
        noise = [10 * np.log10(np.mean(clean**2) / np.mean((clean - other) ** 2)) for other in (low, high)]
        assert 8 < noise[0] < noise[1]


@pytest.mark.parametrize("peak", [0.5, 1.0, 2.5])
def test_to_pcm16_rounds_with_dither_within_range(peak):
    rng = np.random.default_rng(0)
    wav = (min(peak, 1.0) * np.sin(np.arange(4410) / 5)[None]).astype(np.float32)
    pcm = to_pcm16(wav, key="k")
    assert np.array_equal(pcm, to_pcm16(wav, key="k"))
    assert not np.array_equal(pcm, to_pcm16(wav, key="other"))
    error = pcm[:, 0] / 32_768 - wav[0]
    assert np.abs(error).max() < 2 / 32_768 and abs(error.mean()) < 0.1 / 32_768
    exact = rng.integers(-32_768, 32_768, (2, 100)).astype(np.float32) / 32_768
    np.testing.assert_array_equal(to_pcm16(exact, key="k").T / np.float32(32_768), exact)


@pytest.mark.parametrize("file_format", ["wav", "flac"])
def test_clip_reader_reads_any_part(file_format):
    pcm = np.random.default_rng(0).integers(-3000, 3000, (5000, 2)).astype("<i2")
    reader = ClipReader(memoryview(encode_clip(pcm, RATE, file_format)))
    assert (reader.num_samples, reader.channels, reader.sample_rate) == (5000, 2, RATE)
    for start, length in [(0, 5000), (17, 4000), (4999, 1), (0, 1)]:
        np.testing.assert_array_equal(reader.read(start, length) * 32_768, pcm[start : start + length].T)
    with pytest.raises(ValueError, match="ends after 5000 of 5001"):
        reader.read(1, 5000)


def test_clip_reader_refuses_damaged_clips():
    data = encode_clip(np.ones((5000, 2), "<i2"), RATE, "wav")
    with pytest.raises(ValueError, match="ends after"):
        ClipReader(memoryview(data[:-100]))
    with pytest.raises(ValueError, match="not a WAV or FLAC"):
        ClipReader(memoryview(b"\0" * 100))


def test_index_reads_shards_of_other_makers(tmp_path):
    """Any WebDataset with KEY.wav or KEY.flac is readable, also in folders and with other members beside."""
    wav = encode_clip(np.arange(2000, dtype="<i2").reshape(1000, 2), RATE, "wav")
    with webdataset.TarWriter(str(tmp_path / "x.tar"), encoder=False) as tar:
        tar.write({"__key__": "folder/one", "wav": wav, "txt": b"words"})
        tar.write({"__key__": "folder/two", "WAV": wav})
        tar.write({"__key__": "three", "cls": b"1"})
    index = index_shards([tmp_path / "x.tar"])
    assert index.keys == ["folder/one", "folder/two"]
    assert index.num_samples.tolist() == [1000, 1000]


def test_index_refuses_what_is_no_shard(tmp_path):
    (tmp_path / "x.tar").write_bytes(b"not a tar file" * 100)
    with pytest.raises(UserError, match=r"x.tar: is not a readable tar"):
        index_shards([tmp_path / "x.tar"])
    with tarfile.open(tmp_path / "empty.tar", "w"):
        pass
    with pytest.raises(UserError, match="holds no clip"):
        index_shards([tmp_path / "empty.tar"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 3}, "channels=3"),
        ({"file_format": "mp3"}, "file_format=mp3"),
        ({"min_seconds": 9.0}, "min_seconds"),
        ({"val_share": 0.6, "test_share": 0.4}, "nothing to train on"),
        ({"degrade": [{"bitrate": 65}]}, "65"),
        ({"degrade": [{"bitrat": 64}]}, "bitrat"),
        ({"group": "artist"}, "group=artist"),
    ],
)
def test_prepare_explains_mistakes(music, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        prepared(tmp_path, music, **changes)
