"""Vorbis is music up to its low-pass."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import fftconvolve, firwin

from scripts.released.music import decode_vorbis
from upscale.codec import CodecSpec, encode


@pytest.mark.parametrize(("bitrate", "cut_hz", "known"), [(128, None, 18_400), (256, 16_000, 15_300), (64, None, None)])
def test_vorbis_is_believed_up_to_its_low_pass_or_that_of_an_encoder_before(
    tmp_path: Path, bitrate: int, cut_hz: float | None, known: int | None
) -> None:
    wav = 0.1 * np.random.default_rng(0).standard_normal((2, 31 * 44_100))
    if cut_hz:
        wav = fftconvolve(wav, firwin(1023, cut_hz, fs=44_100)[None], mode="same", axes=1)
    for folder in ("package", "out"):
        (tmp_path / folder).mkdir()
    (tmp_path / "package" / "a tune.ogg").write_bytes(encode(wav.astype(np.float32), CodecSpec("vorbis", bitrate)))
    (tmp_path / "package" / "not music.ogg").write_bytes(b"OggS")
    songs = list(decode_vorbis.songs_in(tmp_path))
    assert songs == [("ogg_package__a_tune", tmp_path / "package" / "a tune.ogg")]
    decode_vorbis.decode(songs[0], tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == (["ogg_package__a_tune.flac"] if known else [])
    if known:
        song = tmp_path / "out" / "ogg_package__a_tune.flac"
        assert decode_vorbis.known_hz(song) == pytest.approx(known, abs=300)
        decoded = soundfile.read(song)[0].T
        assert 10 * np.log10(np.mean(wav**2) / np.mean((decoded - wav) ** 2)) > 1, "the same, in time"
