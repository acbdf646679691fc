"""A new codec is one entry of the table: specs, draws, round trips, files and checks follow."""

import numpy as np
import pytest

from upscale.codec import CODECS, CodecSampler, CodecSpec, encode, roundtrip
from upscale.codec.table import Codec
from upscale.errors import UserError


def encode_steps(wav: np.ndarray, spec: CodecSpec, sample_rate: int) -> bytes:
    """A codec of so many steps as the spec has kbit/s."""
    return np.rint(wav * spec.bitrate).astype(np.int16).tobytes()


def degrade_steps(wav: np.ndarray, spec: CodecSpec, sample_rate: int) -> np.ndarray:
    steps = np.frombuffer(encode_steps(wav, spec, sample_rate), np.int16).reshape(wav.shape)
    return np.pad((steps / spec.bitrate).astype(np.float32), ((0, 0), (0, 100)))  # longer than it was, as a frame is


@pytest.fixture
def wav(monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Noise, beside a table with one codec more."""
    monkeypatch.setitem(CODECS, "steps", Codec(encode_steps, degrade_steps, bitrates=(8, 64)))
    return np.random.default_rng(0).uniform(-1, 1, (2, 500)).astype(np.float32)


def test_a_codec_in_the_table_does_round_trips_and_writes_files(wav: np.ndarray) -> None:
    coarse, fine = (roundtrip(wav, CodecSpec("steps", bitrate)) for bitrate in (8, 64))
    assert coarse.shape == fine.shape == wav.shape
    assert np.abs(fine - wav).max() < 1 / 64 < np.abs(coarse - wav).max() < 1 / 8
    assert len(encode(wav, CodecSpec("steps", 64))) == 2 * wav.size


def test_a_codec_in_the_table_is_drawn_and_checked(wav: np.ndarray) -> None:
    sampler = CodecSampler("steps", bitrates=[8, 64])
    assert {sampler.draw(seed) for seed in range(50)} == {CodecSpec("steps", 8), CodecSpec("steps", 64)}
    with pytest.raises(UserError, match="steps has no bitrate 96"):
        CodecSampler("steps", bitrates=[96])
    with pytest.raises(UserError, match="belong to mp3, not to steps"):
        CodecSpec("steps", 64, mode="abr")


def test_a_codec_in_the_table_that_returns_too_little_is_caught(
    wav: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CODECS, "steps", Codec(encode_steps, lambda wav, *_: wav[:, :10], bitrates=(8,)))
    with pytest.raises(RuntimeError, match="returned 10 samples of 500"):
        roundtrip(wav, CodecSpec("steps", 8))
