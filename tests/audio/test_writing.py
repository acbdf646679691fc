"""Writing: what was written is read back, dither is dither, and a failure leaves nothing."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from upscale.audio import Writer, read, write
from upscale.errors import UserError

SAMPLE_RATE = 44_100


def noise(num_samples: int = 20_000, level: float = 0.9) -> np.ndarray:
    return np.random.default_rng(0).uniform(-level, level, (2, num_samples)).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "subtype", "error"),
    [
        ("a.wav", "PCM_16", 1.5 / 2**15),  # half a step of rounding, one of dither
        ("a.wav", "PCM_24", 0.5 / 2**23),
        ("a.wav", "FLOAT", 0.0),
        ("a.flac", "PCM_16", 1.5 / 2**15),
        ("a.flac", "PCM_24", 0.5 / 2**23),
        ("a.aiff", "PCM_16", 1.5 / 2**15),
        ("a.aif", "FLOAT", 0.0),
    ],
)
def test_what_was_written_is_read_back(tmp_path: Path, name: str, subtype: str, error: float) -> None:
    wav = noise()
    write(tmp_path / name, wav, SAMPLE_RATE, subtype=subtype)
    result, sample_rate = read(tmp_path / name)
    assert sample_rate == SAMPLE_RATE and soundfile.info(tmp_path / name).subtype == subtype
    np.testing.assert_allclose(result, wav, atol=error + 1e-9, rtol=0)
    assert os.listdir(tmp_path) == [name]


def test_default_formats_keep_more_than_16_bits(tmp_path: Path) -> None:
    for name, subtype in (("a.wav", "FLOAT"), ("a.flac", "PCM_24")):
        write(tmp_path / name, noise(), SAMPLE_RATE)
        assert soundfile.info(tmp_path / name).subtype == subtype


@pytest.mark.parametrize(("name", "subtype"), [("a.wav", "PCM_16"), ("a.wav", "FLOAT"), ("a.flac", "PCM_16")])
def test_blocks_and_wholes_give_the_same_bytes(tmp_path: Path, name: str, subtype: str) -> None:
    wav = noise()
    write(tmp_path / f"whole_{name}", wav, SAMPLE_RATE, subtype=subtype, seed=5)
    with Writer(tmp_path / f"blocks_{name}", SAMPLE_RATE, 2, subtype=subtype, seed=5) as writer:
        for start in range(0, wav.shape[1], 777):
            writer.write(wav[:, start : start + 777])
    assert (tmp_path / f"whole_{name}").read_bytes() == (tmp_path / f"blocks_{name}").read_bytes()


def test_dither_is_triangular_and_turns_distortion_into_noise(tmp_path: Path) -> None:
    # A tone of 0.4 steps would vanish in rounding. TPDF: total error variance 1/4 step², whatever the signal.
    steps = 0.4 * np.sin(2 * np.pi * 1_000 * np.arange(200_000) / SAMPLE_RATE)
    wav = (steps / 2**15).astype(np.float32)[None]
    write(tmp_path / "a.wav", wav, SAMPLE_RATE, subtype="PCM_16", seed=1)
    error = (read(tmp_path / "a.wav")[0] - wav)[0] * 2**15
    assert np.var(error) == pytest.approx(0.25, rel=0.03)
    assert abs(np.mean(error)) < 0.01 and abs(np.corrcoef(error, steps)[0, 1]) < 0.01
    write(tmp_path / "b.wav", wav, SAMPLE_RATE, subtype="PCM_16", seed=2)
    assert (tmp_path / "a.wav").read_bytes() != (tmp_path / "b.wav").read_bytes()


def test_integers_clip_at_full_scale_and_floats_do_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    wav = np.array([[1.5, -1.5, 0.0]], np.float32)
    write(tmp_path / "a.wav", wav, SAMPLE_RATE, subtype="PCM_24")
    np.testing.assert_allclose(read(tmp_path / "a.wav")[0], [[1.0, -1.0, 0.0]], atol=2e-7)
    assert "a.wav: 2 samples beyond full scale were clipped" in caplog.text
    write(tmp_path / "b.wav", wav, SAMPLE_RATE)
    np.testing.assert_array_equal(read(tmp_path / "b.wav")[0], wav)


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    write(path, noise(), SAMPLE_RATE)
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt), Writer(path, SAMPLE_RATE, 2) as writer:
        writer.write(noise())
        raise KeyboardInterrupt
    with pytest.raises(ValueError, match="not finite"):
        write(path, np.full((2, 100), np.nan, np.float32), SAMPLE_RATE)
    with pytest.raises(ValueError, match="expected"), Writer(path, SAMPLE_RATE, 2) as writer:
        writer.write(noise()[:1])
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["a.flac"]


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file may grow beyond 50,000 bytes: writing fails as on a full disk."""
    resource = pytest.importorskip("resource")
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
@pytest.mark.parametrize("num_samples", [14_000, 60_000])  # fails at the end, and on the way
def test_a_full_disk_is_reported_and_leaves_nothing(
    tmp_path: Path, full_disk: None, name: str, num_samples: int
) -> None:
    with pytest.raises(UserError, match=f"{name}: cannot be written \\(File too large\\)"):
        write(tmp_path / name, noise(num_samples), SAMPLE_RATE, subtype="PCM_16")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "sample_rate", "channels", "subtype", "message"),
    [
        ("a.mp3", SAMPLE_RATE, 2, None, "can write .wav, .flac"),
        ("a.flac", SAMPLE_RATE, 2, "FLOAT", "cannot be FLOAT"),
        ("a.flac", SAMPLE_RATE, 20, None, "20 channels"),
        ("a.wav", 0, 2, None, "0 Hz"),
        ("missing/a.wav", SAMPLE_RATE, 2, None, "No such file or directory"),
    ],
)
def test_what_cannot_be_written_is_refused(
    tmp_path: Path, name: str, sample_rate: int, channels: int, subtype: str | None, message: str
) -> None:
    with pytest.raises(UserError, match=message), Writer(tmp_path / name, sample_rate, channels, subtype=subtype):
        pass
    assert os.listdir(tmp_path) == []


def test_an_empty_flac_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be empty"):
        write(tmp_path / "a.flac", np.zeros((2, 0), np.float32), SAMPLE_RATE)
    write(tmp_path / "a.wav", np.zeros((2, 0), np.float32), SAMPLE_RATE)
    assert os.listdir(tmp_path) == ["a.wav"]
