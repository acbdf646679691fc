"""Which song is drawn to train on: first a kind of music, by what the song's name begins with, then a song of it."""

from collections.abc import Iterable
from typing import TypeVar

from numpy.random import Generator

KINDS = {"midi": 0.4, "lmms": 0.27, "mod": 0.23}  # how often each is drawn
OTHER_KINDS = 0.1  # all that is not named above, together

Song = TypeVar("Song")


def by_kind(songs: Iterable[tuple[str, Song]]) -> dict[str, list[Song]]:
    """Name and song, in pairs, to the songs of each kind in the order of their names."""
    kinds: dict[str, list[Song]] = {}
    for name, song in sorted(songs, key=lambda pair: pair[0]):
        kind = name.split("_")[0]
        kinds.setdefault(kind if kind in KINDS else "other", []).append(song)
    return kinds


def draw(kinds: dict[str, list[Song]], rng: Generator) -> Song:
    """A kind of those there are, then any song of it."""
    shares = [KINDS.get(kind, OTHER_KINDS) for kind in kinds]
    songs = list(kinds.values())[rng.choice(len(shares), p=[share / sum(shares) for share in shares])]
    return songs[rng.integers(len(songs))]
