"""Other instruments in a tracker module: the samples change, and nothing but the samples."""

import struct

import numpy as np
import pytest

pytest.importorskip("mido")
from scripts.released.music import vary_module

WAV = (3000 * np.random.default_rng(0).standard_normal(4000)).astype("<i2")
NARROW = (WAV >> 8).astype("i1")


def mod() -> tuple[bytes, int, np.ndarray]:
    """Two patterns, one sample: content, where the sample begins, its values."""
    headers = struct.pack(">22sHBBHH", b"bell", len(NARROW) // 2, 0, 64, 0, 1) + bytes(30 * 30)
    orders = bytes([0, 1]) + bytes(126)
    content = bytes(20) + headers + bytes([2, 127]) + orders + b"M.K." + bytes(2 * 1024)
    return content + NARROW.tobytes(), len(content), NARROW


def s3m() -> tuple[bytes, int, np.ndarray]:
    """One unsigned sample of 16 bits behind one order."""
    header = bytearray(96)
    header[32:38], header[42:48] = struct.pack("<HHH", 1, 1, 0), struct.pack("<H4s", 2, b"SCRM")
    content = bytes(header) + bytes([255]) + struct.pack("<H", 7) + bytes(13)  # instrument at 7 * 16 = 112
    instrument = bytearray(80)
    instrument[0] = 1
    instrument[13:20] = struct.pack("<BHI", 0, 12, len(WAV))  # sample at 12 * 16 = 192
    instrument[31] = 4
    content += bytes(instrument)
    return content + (WAV.astype(np.int32) + 0x8000).astype("<u2").tobytes(), len(content), WAV


def xm() -> tuple[bytes, int, np.ndarray]:
    """One pattern, one instrument with one sample of 8 bits, stored as differences."""
    content = b"Extended Module: " + bytes(43) + struct.pack("<IHHHHHH", 20 + 256, 1, 0, 4, 1, 1, 0) + bytes(260)
    content += struct.pack("<IBHH", 9, 0, 64, 5) + bytes(5)
    content += struct.pack("<I22sBHI", 263, b"bell", 0, 1, 40) + bytes(263 - 33)
    content += struct.pack("<I10xB", len(NARROW), 0) + bytes(25)
    return content + np.diff(NARROW, prepend=np.int8(0)).tobytes(), len(content), NARROW


def it() -> tuple[bytes, int, np.ndarray]:
    """One signed sample of 16 bits, and one that is compressed."""
    content = b"IMPM" + bytes(28) + struct.pack("<HHHH", 2, 0, 2, 0) + bytes(152) + bytes([0, 255])
    content += struct.pack("<II", 202, 282)
    for flags in (1 | 2, 1 | 2 | 8):
        sample = bytearray(80)
        sample[:4], sample[18], sample[46] = b"IMPS", flags, 1
        sample[48:52], sample[72:76] = struct.pack("<I", len(WAV)), struct.pack("<I", 362)
        content += bytes(sample)
    return content + WAV.tobytes(), len(content), WAV


@pytest.mark.parametrize("make", [mod, s3m, xm, it])
def test_a_sample_is_found_and_varied_where_it_lies(make) -> None:
    content, start, wav = make()
    assert len(vary_module.samples_of(content)) == 1
    other = vary_module.varied(content, seed=1)
    assert other == vary_module.varied(content, seed=1) and len(other) == len(content)
    assert other[:start] == content[:start] and other != content
    (sample,) = vary_module.samples_of(other)
    assert sample.start == start and sample.end == len(content)
    stored = np.frombuffer(other, wav.dtype, len(wav), start)
    found = (
        np.cumsum(stored, dtype=wav.dtype) if sample.delta else stored ^ wav.dtype.type(-0x8000 if sample.offset else 0)
    )
    assert found.std() == pytest.approx(wav.std(), rel=0.1), "as loud as it was"
    assert np.corrcoef(found, wav)[0, 1] > 0.4, "the same sound, darker or coloured"


@pytest.mark.parametrize(
    ("make", "places"),
    [
        (mod, {48: struct.pack(">H", 100)}),  # words that are repeated
        (s3m, {112 + 20: struct.pack("<II", 50, 250), 112 + 31: bytes([4 | 1])}),
        (xm, {60 + 276 + 9 + 5 + 263 + 4: struct.pack("<II", 50, 200), 60 + 276 + 9 + 5 + 263 + 14: bytes([1])}),
        (it, {202 + 18: bytes([1 | 2 | 16]), 202 + 52: struct.pack("<II", 50, 250)}),
        (it, {202 + 18: bytes([1 | 2 | 32]), 202 + 64: struct.pack("<II", 50, 250)}),
    ],
)
def test_a_sample_with_a_loop_is_known(make, places: dict[int, bytes]) -> None:
    content, _, _ = make()
    others = [np.round(20_000 * np.sin(0.05 * np.arange(60_000))).astype("<i2")]
    assert vary_module.samples_of(content)[0].loop == 0
    looped = bytearray(content)
    for place, value in places.items():
        looped[place : place + len(value)] = value
    assert vary_module.samples_of(bytes(looped))[0].loop == 200
    for either in (content, bytes(looped)):
        assert any(vary_module.varied(either, seed, others) != vary_module.varied(either, seed) for seed in range(5))
        assert any(vary_module.varied(either, seed, others) == vary_module.varied(either, seed) for seed in range(9))


@pytest.mark.parametrize("loop", [2, 100, 256, 1500])
def test_a_synthetic_wave_fits_its_loop(loop: int) -> None:
    wav = vary_module.synthetic(WAV, loop, np.random.default_rng(loop)).astype(np.float64)
    assert len(wav) == len(WAV) and wav.std() == pytest.approx(WAV.std(), rel=0.2)
    np.testing.assert_allclose(wav[loop:], wav[:-loop], atol=1)


def test_another_recording_is_as_loud_and_ends_quietly() -> None:
    rng = np.random.default_rng(0)
    for length in (1000, 60_000):
        wav = vary_module.exchanged(WAV, (5000 * rng.standard_normal(length)).astype("<i2"), rng)
        assert len(wav) == len(WAV) and wav.dtype == np.dtype("<i2")
        assert np.abs(wav).max() == np.abs(WAV).max()
        assert np.abs(wav[-2:]).max() < 0.1 * np.abs(wav).max()


@pytest.mark.parametrize("make", [mod, s3m, xm, it])
def test_a_share_of_the_samples_falls_silent(make) -> None:
    content, start, wav = make()
    assert vary_module.varied(content, seed=1, silent=0) == vary_module.varied(content, seed=1)
    quiet = vary_module.varied(content, seed=1, silent=1)
    (sample,) = vary_module.samples_of(quiet)
    stored = np.frombuffer(quiet, wav.dtype, len(wav), start)
    assert quiet[:start] == content[:start]
    assert np.all(stored == stored[0]) and stored[0] == np.array(sample.offset).astype(wav.dtype)
    outcomes = {vary_module.varied(content, seed, silent=0.5) == vary_module.varied(content, seed) for seed in range(9)}
    assert outcomes == {True, False}


def test_what_is_no_module_is_named() -> None:
    with pytest.raises(ValueError, match="not a module"):
        vary_module.samples_of(bytes(5000))
    with pytest.raises(ValueError, match="damaged XM"):
        vary_module.samples_of(xm()[0][:80])
