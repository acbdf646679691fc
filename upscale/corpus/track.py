"""A song of any source: its artist and title, the group that decides its split, and its samples."""

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from upscale import audio


@dataclass(frozen=True)
class Track:
    """One song of one data set. Subclasses know where its samples are and how to recognise them.

    `name` is unique within the data set (a relative path). `group` decides the split: songs of one group stay together.
    `split` is set where the data set itself fixes it. `is_composed`: the program made the song, so it is neither
    silent nor lossy nor damaged and need not be analysed.
    """

    is_composed: ClassVar[bool] = False

    dataset: str
    name: str
    artist: str
    title: str
    licence: str
    group: str
    split: str | None = None

    @property
    def identity(self) -> str:
        """The same for the same song in another data set; unique where the artist is not known."""
        return identity(self.artist, self.title) if self.artist else f"{self.dataset}|{self.group}"

    @property
    def label(self) -> str:
        """Its name in messages."""
        return f"{self.dataset}: {self.name}"

    def fingerprint(self) -> list[Any]:
        """Plain values that change with the samples, found without decoding; equal ones keep finished shards."""
        raise NotImplementedError

    def info(self) -> tuple[int, int]:
        """Sample rate and number of samples, without decoding."""
        raise NotImplementedError

    def read(self, start: int, num_samples: int) -> np.ndarray:
        """Samples `start : start + num_samples` at the track's own rate, float32 `[C, T]`; a damaged file raises."""
        raise NotImplementedError


@dataclass(frozen=True)
class FileTrack(Track):
    """A song in an audio file."""

    path: Path = Path()

    def fingerprint(self) -> list[Any]:
        """With the size of the file, not its date: a copy is the same song."""
        return [self.dataset, self.name, self.split, self.path.stat().st_size]

    def info(self) -> tuple[int, int]:
        info = audio.probe(self.path)
        return info.sample_rate, info.num_samples or 0

    def read(self, start: int, num_samples: int) -> np.ndarray:
        wav, _ = audio.read(self.path, start, num_samples)
        return wav


def identity(artist: str, title: str) -> str:
    """Letters and digits alone: `MusicDelta`, `80sRock` and `Music Delta`, `80's Rock` are one song.

    >>> identity("Johnny Lokke", "Promises & Lies") == identity("JohnnyLokke", "PromisesAndLies")
    True
    """
    return f"{_plain(artist)}|{_plain(title)}"


def _plain(text: str) -> str:
    text = unicodedata.normalize("NFKD", text.casefold().replace("&", "and"))
    return re.sub(r"[\W_]", "", "".join(char for char in text if not unicodedata.combining(char)))


def split_name(stem: str) -> tuple[str, str]:
    """`Artist - Title`, with or without a track number before it; the artist is empty where the name holds none.

    >>> split_name("03 - Skelpolu - Together Alone")
    ('Skelpolu', 'Together Alone')
    """
    parts = [part.strip() for part in re.split(r"\s+-\s+", stem) if part.strip()]
    if len(parts) > 1 and re.fullmatch(r"[\d.]+", parts[0]):
        parts = parts[1:]
    if len(parts) < 2:
        return "", parts[0] if parts else stem
    return parts[0], " - ".join(parts[1:])
