"""One file in, one file out: length, level, peaks, tags, time; nothing half done; memory that does not grow."""

import os
import subprocess
import sys
import threading
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mp3s import RATE, SHINE, by_ffmpeg, by_lame, music, save

from upscale import audio
from upscale.errors import UserError
from upscale.restore import Restorer
from upscale.restore.files import FileOptions, restore_file

WAV = music()
# Bytes of an MP3, by name: three encoders, modes, and what happens to files in the wild.
MP3S = {
    "ffmpeg cbr joint": lambda: by_ffmpeg(WAV),
    "ffmpeg cbr plain stereo": lambda: by_ffmpeg(WAV, joint=False, bitrate=192),
    "ffmpeg vbr": lambda: by_ffmpeg(WAV, mode="vbr", bitrate=2),
    "ffmpeg abr": lambda: by_ffmpeg(WAV, mode="abr", bitrate=160),
    "ffmpeg mono": lambda: by_ffmpeg(WAV[:1], bitrate=64),
    "ffmpeg without LAME tag": lambda: by_ffmpeg(WAV, xing=False),
    "ffmpeg 48 kHz": lambda: by_ffmpeg(music(sample_rate=48_000), sample_rate=48_000),
    "lame cbr": lambda: by_lame(WAV),
    "lame cbr joint 192": lambda: by_lame(WAV, bitrate=192),
    "lame cbr plain stereo": lambda: by_lame(WAV, bitrate=192, stereo="plain"),
    "lame vbr": lambda: by_lame(WAV, mode="vbr", bitrate=190),
    "lame abr": lambda: by_lame(WAV, mode="abr", bitrate=160),
    "lame mono 22 kHz": lambda: by_lame(music(channels=1, sample_rate=22_050), bitrate=48, sample_rate=22_050),
    "shine": SHINE.read_bytes,
    "leading garbage": lambda: bytes(range(256)) * 9 + by_lame(WAV),
    "truncated": lambda: by_ffmpeg(WAV)[:-5_000],
    "torn inside": lambda: by_lame(WAV)[:9_000] + b"\x00" * 3_000 + by_lame(WAV)[12_000:],
}


@pytest.fixture
def unchanged(identity) -> Restorer:
    return Restorer.from_module(identity(channels=2), device="cpu")


@pytest.mark.parametrize("name", MP3S)
def test_identity_model_gives_back_every_decoded_mp3(unchanged, tmp_path, name):
    source = save(tmp_path / "song.mp3", MP3S[name]())
    decoded, sample_rate = audio.read(source)
    result = restore_file(unchanged, source, tmp_path / "out.wav", FileOptions(ceiling_db=20))
    restored, restored_rate = audio.read(tmp_path / "out.wav")
    assert (restored_rate, result.num_samples) == (sample_rate, decoded.shape[1])
    assert decoded.shape[1] > 1.1 * sample_rate
    np.testing.assert_allclose(restored, decoded, atol=1e-6)


def test_restore_file_equals_restoring_in_memory(halver, tmp_path):
    restorer = Restorer.from_module(halver(channels=2, level=0.01), device="cpu")
    source = save(tmp_path / "song.mp3", by_lame(music(seconds=9.0)))
    decoded, rate = audio.read(source)
    restore_file(restorer, source, tmp_path / "out.wav", FileOptions(restore_level=True, ceiling_db=20, bitrate=128))
    np.testing.assert_allclose(audio.read(tmp_path / "out.wav")[0], restorer(decoded, rate, bitrate=128), atol=1e-6)


def test_output_is_as_loud_as_the_input_unless_restore_level(halver, tmp_path):
    restorer = Restorer.from_module(halver(channels=2, level=0.8), device="cpu")
    audio.write(tmp_path / "in.wav", WAV, RATE)
    kept = restore_file(restorer, tmp_path / "in.wav", tmp_path / "kept.flac", FileOptions(ceiling_db=0))
    restored, _ = audio.read(tmp_path / "kept.flac")
    assert np.square(restored).mean() == pytest.approx(np.square(WAV).mean(), rel=1e-4)
    model_level = restore_file(
        restorer, tmp_path / "in.wav", tmp_path / "model_level.flac", FileOptions(restore_level=True, ceiling_db=0)
    )
    assert model_level.gain_db == 0 and kept.gain_db < -1


@pytest.mark.parametrize("value", [True, False])
def test_match_level_is_a_deprecated_alias_of_restore_level(value):
    with pytest.warns(FutureWarning, match="match_level is deprecated: use restore_level"):
        old = FileOptions(mix=0.5, match_level=value)
    assert old == FileOptions(mix=0.5, restore_level=value)
    with warnings.catch_warnings(action="error"):  # a copy does not warn again
        assert replace(old, mix=0.7) == FileOptions(mix=0.7, restore_level=value)


