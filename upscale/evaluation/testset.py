"""What is evaluated: clips of clean music, each belonging to a song, read one at a time."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from upscale.audio import probe, read, resample
from upscale.codec.table import SAMPLE_RATES
from upscale.errors import UserError
from upscale.shards import ClipReader
from upscale.shards.clip import FORMATS
from upscale.shards.index import read_members

LOSSLESS = (".wav", ".flac", ".aif", ".aiff")
FALLBACK_RATE = 44_100


@dataclass(frozen=True)
class Clip:
    """`num_samples` from `start`, at their own sample rate. `song` groups clips for the statistics.

    `path` is an audio file, or a shard in which `name` is the clip's key.
    """

    song: str
    name: str
    path: Path
    start: int
    num_samples: int
    kind: str = ""  # of music, where the folder's TRACKS.tsv says it

    def load(self) -> tuple[np.ndarray, int]:
        """float32 `[C, T]` and its sample rate: the file's own, or 44.1 kHz where no codec knows it (96 kHz, say)."""
        wav, sample_rate = self._read()
        if sample_rate in SAMPLE_RATES:
            return wav, sample_rate
        return resample(wav, sample_rate, FALLBACK_RATE), FALLBACK_RATE

    def _read(self) -> tuple[np.ndarray, int]:
        if self.path.suffix != ".tar":
            return read(self.path, start=self.start, num_samples=self.num_samples)
        reader = _open_member(self.path, self.name)
        return reader.read(self.start, self.num_samples), reader.sample_rate

    def length(self) -> tuple[int, int]:
        """Samples of the whole song (or shard's clip) that this was cut from, and its sample rate."""
        if self.path.suffix == ".tar":
            reader = _open_member(self.path, self.name)
            return reader.num_samples, reader.sample_rate
        return _length(self.path)


def load_test_set(
    data: Path, split: str = "test", excerpt_seconds: float | None = None, max_songs: int | None = None
) -> list[Clip]:
    """The clips of a split of shards, or the songs in a folder of lossless files; of the first songs by name.

    `excerpt_seconds` takes that much from the middle of each clip or song; None takes the whole.
    """
    if not data.is_dir():
        raise UserError(f"data={data} is no folder; name one of lossless songs or of shards")
    shards = sorted(data.glob("*.tar")) or sorted((data / split).glob("*.tar"))
    if not shards and list(data.glob("*/*.tar")):
        splits = ", ".join(sorted({path.parent.name for path in data.glob("*/*.tar")}))
        raise UserError(f"{data} holds shards, but not of split={split}; choose from {splits}")
    clips = clips_in(shards) if shards else songs_in(data)
    songs = sorted({clip.song for clip in clips})[:max_songs]
    return [_middle(clip, excerpt_seconds) for clip in clips if clip.song in songs]


def _middle(clip: Clip, seconds: float | None) -> Clip:
    if seconds is None:
        return clip
    wanted = min(clip.num_samples, round(seconds * clip.length()[1]))
    return replace(clip, start=(clip.num_samples - wanted) // 2, num_samples=wanted)


def clips_in(shards: Sequence[Path]) -> list[Clip]:
    """Every clip of the shards, under the song that its JSON names."""
    clips = []
    for path in shards:
        for key, members in sorted(read_members(path).items()):
            if not any(ending in members for ending in FORMATS):
                continue
            song = str(json.loads(_member(path, key, ("json",)))["song"])
            clips.append(Clip(song, name=key, path=path, start=0, num_samples=_open_member(path, key).num_samples))
    if not clips:
        raise UserError(f"{shards[0].parent} holds shards without a clip in them")
    return clips


def _open_member(shard: Path, key: str) -> ClipReader:
    try:
        return ClipReader(memoryview(_member(shard, key, FORMATS)))
    except ValueError as error:
        raise UserError(f"{key} in {shard}: {error}") from error


def _member(shard: Path, key: str, endings: Sequence[str]) -> bytes:
    members = _members(shard).get(key, {})
    place = next((members[ending] for ending in endings if ending in members), None)
    if place is None:
        raise UserError(f"{shard} holds no {key}.{endings[0]}")
    offset, size = place
    with shard.open("rb") as file:
        file.seek(offset)
        return file.read(size)


_members = lru_cache(maxsize=16)(read_members)


def songs_in(folder: Path) -> list[Clip]:
    """The lossless files under a folder, by name: a song's name is its path inside the folder without its ending."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in LOSSLESS and path.is_file())
    if not paths:
        raise UserError(f"no lossless audio ({', '.join(LOSSLESS)}) and no shard (*.tar) under {folder}")
    _refuse_twins(folder, paths)
    kinds = kinds_in(folder)
    return [
        Clip(name := song_name(path, folder), name, path, 0, _length(path)[0], kinds.get(_relative(path, folder), ""))
        for path in paths
    ]


def kinds_in(folder: Path) -> dict[str, str]:
    """The column `kind` of `TRACKS.tsv` by its column `file` (a path inside the folder); empty where there is none."""
    path = folder / "TRACKS.tsv"
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        tracks = list(csv.DictReader(file, delimiter="\t"))
    return {track["file"]: track["kind"] or "" for track in tracks if track.keys() >= {"file", "kind"}}


def _length(path: Path) -> tuple[int, int]:
    info = probe(path)
    if info.bitrate is not None:
        raise UserError(f"{path} holds {info.codec}, which is lossy: a test set must be lossless")
    num_samples = info.num_samples if info.num_samples is not None else read(path)[0].shape[1]
    return num_samples, info.sample_rate


def song_name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _refuse_twins(folder: Path, paths: Sequence[Path]) -> None:
    seen: dict[str, Path] = {}
    for path in paths:
        twin = seen.setdefault(song_name(path, folder), path)
        if twin != path:
            raise UserError(f"{twin} and {path} have one name: results could not tell them apart; rename one")
