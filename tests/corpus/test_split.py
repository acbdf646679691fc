"""Splits: by song, stable, and never across data sets."""

from pathlib import Path

from upscale.corpus import demo
from upscale.corpus.split import assign_splits
from upscale.corpus.track import FileTrack


def track(dataset: str, artist: str, title: str, split: str | None = None, group: str = "") -> FileTrack:
    name = f"{artist} - {title}"
    return FileTrack(dataset, name, artist, title, "none", group or name, split, Path(f"{name}.wav"))


def splits(tracks, val_share=0.2, test_share=0.2, seed=0):
    return {(t.dataset, t.title): t.split for t in assign_splits(tracks, val_share, test_share, seed)}


def test_shares_are_kept_roughly_and_by_song():
    result = splits(demo.tracks(300, 1.0, seed=0))
    counts = {name: list(result.values()).count(name) for name in ("train", "val", "test")}
    assert 30 < counts["val"] < 90 and 30 < counts["test"] < 90


def test_adding_songs_moves_no_song():
    few, many = splits(demo.tracks(40, 1.0, seed=0)), splits(demo.tracks(80, 1.0, seed=0))
    assert few.items() <= many.items()
    assert splits(list(reversed(demo.tracks(40, 1.0, seed=0)))) == few
    assert splits(demo.tracks(40, 1.0, seed=0), seed=1) != few


def test_a_shared_song_lands_where_musdb18_has_it():
    tracks = [
        track("medleydb", "AlexanderRoss", "GoodbyeBolero"),
        track("medleydb", "MusicDelta", "Disco"),
        track("folder", "Zeno", "Signs"),
        track("folder", "skelpolu", "resurrection", group="album"),
        track("folder", "Nobody", "Alone", group="album"),
    ]
    result = splits(tracks, val_share=0.0, test_share=0.0)
    assert result["medleydb", "GoodbyeBolero"] == "val"
    assert result["medleydb", "Disco"] == "train"
    assert result["folder", "Signs"] == result["folder", "resurrection"] == "test"
    assert result["folder", "Alone"] == "train"


def test_a_song_that_no_list_names_is_matched_all_the_same():
    tracks = [track("musdb18hq", "New Band", "New Song", split="val"), track("medleydb", "NewBand", "NewSong")]
    assert splits(tracks, 0.0, 0.0) == {("musdb18hq", "New Song"): "val", ("medleydb", "NewSong"): "val"}


def test_one_song_in_two_folders_is_one_song():
    for seed in range(10):
        tracks = [track("folder", "A", f"{n}", group=f"x/{n}") for n in range(8)]
        tracks += [track("other", "a", f"{n}", group=f"y/{n}") for n in range(8)]
        result = splits(tracks, seed=seed)
        assert all(result["folder", f"{n}"] == result["other", f"{n}"] for n in range(8))


def test_an_album_stays_together():
    tracks = [track("folder", "", f"{album}{n}", group=f"album {album}") for album in "abcdefgh" for n in range(4)]
    result = splits(tracks)
    assert all(len({result["folder", f"{album}{n}"] for n in range(4)}) == 1 for album in "abcdefgh")
    assert len(set(result.values())) == 3


def test_no_split_is_left_empty():
    for seed in range(20):
        assert set(splits(demo.tracks(4, 1.0, seed=seed), 0.1, 0.1).values()) == {"train", "val", "test"}
    assert set(splits(demo.tracks(4, 1.0, seed=0), 0.1, 0.0).values()) == {"train", "val"}
    assert set(splits(demo.tracks(1, 1.0, seed=0)).values()) <= {"train", "val", "test"}
