"""Reading: exact against libsndfile and FFmpeg's command line, the same in pieces, and never fooled by a bad file."""

import io
import random
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from upscale.audio import blocks, probe, read, write
from upscale.codec import CodecSpec, encode
from upscale.errors import UserError

SAMPLE_RATE = 44_100
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the ffmpeg command line")
needs_lame = pytest.mark.skipif(shutil.which("lame") is None, reason="needs the lame command line")


def noise(channels: int = 2, num_samples: int = 30_011, seed: int = 0) -> np.ndarray:
    """Low-passed noise: every codec follows it closely enough to measure a lag of one sample."""
    white = np.random.default_rng(seed).normal(size=(channels, num_samples + 31))
    smooth = np.stack([np.convolve(channel, np.hanning(32), mode="valid") for channel in white])
    return (0.3 * smooth / np.abs(smooth).max()).astype(np.float32)


def lag(delayed: np.ndarray, reference: np.ndarray) -> int:
    """By how many samples the first channel of one is behind that of the other."""
    size = 2 * max(delayed.shape[-1], reference.shape[-1])
    spectrum = np.fft.rfft(delayed[0], size) * np.conj(np.fft.rfft(reference[0], size))
    peak = int(np.argmax(np.fft.irfft(spectrum, size)))
    return peak if peak < size // 2 else peak - size


def ffmpeg_decoded(path: Path, channels: int = 2) -> np.ndarray:
    """`[C, T]`, as FFmpeg's command line decodes a file."""
    command = ["ffmpeg", "-loglevel", "quiet", "-i", str(path), "-f", "f32le", "-c:a", "pcm_f32le", "-"]
    return np.frombuffer(subprocess.run(command, capture_output=True).stdout, np.float32).reshape(-1, channels).T


def encoded(tmp_path: Path, arguments: list[str], name: str, wav: np.ndarray) -> Path:
    """`wav` as a file by FFmpeg's or LAME's command line."""
    source = tmp_path / "source.wav"
    soundfile.write(source, wav.T, SAMPLE_RATE, subtype="PCM_16")
    subprocess.run([part.format(source=source, target=tmp_path / name) for part in arguments], check=True)
    return tmp_path / name


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.aiff", "a.ogg", "a.caf", "a.au", "a.w64"])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_what_libsndfile_writes_is_read_exactly(tmp_path: Path, name: str, channels: int) -> None:
    wav = noise(channels)
    soundfile.write(tmp_path / name, wav.T, SAMPLE_RATE)
    expected, _ = soundfile.read(tmp_path / name, dtype="float32")
    result, sample_rate = read(tmp_path / name)
    assert sample_rate == SAMPLE_RATE and result.dtype == np.float32
    np.testing.assert_array_equal(result, expected.reshape(-1, channels).T)
    info = probe(tmp_path / name)
    assert (info.channels, info.num_samples, info.sample_rate) == (channels, wav.shape[1], SAMPLE_RATE)
    assert (info.bitrate is not None) == (name == "a.ogg")


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "PCM_U8", "FLOAT", "DOUBLE"])
def test_every_sample_format_of_wav_is_read(tmp_path: Path, subtype: str) -> None:
    wav = noise()
    soundfile.write(tmp_path / "a.wav", wav.T, 48_000, subtype=subtype)
    result, sample_rate = read(tmp_path / "a.wav")
    assert sample_rate == 48_000
    np.testing.assert_allclose(result, wav, atol=2**-7 if subtype == "PCM_U8" else 2**-15)


@pytest.mark.parametrize("num_samples", [1, 576, 1151, 1152, 1153, 30_011])
@pytest.mark.parametrize(("mode", "bitrate"), [("cbr", 128), ("abr", 128), ("vbr", 190)])
def test_mp3_is_as_long_as_what_was_encoded_and_not_late(
    tmp_path: Path, num_samples: int, mode: str, bitrate: int
) -> None:
    wav = noise(num_samples=num_samples)
    (tmp_path / "a.mp3").write_bytes(encode(wav, CodecSpec(bitrate=bitrate, mode=mode)))
    result, sample_rate = read(tmp_path / "a.mp3")
    assert sample_rate == SAMPLE_RATE and result.shape == wav.shape
    assert probe(tmp_path / "a.mp3").num_samples == num_samples
    if num_samples > 5_000:
        assert lag(result, wav) == 0
        assert np.mean((result - wav) ** 2) < 0.1 * np.mean(wav**2)


LAME = {
    "cbr": ["-b", "128"],
    "abr": ["--abr", "150"],
    "vbr": ["-V", "2"],
    "mono": ["-b", "64", "-m", "m", "--resample", "44.1"],
    "id3": ["-b", "128", "--tt", "A title", "--add-id3v2"],
}