@pytest.mark.parametrize("ceiling_db", [-0.1, -3.0])
@pytest.mark.parametrize("name", ["out.flac", "out.wav"])
def test_true_peak_stays_below_the_ceiling(unchanged, tmp_path, ceiling_db, name):
    # A quarter of the sample rate, sampled beside its crests: true peak 3 dB above every sample.
    phase = np.pi / 2 * np.arange(RATE) + np.pi / 4
    audio.write(tmp_path / "in.wav", np.stack([np.sin(phase)] * 2).astype(np.float32) * 1.3, RATE, "FLOAT")
    result = restore_file(unchanged, tmp_path / "in.wav", tmp_path / name, FileOptions(ceiling_db=ceiling_db))
    restored, _ = audio.read(tmp_path / name)
    measured = 20 * np.log10(audio.true_peak(restored))
    assert measured == pytest.approx(ceiling_db, abs=0.01) and result.true_peak_db == pytest.approx(ceiling_db)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_a_full_scale_square_wave_never_clips(unchanged, tmp_path, subtype, caplog):
    square = np.sign(np.sin(2 * np.pi * 100 * np.arange(RATE) / RATE) + 1e-9).astype(np.float32)
    audio.write(tmp_path / "in.wav", square[None], RATE, "FLOAT")
    restore_file(unchanged, tmp_path / "in.wav", tmp_path / "out.flac", FileOptions(subtype=subtype))
    assert not caplog.records


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_restored_file_has_the_channels_of_its_input(unchanged, tmp_path, channels):
    wav = music(channels=channels)
    audio.write(tmp_path / "in.wav", wav, RATE)
    restore_file(unchanged, tmp_path / "in.wav", tmp_path / "out.flac")
    np.testing.assert_allclose(audio.read(tmp_path / "out.flac")[0], wav, atol=2**-22)


def test_restored_file_has_the_time_of_its_input(unchanged, tmp_path):
    source = save(tmp_path / "song.mp3", by_lame(WAV))
    os.utime(source, (1e9, 1.1e9))
    restore_file(unchanged, source, tmp_path / "deep/er/out.flac")
    assert (tmp_path / "deep/er/out.flac").stat().st_mtime == 1.1e9


def test_interrupted_restoring_leaves_no_new_file_and_keeps_the_old_one(unchanged, tmp_path):
    source = save(tmp_path / "in/song.mp3", by_lame(music(seconds=9.0)))
    target = save(tmp_path / "out.flac", b"older")

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        restore_file(unchanged, source, target, progress=interrupt)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["out.flac"]
    assert target.read_bytes() == b"older" and threading.active_count() == before


@pytest.mark.parametrize(("data", "reason"), [(b"no music at all" * 99, "cannot be read"), (b"", "cannot be read")])
def test_a_file_without_audio_is_refused_by_name(unchanged, tmp_path, data, reason):
    source = save(tmp_path / "song.mp3", data)
    with pytest.raises(UserError, match=reason):
        restore_file(unchanged, source, tmp_path / "out.flac")
    assert [path.name for path in tmp_path.iterdir()] == ["song.mp3"]


def test_input_is_never_overwritten(unchanged, tmp_path):
    audio.write(tmp_path / "song.wav", WAV, RATE)
    (tmp_path / "link.wav").hardlink_to(tmp_path / "song.wav")
    with pytest.raises(UserError, match="is the input itself"):
        restore_file(unchanged, tmp_path / "song.wav", tmp_path / "link.wav")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak where Linux shows it")
def test_memory_does_not_grow_with_length(tmp_path):
    """A quarter of an hour takes no more memory than two minutes, and less than 1 GiB over the model's own.

    UPSCALE_MINUTES=180 measures a file of three hours instead; `pytest -s` shows the figures.
    """
    script = (
        "import re, sys, torch\n"
        "from upscale.restore import Restorer\n"
        "from upscale.restore.files import restore_file\n"
        "class Same(torch.nn.Module):\n"
        "    channels, context, stride, sample_rate = 2, 0, 1, 44100\n"
        "    def forward(self, wav, bitrate=None): return wav * 0.9\n"
        "restorer = Restorer.from_module(Same(), device='cpu')\n"
        # Not getrusage: what that reports begins with the size of the process that started this one.
        "peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) // 1024\n"
        "own = peak()\n"
        "restore_file(restorer, sys.argv[1], sys.argv[2])\n"
        "print(own, peak())\n"
    )
    minute = by_lame(music(seconds=60.0))
    peaks = []
    for minutes in (2, int(os.environ.get("UPSCALE_MINUTES", "15"))):
        with (tmp_path / "long.mp3").open("wb") as file:
            file.writelines([minute] * minutes)
        command = [sys.executable, "-c", script, str(tmp_path / "long.mp3"), str(tmp_path / "out.flac")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        own, peak = map(int, done.stdout.split())
        print(f"{minutes} minutes: {peak} MiB at the peak, {own} MiB before the first block")
        assert audio.probe(tmp_path / "out.flac").num_samples >= minutes * 60 * RATE
        assert peak - own < 1024
        peaks.append(peak)
    assert peaks[1] - peaks[0] < 60, peaks
