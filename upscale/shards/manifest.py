"""`manifest.json`: what a split holds and which settings made it."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from upscale import atomic
from upscale.errors import UserError

NAME = "manifest.json"


@dataclass(frozen=True)
class ShardEntry:
    """One shard as it was written."""

    name: str
    num_clips: int
    num_samples: int
    num_bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """One split. `songs` maps each song's identity to its number of clips."""

    split: str
    settings: dict[str, Any]
    shards: list[ShardEntry]
    songs: dict[str, int]

    @property
    def num_clips(self) -> int:
        return sum(shard.num_clips for shard in self.shards)

    @property
    def seconds(self) -> float:
        return sum(shard.num_samples for shard in self.shards) / self.settings["sample_rate"]

    def write(self, folder: Path) -> None:
        totals = {"num_clips": self.num_clips, "num_songs": len(self.songs), "seconds": round(self.seconds, 3)}
        write_json(folder / NAME, {"format": 1, **totals, **asdict(self)})


def parse_manifest(text: bytes | str, where: str) -> Manifest:
    """Raises UserError where `text` is not a manifest."""
    try:
        content = json.loads(text)
        shards = [ShardEntry(**entry) for entry in content["shards"]]
        settings = content["settings"]
        if not all(settings[name] > 0 for name in ("sample_rate", "segment_seconds")):
            raise ValueError("settings out of range")
        return Manifest(content["split"], settings, shards, content["songs"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{where}: is not a manifest of shards ({error}); prepare the shards again") from error


def read_manifest(folder: Path) -> Manifest:
    path = folder / NAME
    if not path.exists():
        raise UserError(f"{path}: no such file; make the shards with scripts/prepare_shards.py")
    return parse_manifest(path.read_bytes(), str(path))


def write_json(path: Path, content: Any) -> None:
    """Whole or not at all; the same content gives the same bytes."""
    text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    try:
        atomic.write_text(path, text)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror or error}); make room and run the same command again"
        ) from error


def file_hash(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
