"""What a file is: frames, LAME tags, cut-offs, re-encodes, and whether a model should touch it."""

import shutil
import subprocess

import numpy as np
import pytest
from mp3s import RATE, SHINE, by_ffmpeg, by_lame, music, save

from upscale import audio
from upscale.restore.cutoff import measure_cutoff
from upscale.restore.examine import examine
from upscale.restore.mpeg import parse_header, read_mpeg

WAV = music()


def test_ffmpeg_info_tag(tmp_path):
    info = read_mpeg(save(tmp_path / "a.mp3", by_ffmpeg(WAV, bitrate=160)))
    assert (info.layer, info.sample_rate, info.method, info.bitrate) == (3, RATE, "CBR", 160)
    assert info.header == "Info" and info.lame.encoder.startswith("Lav")
    # The frames hold the music, the delay before it and the padding behind it, and nothing else.
    assert info.mode == "joint stereo" and info.lame.delay == 576
    assert info.num_frames * 1152 == len(WAV[0]) + 576 + info.lame.padding


@pytest.mark.parametrize(
    ("mode", "bitrate", "method", "low", "high"),
    [("cbr", 96, "CBR", 96, 96), ("vbr", 165, "VBR", 100, 230), ("abr", 160, "VBR", 120, 200)],
)
def test_bare_frames(tmp_path, mode, bitrate, method, low, high):
    info = read_mpeg(save(tmp_path / "a.mp3", by_lame(WAV, mode=mode, bitrate=bitrate)))
    assert info.method == method and low <= info.bitrate <= high
    assert info.lame is None and info.header is None and info.mode == "joint stereo"


def test_stereo_modes_and_another_encoder(tmp_path):
    assert read_mpeg(save(tmp_path / "a.mp3", by_lame(WAV, bitrate=192))).mode == "joint stereo"
    assert read_mpeg(save(tmp_path / "b.mp3", by_lame(WAV, bitrate=192, stereo="plain"))).mode == "stereo"
    assert read_mpeg(save(tmp_path / "c.mp3", by_lame(WAV[:1], bitrate=64))).mode == "mono"
    shine = read_mpeg(SHINE)
    assert (shine.mode, shine.bitrate, shine.method, shine.lame) == ("stereo", 96, "CBR", None)


@pytest.mark.parametrize("mode", ["vbr", "abr"])
def test_ffmpeg_xing_tag(tmp_path, mode):
    info = read_mpeg(save(tmp_path / "a.mp3", by_ffmpeg(WAV, mode=mode, bitrate={"vbr": 2, "abr": 160}[mode])))
    assert (info.header, info.method, info.lame.delay) == ("Xing", "VBR", 576) and 120 < info.bitrate < 250


def test_leading_garbage_is_counted(tmp_path):
    frames = by_lame(WAV)
    # Two headers that promise frames which do not come.
    garbage = b"\xff\xfb\x90\x00" + bytes(50) + b"\xff\xfb\x90\x00" + bytes(5)
    assert read_mpeg(save(tmp_path / "a.mp3", garbage + frames)).leading_bytes == len(garbage)
    assert read_mpeg(save(tmp_path / "b.mp3", bytes(5000))) is None


def test_header_sizes():
    assert parse_header(b"\xff\xfb\x90\x00").size == 417  # 144 * 128,000 / 44,100, cut
    assert parse_header(b"\xff\xfb\x92\x00").size == 418  # with a padding byte
    assert parse_header(b"\xff\xf3\x40\x00").size == 104  # MPEG 2, 32 kbit/s at 22,050 Hz
    assert parse_header(b"\xff\xff\xf0\x00") is None and parse_header(b"ID3\x03") is None


@pytest.mark.skipif(shutil.which("lame") is None, reason="needs the lame command line")
@pytest.mark.parametrize(
    ("options", "method", "settings", "lowpass"),
    [
        (["-b", "128"], "CBR", "-b 128", 17_000),
        (["-V", "2"], "VBR", "-V 2", 18_500),
        (["--abr", "150"], "ABR", "--abr 150", 17_500),
        (["--preset", "insane"], "CBR", "-b 320", 20_500),
    ],
)
def test_lame_command_line(tmp_path, options, method, settings, lowpass):
    audio.write(tmp_path / "a.wav", WAV, RATE, "PCM_16")
    command = ["lame", "--quiet", *options, str(tmp_path / "a.wav"), str(tmp_path / "a.mp3")]
    subprocess.run(command, check=True)
    info = read_mpeg(tmp_path / "a.mp3")
    assert info.lame.encoder.startswith("LAME3.")
    assert (info.method, info.lame.method) == (method, method)
    assert (info.lame.settings, info.lame.lowpass_hz) in [(settings, lowpass), ("--preset insane", lowpass)]


@pytest.mark.parametrize(("bitrate", "cutoff"), [(64, 11_270), (96, 15_400), (128, 16_780), (192, 18_850)])
def test_cutoff_of_a_codec(tmp_path, bitrate, cutoff):
    decoded, _ = audio.read(save(tmp_path / "a.mp3", by_lame(WAV, bitrate=bitrate)))
    assert measure_cutoff([decoded], RATE) == pytest.approx(cutoff, abs=150)
    # 16 bits of a CD-like copy do not hide the edge, nor does the level.
    quiet = np.rint(decoded * 0.1 * 32768) / 32768
    assert measure_cutoff([quiet], RATE) == pytest.approx(cutoff, abs=250)


def test_music_without_an_edge_has_no_cutoff():
    from scipy import signal

    assert measure_cutoff([WAV], RATE) is None
    gentle = signal.lfilter(*signal.butter(4, 6_000, fs=RATE), WAV)
    assert measure_cutoff([gentle], RATE) is None
    assert measure_cutoff([np.zeros((2, RATE), np.float32)], RATE) is None
    assert measure_cutoff([], RATE) is None


TRAINED = (64, 96, 128, 192)


def test_verdicts(tmp_path):
    clean = tmp_path / "clean.flac"
    audio.write(clean, WAV, RATE, "PCM_16")
    assert "no trace of a codec" in examine(clean).is_good(TRAINED)

    low = save(tmp_path / "low.mp3", by_ffmpeg(WAV, bitrate=128))
    assert examine(low).is_good(TRAINED) is None and examine(low).effective_bitrate == 128

    high = save(tmp_path / "high.mp3", by_ffmpeg(WAV, bitrate=320))
    assert "320 kbit/s" in examine(high).is_good(TRAINED) and not examine(high).looks_reencoded

    decoded = tmp_path / "decoded.wav"
    audio.write(decoded, audio.read(low)[0], RATE, "PCM_16")
    found = examine(decoded)
    assert found.looks_reencoded and found.effective_bitrate == 128 and found.is_good(TRAINED) is None

    again = save(tmp_path / "again.mp3", by_ffmpeg(audio.read(low)[0], bitrate=320))
    found = examine(again)
    assert found.looks_reencoded and (found.bitrate, found.effective_bitrate) == (320, 128)
    assert found.is_good(TRAINED) is None
