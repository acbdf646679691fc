"""The round trip: aligned to the sample at every bitrate of every codec, nothing clean left in it, failures raise."""

import numpy as np
import pytest
import torch
from scipy.signal import chirp

from upscale.codec import CODECS, MP3_BITRATES, CodecSpec, encode, lame, roundtrip
from upscale.codec.container import decode_file
from upscale.codec.lame import VBR_BITRATES
from upscale.corpus.demo import compose
from upscale.errors import UserError

SAMPLE_RATE = 44_100
EVERY_BITRATE = [(codec, bitrate) for codec, entry in CODECS.items() for bitrate in entry.bitrates]


def lag(delayed: np.ndarray, reference: np.ndarray) -> int:
    """By how many samples one channel is behind another, to the nearest whole one."""
    size = 2 * reference.shape[-1]
    spectrum = np.fft.rfft(delayed, size) * np.conj(np.fft.rfft(reference, size))
    peak = int(np.argmax(np.fft.irfft(spectrum, size)))
    return peak if peak < size // 2 else peak - size


def sdr(reference: np.ndarray, estimate: np.ndarray) -> float:
    error = np.sum((reference - estimate) ** 2)
    return float(10 * np.log10(np.sum(reference**2) / max(error, 1e-20)))


@pytest.fixture(scope="module")
def music() -> np.ndarray:
    return compose(3, seconds=1.5)


@pytest.fixture(scope="module")
def signals(music: np.ndarray) -> dict[str, np.ndarray]:
    """One second each, stereo with two different sides."""
    clicks = np.zeros((2, SAMPLE_RATE), np.float32)
    clicks[0, 3_000::9_000] = 0.9
    clicks[1, 7_500::9_000] = 0.9
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    sweep = np.stack([chirp(time, 100, 1, 10_000, method="log"), chirp(time, 10_000, 1, 100, method="log")])
    return {"impulse": clicks, "chirp": (0.5 * sweep).astype(np.float32), "music": music[:, :SAMPLE_RATE]}


@pytest.mark.parametrize(("codec", "bitrate"), EVERY_BITRATE)
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("signal", ["impulse", "chirp", "music"])
def test_roundtrip_has_no_lag_at_any_bitrate(
    signals: dict[str, np.ndarray], codec: str, bitrate: int, channels: int, signal: str
) -> None:
    clean = signals[signal][:channels]
    degraded = roundtrip(clean, CodecSpec(codec, bitrate))
    assert degraded.shape == clean.shape and degraded.dtype == np.float32
    assert [lag(*sides) for sides in zip(degraded, clean, strict=True)] == [0] * channels


@pytest.mark.parametrize("stereo", ["joint", "plain"])
@pytest.mark.parametrize(("mode", "bitrate"), [("cbr", 96), ("abr", 128), ("vbr", 130)])
def test_roundtrip_has_no_lag_in_any_mode(music: np.ndarray, stereo: str, mode: str, bitrate: int) -> None:
    degraded = roundtrip(music, CodecSpec(bitrate=bitrate, mode=mode, stereo=stereo))
    assert [lag(*sides) for sides in zip(degraded, music, strict=True)] == [0, 0]


@pytest.mark.parametrize("sample_rate", [32_000, 48_000])
@pytest.mark.parametrize("codec", CODECS)
def test_roundtrip_has_no_lag_at_other_sample_rates(music: np.ndarray, codec: str, sample_rate: int) -> None:
    degraded = roundtrip(music, CodecSpec(codec, 128), sample_rate=sample_rate)
    assert degraded.shape == music.shape and lag(degraded[0], music[0]) == 0


@pytest.mark.parametrize("bitrate", MP3_BITRATES)
@pytest.mark.parametrize("channels", [1, 2])
def test_lame_without_container_equals_ffmpeg(music: np.ndarray, channels: int, bitrate: int) -> None:
    clean, spec = music[:channels], CodecSpec(bitrate=bitrate)
    by_ffmpeg = decode_file(encode(clean, spec))
    np.testing.assert_allclose(roundtrip(clean, spec), by_ffmpeg[:, : clean.shape[1]], atol=1e-6)


@pytest.mark.parametrize(
    "spec",
    [
        *(CodecSpec(bitrate=bitrate, mode="vbr") for bitrate in VBR_BITRATES),
        *(CodecSpec(bitrate=bitrate, mode="abr") for bitrate in (64, 128, 256)),
        *(CodecSpec(quality=quality) for quality in (2, 5, 7)),
        *(CodecSpec(bitrate=bitrate, stereo="plain") for bitrate in (64, 192)),
    ],
    ids=str,
)
def test_lame_without_container_equals_ffmpeg_in_every_mode(music: np.ndarray, spec: CodecSpec) -> None:
    by_ffmpeg = decode_file(encode(music, spec))
    np.testing.assert_allclose(roundtrip(music, spec), by_ffmpeg[:, : music.shape[1]], atol=1e-6)