@needs_ffmpeg
@needs_lame
@pytest.mark.parametrize("name", LAME)
def test_mp3_of_lame_equals_ffmpeg_and_the_known_length(tmp_path: Path, name: str) -> None:
    wav = noise()
    path = encoded(tmp_path, ["lame", "--quiet", *LAME[name], "{source}", "{target}"], "a.mp3", wav)
    result, _ = read(path)
    assert result.shape[1] == wav.shape[1] == probe(path).num_samples
    assert lag(result, wav) == 0
    np.testing.assert_allclose(result, ffmpeg_decoded(path, channels=len(result)), atol=1e-6)


@needs_ffmpeg
@needs_lame
@pytest.mark.parametrize("garbage", [b"\x00" * 5_000, random.Random(0).randbytes(3_000)], ids=["zeros", "random"])
def test_mp3_behind_garbage_is_trimmed_all_the_same(tmp_path: Path, garbage: bytes) -> None:
    wav = noise()
    path = encoded(tmp_path, ["lame", "--quiet", "-b", "128", "{source}", "{target}"], "a.mp3", wav)
    clean, _ = read(path)
    path.write_bytes(garbage + path.read_bytes())
    np.testing.assert_array_equal(read(path)[0], clean)


@needs_ffmpeg
@needs_lame
@pytest.mark.parametrize("damage", ["untagged", "truncated", "hole", "trailing", "twice"])
def test_mp3_without_or_against_its_header_equals_ffmpeg(tmp_path: Path, damage: str) -> None:
    tag = ["-t"] if damage == "untagged" else []
    path = encoded(tmp_path, ["lame", "--quiet", "-b", "128", *tag, "{source}", "{target}"], "a.mp3", noise())
    data = path.read_bytes()
    changed = {
        "untagged": data,
        "truncated": data[: len(data) // 2],
        "hole": data[:4_000] + data[6_000:],
        "trailing": data + random.Random(1).randbytes(3_000),
        "twice": data + data,
    }
    path.write_bytes(changed[damage])
    np.testing.assert_allclose(read(path)[0], ffmpeg_decoded(path), atol=1e-6)


@needs_ffmpeg
@pytest.mark.parametrize("name", ["a.m4a", "a.opus", "a.wma", "a.mka", "a.wv", "a.alac.m4a", "a.ac3"])
def test_other_formats_equal_ffmpeg(tmp_path: Path, name: str) -> None:
    codec = ["-c:a", "alac"] if "alac" in name else []
    path = encoded(tmp_path, ["ffmpeg", "-loglevel", "error", "-i", "{source}", *codec, "{target}"], name, noise())
    result, sample_rate = read(path)
    assert sample_rate == (48_000 if name == "a.opus" else SAMPLE_RATE)
    np.testing.assert_allclose(result, ffmpeg_decoded(path), atol=1e-3 if name == "a.opus" else 1e-5)
    assert (probe(path).bitrate is None) == (name == "a.alac.m4a")


@pytest.fixture(params=["wav", "flac", "ogg", "mp3", "m4a"])
def song(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """One stretch of noise in each of the formats that people bring, longer than the parts that are read at once."""
    wav, path = noise(num_samples=150_001), tmp_path / f"song.{request.param}"
    if request.param in ("mp3", "m4a"):
        path.write_bytes(encode(wav, CodecSpec(codec="aac" if request.param == "m4a" else "mp3")))
    else:
        soundfile.write(path, wav.T, SAMPLE_RATE)
    return path


@pytest.mark.parametrize("block_samples", [1_000, 65_536, 100_000, 10**9])
def test_blocks_joined_are_the_file(song: Path, block_samples: int) -> None:
    whole, _ = read(song)
    parts = list(blocks(song, block_samples))
    assert all(part.shape[1] == block_samples for part in parts[:-1]) and 0 < parts[-1].shape[1] <= block_samples
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


@pytest.mark.parametrize(("start", "num_samples"), [(0, 10), (70_001, 1_152), (149_000, 5_000), (10, None), (10**7, 5)])
def test_a_stretch_is_the_same_as_in_the_whole(song: Path, start: int, num_samples: int | None) -> None:
    whole, _ = read(song)
    stop = None if num_samples is None else start + num_samples
    np.testing.assert_array_equal(read(song, start=start, num_samples=num_samples)[0], whole[:, start:stop])


def test_a_stream_that_changes_keeps_its_first_rate_and_channels(tmp_path: Path) -> None:
    stereo = encode(noise(2, 7 * 44_100), CodecSpec())
    mono = encode(noise(1, 48_000), CodecSpec(bitrate=64), sample_rate=48_000)
    (tmp_path / "a.mp3").write_bytes(stereo + mono)
    result, sample_rate = read(tmp_path / "a.mp3")
    assert sample_rate == SAMPLE_RATE and result.shape[0] == 2
    assert result.shape[1] == pytest.approx(8 * 44_100, abs=6_000)
    np.testing.assert_allclose(result[0, -20_000:], result[1, -20_000:], atol=1e-6)


def test_flac_without_a_length_is_read(tmp_path: Path) -> None:
    write(tmp_path / "a.flac", noise(), SAMPLE_RATE)
    data = bytearray((tmp_path / "a.flac").read_bytes())
    data[21] &= 0xF0  # STREAMINFO: 36 bits of length behind rate, channels and depth
    data[22:26] = bytes(4)
    (tmp_path / "b.flac").write_bytes(data)
    np.testing.assert_array_equal(read(tmp_path / "b.flac")[0], read(tmp_path / "a.flac")[0])
    assert probe(tmp_path / "b.flac").num_samples is None


def test_an_empty_recording_has_no_samples(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros((0, 2)), SAMPLE_RATE)
    assert read(tmp_path / "a.wav")[0].shape == (2, 0)
    assert list(blocks(tmp_path / "a.wav", 100)) == []


def float_wav(samples: list[float], sample_rate: int = SAMPLE_RATE) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.array(samples, np.float32), sample_rate, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


BAD_FILES = {
    "empty.wav": b"",
    "one_byte.mp3": b"\xff",
    "text.mp3": b"This is not a song.\n" * 100,
    "header_only.wav": b"RIFF\xff\xff\xff\xffWAVE",
    "nan.wav": float_wav([0.0, float("nan")]),
    "infinite.wav": float_wav([0.0, float("inf")]),
    "integers.wav": float_wav([30_000.0, -2.0]),
    "slow.wav": float_wav([0.0] * 100, sample_rate=999),
    "fast.wav": float_wav([0.0] * 100, sample_rate=768_001),
    "playlist.m3u8": b"#EXTM3U\n#EXTINF:1,\n/etc/hostname\n",
    "concat.mp3": b"ffconcat version 1.0\nfile '/etc/hostname'\n",
    "zeros.flac": b"fLaC" + bytes(100),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_what_is_no_audio_is_refused_by_name_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(BAD_FILES[name])
    for attempt in (read, lambda path: list(blocks(path, 100))):
        with pytest.raises(UserError) as refused:
            attempt(tmp_path / name)
        assert name in str(refused.value) and "\n" not in str(refused.value)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read(tmp_path / "song.mp3")
    with pytest.raises(UserError, match="not a file"):
        probe(tmp_path)
    with pytest.raises(UserError, match="not a file"):
        read("/dev/zero")


def test_names_with_anything_in_them_are_read(tmp_path: Path) -> None:
    for name in ("a=b, (c) [d] é #1%.wav", "http:song.wav", "-i.wav", b"latin1-\xe9.wav"):
        path = Path(tmp_path, name if isinstance(name, str) else name.decode("utf-8", "surrogateescape"))
        write(path, noise(1, 100), SAMPLE_RATE)
        assert read(path)[0].shape == (1, 100)
        mp3 = path.with_suffix(".mp3")
        mp3.write_bytes(encode(noise(1, 3_000), CodecSpec()))
        assert read(mp3)[0].shape == (1, 3_000)


def mutated(data: bytes, generator: random.Random) -> bytes:
    """Bytes overwritten, cut out, put in or cut off."""
    place, length = generator.randrange(len(data)), generator.randrange(1, 2_000)
    return generator.choice(
        [
            data[:place],
            data[:place] + data[place + length :],
            data[:place] + generator.randbytes(length) + data[place:],
            data[: place % 60] + generator.choice([b"\xff\xff\xff\xff", bytes(4)]) + data[place % 60 + 4 :],
            bytes(byte if generator.random() > 0.01 else generator.randrange(256) for byte in data),
        ]
    )


def test_damaged_files_are_read_or_refused_but_nothing_else(song: Path) -> None:
    data = song.read_bytes()[:60_000]
    for seed in range(12):
        song.write_bytes(mutated(data, random.Random(f"{seed} {song.name}")) or b"\x00")
        try:
            whole, _ = read(song)
        except UserError as refused:
            assert song.name in str(refused) and "\n" not in str(refused)
            continue
        assert np.isfinite(whole).all()
        np.testing.assert_array_equal(np.concatenate([whole[:, :0], *blocks(song, 5_000)], axis=1), whole)
