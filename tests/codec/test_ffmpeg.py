"""The round trip against what FFmpeg's command line gives: `ffmpeg -i a.wav -b:a 128k a.mp3; ffmpeg -i a.mp3 b.wav`."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from upscale.codec import MP3_BITRATES, CodecSpec, encode, roundtrip
from upscale.corpus.demo import compose

pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the ffmpeg command line")
SAMPLE_RATE = 44_100


@pytest.fixture(scope="module")
def music() -> np.ndarray:
    """A second on the 16-bit grid, so that both ways encode the same numbers."""
    return (np.rint(compose(4, seconds=1.0) * 2**15) / 2**15).astype(np.float32)


def ffmpeg(*arguments: str | Path) -> None:
    subprocess.run(["ffmpeg", "-y", "-loglevel", "error", *map(str, arguments)], check=True)


def by_command_line(tmp_path: Path, clean: np.ndarray, *options: str) -> np.ndarray:
    """Two processes and three files, as the original did it."""
    source, middle, result = (tmp_path / name for name in ("a.wav", "a.mp3", "b.wav"))
    soundfile.write(source, np.rint(clean.T * 2**15).astype(np.int16), SAMPLE_RATE)
    ffmpeg("-i", source, *options, middle)
    ffmpeg("-i", middle, "-c:a", "pcm_f32le", result)
    return soundfile.read(result, dtype="float32", always_2d=True)[0].T


def sdr(reference: np.ndarray, estimate: np.ndarray) -> float:
    return float(10 * np.log10(np.sum(reference**2) / max(np.sum((reference - estimate) ** 2), 1e-20)))


# Two processes a case: the fast tests keep one bitrate that stays joint and one where LAME alone would not.
EVERY_CASE = [
    pytest.param(
        channels, bitrate, marks=[] if (channels, bitrate) in {(1, 128), (2, 64), (2, 192)} else pytest.mark.slow
    )
    for bitrate in MP3_BITRATES
    for channels in (1, 2)
]


@pytest.mark.parametrize(("channels", "bitrate"), EVERY_CASE)
def test_roundtrip_equals_the_ffmpeg_command(tmp_path: Path, music: np.ndarray, channels: int, bitrate: int) -> None:
    clean = music[:channels]
    expected = by_command_line(tmp_path, clean, "-b:a", f"{bitrate}k")
    degraded = roundtrip(clean, CodecSpec(bitrate=bitrate))
    assert expected.shape == degraded.shape
    # Two builds of one LAME version agree to the last bit nearly always; where they part (rounding that tips a
    # decision), both are equally far from clean and much closer to each other.
    apart, expected_sdr, degraded_sdr = sdr(expected, degraded), sdr(clean, expected), sdr(clean, degraded)
    assert apart > 100 or (apart > degraded_sdr + 3 and abs(expected_sdr - degraded_sdr) < 0.3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "options"),
    [
        (CodecSpec(bitrate=190, mode="vbr"), ["-q:a", "2"]),
        (CodecSpec(bitrate=128, mode="abr"), ["-abr", "1", "-b:a", "128k"]),
        (CodecSpec(bitrate=192, stereo="plain"), ["-joint_stereo", "0", "-b:a", "192k"]),
        (CodecSpec(bitrate=128, quality=7), ["-compression_level", "7", "-b:a", "128k"]),
    ],
    ids=["vbr", "abr", "plain", "fast"],
)
def test_modes_and_qualities_equal_the_ffmpeg_options(
    tmp_path: Path, music: np.ndarray, spec: CodecSpec, options: list[str]
) -> None:
    assert sdr(by_command_line(tmp_path, music, *options), roundtrip(music, spec)) > 60


@pytest.mark.parametrize("num_samples", [1_153, 11_521, 11_540, 11_566, 11_567, 20_000])
def test_encoded_file_has_its_exact_length_for_ffmpeg(tmp_path: Path, music: np.ndarray, num_samples: int) -> None:
    # FFmpeg's own files are up to 46 samples too long here.
    (tmp_path / "a.mp3").write_bytes(encode(music[:, :num_samples], CodecSpec()))
    ffmpeg("-i", tmp_path / "a.mp3", tmp_path / "a.wav")
    assert soundfile.info(tmp_path / "a.wav").frames == num_samples