@pytest.mark.parametrize("bitrate", [64, 320])
def test_default_quality_is_that_of_ffmpeg(music: np.ndarray, bitrate: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = roundtrip(music, CodecSpec(bitrate=bitrate))
    monkeypatch.setattr("upscale.codec.mp3._options", lambda spec: {})
    silent_about_quality = decode_file(encode(music, CodecSpec(bitrate=bitrate)))
    np.testing.assert_allclose(silent_about_quality[:, : music.shape[1]], expected, atol=1e-6)


def test_sdr_grows_with_the_bitrate(music: np.ndarray) -> None:
    for codec, entry in CODECS.items():
        chosen = (entry.bitrates[0], 128, entry.bitrates[-1])
        scores = [sdr(music, roundtrip(music, CodecSpec(codec, bitrate))) for bitrate in chosen]
        assert scores == sorted(scores) and scores[-1] - scores[0] > 3


def test_every_option_changes_the_result(music: np.ndarray) -> None:
    plain = roundtrip(music, CodecSpec(stereo="plain"))
    specs = [CodecSpec(), CodecSpec(mode="abr"), CodecSpec(quality=7), CodecSpec(first_bitrate=64)]
    results = [plain, *(roundtrip(music, spec) for spec in specs)]
    assert all(sdr(one, other) < 60 for i, one in enumerate(results) for other in results[:i])
    assert sdr(music, results[-1]) < sdr(music, results[1]) - 1  # 64 kbit/s lie under the 128


@pytest.mark.parametrize("first_offset", [0, 1, 575, 1_151])
def test_double_encode_has_no_lag(music: np.ndarray, first_offset: int) -> None:
    spec = CodecSpec(bitrate=128, first_bitrate=96, first_offset=first_offset)
    degraded = roundtrip(music, spec)
    assert degraded.shape == music.shape and lag(degraded[0], music[0]) == 0


@pytest.mark.parametrize("num_samples", [1, 2, 575, 1_105, 1_152, 1_153, 4_000])
@pytest.mark.parametrize(
    "spec",
    [
        CodecSpec(),
        CodecSpec(bitrate=245, mode="vbr"),
        CodecSpec(stereo="plain"),
        *map(CodecSpec, ("aac", "vorbis", "opus")),
    ],
    ids=str,
)
def test_roundtrip_keeps_any_length(music: np.ndarray, num_samples: int, spec: CodecSpec) -> None:
    assert roundtrip(music[:, :num_samples], spec).shape == (2, num_samples)


def test_roundtrip_keeps_the_end_of_a_clip(music: np.ndarray) -> None:
    for codec in CODECS:
        degraded = roundtrip(music[:, :SAMPLE_RATE], CodecSpec(codec, 256))
        assert sdr(music[:, SAMPLE_RATE - 1_000 : SAMPLE_RATE], degraded[:, -1_000:]) > 6, codec


def test_roundtrip_keeps_samples_beyond_full_scale(music: np.ndarray) -> None:
    loud = 3 * music / np.abs(music).max()
    degraded = roundtrip(loud, CodecSpec(bitrate=320))
    assert np.abs(degraded).max() > 2.5 and sdr(loud, degraded) > 15


def test_roundtrip_of_silence_is_silent() -> None:
    for codec in CODECS:
        assert np.abs(roundtrip(np.zeros((2, 5_000), np.float32), CodecSpec(codec))).max() < 1e-4


def test_roundtrip_of_a_tensor_is_a_tensor_and_changes_no_input(music: np.ndarray) -> None:
    tensor = torch.from_numpy(music.copy())
    degraded = roundtrip(tensor, CodecSpec())
    assert isinstance(degraded, torch.Tensor) and degraded.dtype == torch.float32
    np.testing.assert_array_equal(degraded.numpy(), roundtrip(music, CodecSpec()))
    np.testing.assert_array_equal(tensor.numpy(), music)
    assert encode(tensor, CodecSpec()) == encode(music, CodecSpec())


def test_roundtrip_leaves_no_clean_sample(music: np.ndarray) -> None:
    # Wherever the clean signal is not silent, real coding leaves an error.
    loud = np.abs(music) > 0.01
    for codec, bitrate in (("mp3", 320), ("aac", 256), ("vorbis", 320), ("opus", 256)):
        assert np.mean(roundtrip(music, CodecSpec(codec, bitrate))[loud] == music[loud]) < 1e-3


def test_failing_encoder_raises(music: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="LAME failed"):
        lame.encode_frames(music, CodecSpec(), sample_rate=1)
    monkeypatch.setattr(lame, "encode_frames", lambda *_: b"")
    with pytest.raises(RuntimeError, match="returned 0 samples"):
        roundtrip(music, CodecSpec())
    half = encode(music[:, :20_000], CodecSpec())
    monkeypatch.setattr(lame, "is_available", lambda: False)
    monkeypatch.setattr("upscale.codec.mp3.encode_file", lambda *_, **__: half)
    with pytest.raises(RuntimeError, match="returned 20000 samples"):
        roundtrip(music, CodecSpec())


def test_roundtrip_refuses_wrong_rates_shapes_and_values() -> None:
    with pytest.raises(UserError, match="22050"):
        roundtrip(np.zeros((1, 100), np.float32), CodecSpec(), sample_rate=22_050)
    for wav in (np.zeros((6, 100), np.float32), np.zeros(100, np.float32)):
        with pytest.raises(UserError, match="not"):
            roundtrip(wav, CodecSpec())
    with pytest.raises(UserError, match="finite"):
        encode(np.full((1, 100), np.nan, np.float32), CodecSpec())
