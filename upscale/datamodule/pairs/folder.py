"""Pairs in a folder.

FOLDER/clean/NAME.*                one file a song, at any depth
FOLDER/degraded/NAME.*             its degraded version,
FOLDER/degraded/VARIANT/NAME.*     or several: a variant named as a number is its bitrate in kbit/s
FOLDER/pairs.csv or pairs.yaml     bitrates of other variants or files: `v2,190` or `v2: 190`
"""

import csv
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml

from upscale import audio
from upscale.datamodule.pairs.songs import Version
from upscale.errors import UserError

SIDES = ("clean", "degraded")
SUFFIXES = {".wav", ".w64", ".flac", ".aif", ".aiff", ".caf", ".au", ".mp3", ".mp2", ".m4a", ".aac", ".ac3"}
SUFFIXES |= {".ogg", ".oga", ".opus", ".wma", ".wv", ".ape", ".mpc", ".tta", ".dsf"}
MOST_NAMED = 5

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FilePair:
    """The files of one pair. `name` is the path below `clean/` without its suffix."""

    name: str
    variant: str
    bitrate: float
    clean: Path
    degraded: Path


@dataclass(frozen=True)
class AlignedPair:
    """A pair that was checked: from which sample each side is used, and how many are left of both."""

    pair: FilePair
    clean_start: int
    degraded_start: int
    num_samples: int
    sign: int = 1  # -1: the degraded side is turned to the clean side's polarity


@dataclass
class FolderPairs:
    """The `PairSource` of files."""

    names: list[str] = field(default_factory=list)
    versions: list[list[Version]] = field(default_factory=list)
    files: list[list[AlignedPair]] = field(default_factory=list)

    @classmethod
    def of(cls, pairs: Sequence[AlignedPair]) -> "FolderPairs":
        """Songs in the order of their names."""
        songs: dict[str, list[AlignedPair]] = {}
        for aligned in sorted(pairs, key=lambda aligned: (aligned.pair.name, aligned.pair.variant)):
            songs.setdefault(aligned.pair.name, []).append(aligned)
        versions = [
            [Version(file.pair.variant, file.pair.bitrate, file.num_samples) for file in files]
            for files in songs.values()
        ]
        return cls(list(songs), versions, list(songs.values()))

    def read_clean(self, song: int, version: int, start: int, num_samples: int) -> np.ndarray:
        file = self.files[song][version]
        return _read(file.pair.clean, file.clean_start + start, num_samples)

    def read_degraded(self, song: int, version: int, start: int, num_samples: int) -> np.ndarray:
        file = self.files[song][version]
        wav = _read(file.pair.degraded, file.degraded_start + start, num_samples)
        return -wav if file.sign < 0 else wav

    def describe(self, song: int) -> str:
        return str(self.files[song][0].pair.clean)


def _read(path: Path, start: int, num_samples: int) -> np.ndarray:
    wav, _ = audio.read(path, start, num_samples)
    if wav.shape[1] != num_samples:
        raise ValueError(f"{path}: ends after {start + wav.shape[1]} of {start + num_samples} samples")
    return wav


def find_pairs(folder: Path, bitrates: dict[str, float]) -> list[FilePair]:
    """The pairs of `folder/clean` and `folder/degraded`. Files without a partner are counted and named in the log.

    Raises UserError where a side is missing or nothing has a partner. `bitrates`: see `read_bitrates`.
    """
    clean, degraded = (_audio_files(folder, side) for side in SIDES)
    pairs, alone = [], []
    for name, path in degraded.items():
        variant, _, rest = name.partition("/")
        if name in clean:
            variant, song = "", name
        elif rest in clean:
            song = rest
        else:
            alone.append(f"degraded/{name}")
            continue
        pairs.append(FilePair(song, variant, _bitrate(name, variant, bitrates), clean[song], path))
    alone += [f"clean/{name}" for name in clean.keys() - {pair.name for pair in pairs}]
    if not pairs:
        raise UserError(
            f"{folder} holds no pairs: no file of degraded/ (such as {next(iter(degraded))}) has the name of one in "
            f"clean/ (such as {next(iter(clean))}); names must be equal up to their suffix"
        )
    if alone:
        named = ", ".join(sorted(alone)[:MOST_NAMED]) + (", ..." if len(alone) > MOST_NAMED else "")
        logger.warning("%s: %d files have no partner and are left out: %s", folder, len(alone), named)
    return pairs


def _audio_files(folder: Path, side: str) -> dict[str, Path]:
    """Path below `side` without suffix -> file."""
    root = folder / side
    if not root.is_dir():
        raise UserError(f"{folder} has no folder {side}/; pairs need clean/ and degraded/ with files of equal names")
    files: dict[str, Path] = {}
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file():
            files.setdefault(path.relative_to(root).with_suffix("").as_posix(), path)
    if not files:
        raise UserError(f"{root} holds no audio file; pairs need clean/ and degraded/ with files of equal names")
    return files


def _bitrate(name: str, variant: str, bitrates: dict[str, float]) -> float:
    if name in bitrates or variant in bitrates:
        return bitrates.get(name, bitrates.get(variant, 0.0))
    return float(variant) if variant.isdigit() else 0.0


def read_bitrates(folder: Path) -> dict[str, float]:
    """kbit/s by variant, or by path below `degraded/` without suffix: from `pairs.csv` or `pairs.yaml`, if any."""
    for path in (folder / "pairs.csv", folder / "pairs.yaml"):
        if not path.is_file():
            continue
        try:
            text = path.read_text(encoding="utf-8")
            rows = _csv_rows(text) if path.suffix == ".csv" else list((yaml.safe_load(text) or {}).items())
            return {str(name): float(value) for name, value in rows}
        except (OSError, ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"{path}: cannot be read ({reason}); write one line for each variant: v2,190") from error
    return {}


def _csv_rows(text: str) -> list[tuple[str, str]]:
    rows = [(row[0].strip(), row[1].strip()) for row in csv.reader(text.splitlines()) if len(row) > 1]
    return [row for row in rows if row[1] != "bitrate"]  # a line of titles
