"""What MP3 files say about themselves: frames, header frames, LAME tags."""

import shutil
import subprocess

import pytest
from mp3s import RATE, SHINE, by_ffmpeg, by_lame, music, save

from upscale import audio
from upscale.audio.mpeg import parse_header, read_mpeg

WAV = music()


def test_info_header_of_ffmpeg_tells_bitrate_delay_and_padding(tmp_path):
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
def test_bare_frames_tell_method_and_mean_bitrate(tmp_path, mode, bitrate, method, low, high):
    info = read_mpeg(save(tmp_path / "a.mp3", by_lame(WAV, mode=mode, bitrate=bitrate)))
    assert info.method == method and low <= info.bitrate <= high
    assert info.lame is None and info.header is None and info.mode == "joint stereo"


def test_stereo_mode_is_that_of_the_music_by_any_encoder(tmp_path):
    assert read_mpeg(save(tmp_path / "a.mp3", by_lame(WAV, bitrate=192))).mode == "joint stereo"
    assert read_mpeg(save(tmp_path / "b.mp3", by_lame(WAV, bitrate=192, stereo="plain"))).mode == "stereo"
    assert read_mpeg(save(tmp_path / "c.mp3", by_lame(WAV[:1], bitrate=64))).mode == "mono"
    shine = read_mpeg(SHINE)
    assert (shine.mode, shine.bitrate, shine.method, shine.lame) == ("stereo", 96, "CBR", None)


@pytest.mark.parametrize("mode", ["vbr", "abr"])
def test_xing_header_of_ffmpeg_means_a_variable_bitrate(tmp_path, mode):
    info = read_mpeg(save(tmp_path / "a.mp3", by_ffmpeg(WAV, mode=mode, bitrate={"vbr": 2, "abr": 160}[mode])))
    assert (info.header, info.method, info.lame.delay) == ("Xing", "VBR", 576) and 120 < info.bitrate < 250


def test_leading_garbage_is_counted(tmp_path):
    frames = by_lame(WAV)
    # Two headers that promise frames which do not come.
    garbage = b"\xff\xfb\x90\x00" + bytes(50) + b"\xff\xfb\x90\x00" + bytes(5)
    assert read_mpeg(save(tmp_path / "a.mp3", garbage + frames)).leading_bytes == len(garbage)
    assert read_mpeg(save(tmp_path / "b.mp3", bytes(5000))) is None


def test_frame_size_follows_from_its_header():
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
def test_lame_tag_tells_what_was_typed(tmp_path, options, method, settings, lowpass):
    audio.write(tmp_path / "a.wav", WAV, RATE, "PCM_16")
    command = ["lame", "--quiet", *options, str(tmp_path / "a.wav"), str(tmp_path / "a.mp3")]
    subprocess.run(command, check=True)
    info = read_mpeg(tmp_path / "a.mp3")
    assert info.lame.encoder.startswith("LAME3.")
    assert (info.method, info.lame.method) == (method, method)
    assert (info.lame.settings, info.lame.lowpass_hz) in [(settings, lowpass), ("--preset insane", lowpass)]
