"""Data sets as people have them on disk, and which song is which."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from upscale.corpus import folder, medleydb, musdb18hq
from upscale.corpus.sources import SOURCES, find_tracks
from upscale.corpus.track import Track, identity, split_name
from upscale.errors import UserError
from upscale.shards.prepare import prepare


def test_musdb18hq_is_found_inside_a_parent_folder(tmp_path, touch):
    for parent in ("", "datasets/musdb18hq"):
        root = tmp_path / f"root{len(parent)}"
        for song in ("train/Music Delta - Disco", "train/ANiMAL - Rockshow", "test/Zeno - Signs"):
            touch(root / parent / song / "mixture.wav")
            touch(root / parent / song / "vocals.wav")
        splits = {track.title: track.split for track in musdb18hq.tracks(root)}
        assert splits == {"Disco": "train", "Rockshow": "val", "Signs": "test"}


def test_musdb18hq_lists_have_their_official_lengths():
    splits = musdb18hq.official_splits()
    assert sum(split == "test" for split in splits.values()) == 50
    assert sum(split == "val" for split in splits.values()) == 14
    assert len(musdb18hq.MEDLEYDB_SONGS) == 46
    assert splits[identity("AlexanderRoss", "GoodbyeBolero")] == "val"


@pytest.mark.parametrize("parent", ["V1", "V2", "Audio", "MedleyDB/V1"])
def test_medleydb_takes_mixes_without_stems(tmp_path, touch, parent):
    song = tmp_path / parent / "MusicDelta_80sRock"
    touch(song / "MusicDelta_80sRock_MIX.wav")
    touch(song / "MusicDelta_80sRock_STEMS" / "MusicDelta_80sRock_STEM_01.wav")
    touch(song / "MusicDelta_80sRock_STEMS" / "Odd_MIX.wav")
    touch(song / "._MusicDelta_80sRock_MIX.wav")
    (track,) = medleydb.tracks(tmp_path)
    assert (track.artist, track.title) == ("MusicDelta", "80sRock")
    assert track.identity == identity("Music Delta", "80s Rock")


def test_identity_matches_every_shared_song_by_its_medleydb_name():
    """MedleyDB writes artist and title in one word each."""
    for song in musdb18hq.MEDLEYDB_SONGS:
        artist, title = split_name(song)
        squeezed = ["".join(filter(str.isalnum, name)) for name in (artist, title)]
        assert identity(*squeezed) in musdb18hq.official_splits()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("Johnny Lokke", "Promises & Lies"), ("JohnnyLokke", "PromisesAndLies")),
        (("Bjork", "Joga"), ("Björk", "Jóga")),
        (("Mu", "Too  Bright"), ("MU", "too-bright")),
    ],
)
def test_identity_ignores_spelling(one, other):
    assert identity(*one) == identity(*other)


def test_identity_of_different_songs_differs():
    assert identity("Music Delta", "Rock") != identity("Music Delta", "Rockabilly")
    assert identity("Music", "Delta Rock") != identity("Music Delta", "Rock")


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("Mu - Too Bright", ("Mu", "Too Bright")),
        ("07 - Mu - Too Bright", ("Mu", "Too Bright")),
        ("Jay-Z - A - B", ("Jay-Z", "A - B")),
        ("untitled", ("", "untitled")),
        ("05 - untitled", ("", "untitled")),
    ],
)
def test_split_name_finds_artist_and_title(stem, expected):
    assert split_name(stem) == expected


def test_folder_takes_lossless_files_at_any_depth(tmp_path, touch, caplog):
    for name in ("a.wav", "x/b.FLAC", "x/y/c.aiff", "x/song, = [1] (é).wav", ".hidden.wav"):
        touch(tmp_path / name)
    (tmp_path / "old.mp3").write_bytes(b"not clean")
    (tmp_path / "notes.txt").write_text("no audio")
    names = [track.name for track in folder.tracks(tmp_path)]
    assert names == ["a.wav", "x/b.FLAC", "x/song, = [1] (é).wav", "x/y/c.aiff"]
    assert "1 lossy" in caplog.text


def test_folder_groups_songs_by_album(tmp_path, touch):
    for name in ("one/a.wav", "one/b.wav", "two/c.wav"):
        touch(tmp_path / name)
    assert [track.group for track in folder.tracks(tmp_path, group="album")] == ["one", "one", "two"]
    assert len({track.identity for track in folder.tracks(tmp_path, group="song")}) == 3


@pytest.mark.parametrize(
    ("sources", "roots", "message"),
    [
        (["flder"], {}, "'flder' is unknown"),
        (["folder"], {}, "add roots.folder=DIR"),
        (["folder"], {"folder": "/no/such"}, "no such folder"),
        (["musdb18hq"], {"musdb18hq": "conf"}, "holds no train/"),
        ([], {}, "no song"),
    ],
)
def test_find_tracks_explains_mistakes(sources, roots, message):
    with pytest.raises(UserError, match=message):
        find_tracks(sources, roots, group="song", num_demo_songs=1, demo_seconds=1.0, seed=0)


@dataclass(frozen=True)
class Hum(Track):
    """Where there is no file, a track says itself how it is to be recognised."""

    hertz: float = 50.0

    def fingerprint(self):
        return [self.name, self.hertz]

    def info(self):
        return 44_100, 44_100

    def read(self, start, num_samples):
        time = np.arange(start, min(start + num_samples, 44_100)) / 44_100
        return np.sin(2 * np.pi * self.hertz * time, dtype=np.float32)[None]


def test_a_source_in_the_table_is_found_split_and_analysed(tmp_path, touch, monkeypatch):
    hums = [Hum("hum", f"hum {hertz}", "", "", "CC0-1.0", f"{hertz}", hertz=hertz) for hertz in (50.0, 60.0, 400.0)]
    monkeypatch.setitem(SOURCES, "hum", lambda options: hums)
    settings = {"segment_seconds": 0.5, "min_seconds": 0.5, "workers": 1, "channels": 1}
    summary = prepare(tmp_path / "shards", sources=["hum"], **settings)
    assert sum(totals["songs"] for totals in summary.splits.values()) == 3 and not summary.broken
    assert prepare(tmp_path / "shards", sources=["hum"], **settings) == summary
    hums[0] = replace(hums[0], hertz=51.0)
    with pytest.raises(UserError, match="made with another inputs"):
        prepare(tmp_path / "shards", sources=["hum"], **settings)
