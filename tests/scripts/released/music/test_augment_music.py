"""Pieces replay, fit into full scale and say how far up they are known."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from scripts.released.music import augment_music
from upscale.datamodule.pairs.folder import find_pairs, read_bitrates


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    folder = tmp_path / "songs"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("midi_a", "lmms_b", "mod_c", "loop_d"):
        soundfile.write(folder / f"{name}.flac", 0.1 * rng.standard_normal((12 * 44_100, 2)), 44_100)
    return folder


def kinds(songs: Path) -> dict[str, dict[str, list[Path]]]:
    split = augment_music.split_songs(augment_music.songs_in([songs]))
    return {name: augment_music.kinds_of(part) for name, part in split.items()}


def test_a_piece_of_the_pool_replays_and_its_mp3_lies_on_it(songs: Path, tmp_path: Path) -> None:
    for folder in ("once", "again"):
        for number in range(3):
            augment_music.write_piece(number, kinds(songs), as_it_is=0.4, out=tmp_path / folder)
    cleans = sorted((tmp_path / "once").glob("*/clean/*.wav"))
    assert len(cleans) == 3
    for path in cleans:
        (coded,) = path.parents[1].glob(f"degraded/*/{path.name}")
        for once in (path, coded):
            assert once.read_bytes() == (tmp_path / "again" / once.relative_to(tmp_path / "once")).read_bytes()
        wavs = [soundfile.read(each)[0] for each in (path, coded)]
        assert all(wav.shape == (augment_music.SECONDS * 44_100, 2) for wav in wavs)
        clean, degraded = (wav.mean(axis=1) for wav in wavs)
        assert np.argmax(np.fft.irfft(np.fft.rfft(clean) * np.fft.rfft(degraded).conj())) == 0
        assert 10 * np.log10(np.mean(clean**2) / np.mean((clean - degraded) ** 2)) > 0


def test_a_song_is_heard_in_one_split_only(tmp_path: Path) -> None:
    songs = [tmp_path / f"midi_{number}__{part}.flac" for number in range(200) for part in range(2)]
    split = augment_music.split_songs(songs)
    stems = {name: {song.stem.partition("__")[0] for song in part} for name, part in split.items()}
    assert not stems["train"] & stems["val"]
    assert 4 <= len(split["val"]) <= 40 and len(split["train"]) + len(split["val"]) == 400
    assert all(len(part) >= 1 for part in augment_music.split_songs(songs[:4]).values()), "also of few songs"


def test_a_piece_that_exists_is_not_made_again(songs: Path, tmp_path: Path) -> None:
    augment_music.write_piece(7, kinds(songs), as_it_is=1, out=tmp_path)
    assert augment_music.missing_pieces(range(6, 9), tmp_path) == [6, 8]


def test_every_variant_is_another_encoder_setting_and_its_bitrate_is_written(tmp_path: Path) -> None:
    specs = augment_music.variants()
    assert len(set(specs.values())) == len(specs) == len(augment_music.SHARES)
    assert (specs["v2"].mode, specs["abr112"].mode, specs["s128"].stereo) == ("vbr", "abr", "plain")
    augment_music.write_bitrates(tmp_path)
    bitrates = read_bitrates(tmp_path)
    assert (bitrates["l96"], bitrates["v2"], bitrates["64"]) == (96, 190, 64)


def test_the_pool_is_one_that_data_pairs_reads(songs: Path, tmp_path: Path) -> None:
    augment_music.write_bitrates(tmp_path)
    for number in range(2):
        augment_music.write_piece(number, kinds(songs) | {"val": []}, as_it_is=1, out=tmp_path)
    pairs = find_pairs(tmp_path / "train", read_bitrates(tmp_path))
    assert {pair.name for pair in pairs} == {"mix_000000_22050", "mix_000001_22050"}
    assert all(pair.bitrate == augment_music.variants()[pair.variant].bitrate for pair in pairs)


def test_no_piece_overshoots_whatever_is_drawn(songs: Path) -> None:
    found = augment_music.kinds_of(augment_music.songs_in([songs]))
    assert sorted(found) == ["lmms", "midi", "mod", "other"]
    pieces = [
        augment_music.mixed(found, 44_100, as_it_is=0.4, rng=np.random.default_rng(seed))[0] for seed in range(30)
    ]
    assert all(np.isfinite(piece).all() and 0.01 < np.abs(piece).max() <= 1 for piece in pieces)


def test_an_equaliser_gives_each_octave_its_gain_and_nothing_else() -> None:
    time = np.arange(44_100) / 44_100
    wav = np.stack([np.sin(2 * np.pi * 689 * time), np.sin(2 * np.pi * 5512 * time)], axis=1).astype(np.float32)
    assert np.allclose(augment_music.equalised(wav, np.zeros(6)), wav, atol=1e-5)
    octaves = np.log2(np.array([689, 5512]) / 22_050) + 8
    gains = np.array([0, -6, 3, 6, -3, 1])
    expected = np.interp(octaves, np.linspace(0, 8, 6), gains)
    louder = 20 * np.log10(augment_music.equalised(wav, gains).std(axis=0) / wav.std(axis=0))
    assert louder == pytest.approx(expected, abs=0.02)


def test_a_piece_knows_as_much_as_its_songs(songs: Path) -> None:
    with soundfile.SoundFile(songs / "ogg_e.flac", "w", 44_100, 2) as file:
        file.comment = "known up to 15000 Hz"
        file.write(0.1 * np.random.default_rng(1).standard_normal((12 * 44_100, 2)))
    rng = np.random.default_rng(0)
    assert augment_music.mixed({"other": [songs / "midi_a.flac"]}, 44_100, 1, rng)[1] == 22_050
    assert augment_music.mixed({"other": [songs / "ogg_e.flac"]}, 44_100, 1, rng)[1] == 15_000
    found = augment_music.kinds_of(augment_music.songs_in([songs]))
    known = {augment_music.mixed(found, 44_100, 0, np.random.default_rng(seed))[1] for seed in range(60)}
    assert 22_050 in known and any(0.92 * 15_000 <= hz < 15_000 for hz in known), "slower, and lower"
