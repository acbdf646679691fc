"""Reading shards back: everything that can be wrong with a folder of shards, found before a training run finds it."""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from upscale.corpus.split import SPLITS
from upscale.errors import UserError
from upscale.shards.clip import FORMATS, ClipReader
from upscale.shards.cutting import SAMPLE_RATE
from upscale.shards.index import read_members
from upscale.shards.jobs import num_cores, run_jobs
from upscale.shards.manifest import NAME, Manifest, read_manifest

REQUIRED = ("dataset", "licence", "song", "split", "start_seconds", "track")


@dataclass
class ShardCheck:
    """What one shard really holds. `sounds` maps a hash of the clean samples to a clip's key."""

    path: Path
    faults: list[str] = field(default_factory=list)
    num_clips: int = 0
    num_samples: int = 0
    peak: float = 0.0
    songs: Counter[str] = field(default_factory=Counter)
    keys: list[str] = field(default_factory=list)
    sounds: dict[str, str] = field(default_factory=dict)
    sha256: str = ""


@dataclass
class SplitCheck:
    """One row of the table."""

    split: str
    num_shards: int = 0
    num_clips: int = 0
    seconds: float = 0.0
    songs: set[str] = field(default_factory=set)
    sounds: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def verify(root: str | Path, workers: int | None = None) -> list[SplitCheck]:
    """Read back every clip of `root/{train,val,test}`: counts, hashes, lengths, rates, levels, leaks between splits."""
    root = Path(root)
    folders = [root / split for split in SPLITS if any((root / split).glob("*.tar")) or (root / split / NAME).exists()]
    if not folders:
        raise UserError(f"{root} holds no shards; make them with scripts/prepare_shards.py out={root}")
    paths = [path for folder in folders for path in sorted(folder.glob("*.tar"))]
    checks = dict(run_jobs(check_shard, paths, workers or num_cores(), "reading back"))
    rows = [_check_split(folder, [checks[path] for path in paths if path.parent == folder]) for folder in folders]
    _check_leaks(rows)
    return rows


def check_shard(path: Path) -> ShardCheck:
    """Every member of one tar."""
    check = ShardCheck(path)
    try:
        members = read_members(path)
        data = memoryview(path.read_bytes())
    except (UserError, OSError) as error:
        check.faults.append(str(error))
        return check
    check.sha256 = hashlib.sha256(data).hexdigest()
    for key, places in members.items():
        content = {ending: data[offset : offset + size] for ending, (offset, size) in places.items()}
        try:
            _check_clip(key, content, path.parent.name, check)
        except (ValueError, KeyError) as error:
            check.faults.append(f"{path}: clip {key}: {error}")
    return check


def _check_clip(key: str, content: dict[str, memoryview], split: str, check: ShardCheck) -> None:
    clean_endings = [ending for ending in FORMATS if ending in content]
    if len(clean_endings) != 1:
        raise ValueError(f"holds {len(clean_endings)} clean clips instead of one (has {', '.join(sorted(content))})")
    clean = _read(content[clean_endings[0]])
    description = _description(content)
    if description["split"] != split:
        check.faults.append(f"{check.path}: clip {key}: belongs to {description['split']} but lies in {split}")
    expected = sorted(f"d{n:02d}.{clean_endings[0]}" for n in range(len(description.get("degraded", []))))
    degraded = sorted(ending for ending in content if ending not in (*FORMATS, "json"))
    if degraded != expected:
        raise ValueError(f"degraded versions {degraded} instead of {expected}")
    for ending in degraded:
        if _read(content[ending]).shape != clean.shape:
            raise ValueError(f"{ending} is not as long as the clean clip")
    check.num_clips += 1
    check.num_samples += clean.shape[1]
    check.peak = max(check.peak, float(np.abs(clean).max(initial=0.0)))
    check.songs[description["song"]] += 1
    check.keys.append(key)
    check.sounds[hashlib.blake2b(clean.tobytes(), digest_size=16).hexdigest()] = key


def _read(data: memoryview) -> np.ndarray:
    """A whole member, `[C, T]`; raises ValueError with what is wrong with it."""
    reader = ClipReader(data)
    if reader.sample_rate != SAMPLE_RATE:
        raise ValueError(f"{reader.sample_rate} Hz instead of {SAMPLE_RATE}")
    wav = reader.read(0, reader.num_samples)
    if wav.shape[1] == 0:
        raise ValueError("holds no samples")
    if not np.isfinite(wav).all() or float(np.abs(wav).max()) > 1.0:
        raise ValueError("holds samples outside +-1")
    if not wav.any():
        raise ValueError("is silent")
    return wav


def _description(content: dict[str, memoryview]) -> dict[str, Any]:
    if "json" not in content:
        raise ValueError("has no JSON file")
    description = json.loads(bytes(content["json"]))
    missing = [name for name in REQUIRED if name not in description]
    if missing:
        raise ValueError(f"JSON without {', '.join(missing)}")
    return dict(description)


def _check_split(folder: Path, checks: list[ShardCheck]) -> SplitCheck:
    """A split's shards against its manifest."""
    row = SplitCheck(folder.name, num_shards=len(checks))
    seen: set[str] = set()
    for check in checks:
        row.faults += check.faults
        row.num_clips += check.num_clips
        row.seconds += check.num_samples / SAMPLE_RATE
        row.songs |= set(check.songs)
        row.sounds |= check.sounds
        row.faults += [f"{check.path}: clip {key} is there twice" for key in check.keys if key in seen]
        seen |= set(check.keys)
    try:
        manifest = read_manifest(folder)
    except UserError as error:
        row.faults.append(str(error))
        return row
    row.faults += _against_manifest(folder, manifest, checks)
    return row


def _against_manifest(folder: Path, manifest: Manifest, checks: list[ShardCheck]) -> list[str]:
    faults = []
    found = {check.path.name: check for check in checks}
    listed = {entry.name: entry for entry in manifest.shards}
    faults += [f"{folder / name}: is in the manifest but not there" for name in sorted(listed.keys() - found.keys())]
    faults += [f"{folder / name}: is not in the manifest" for name in sorted(found.keys() - listed.keys())]
    segment = round(manifest.settings["segment_seconds"] * SAMPLE_RATE)
    for name in sorted(listed.keys() & found.keys()):
        entry, check = listed[name], found[name]
        if check.sha256 and check.sha256 != entry.sha256:
            faults.append(f"{check.path}: its bytes have changed (hash differs from the manifest)")
        if check.num_clips != entry.num_clips:
            faults.append(f"{check.path}: {check.num_clips} good clips, the manifest says {entry.num_clips}")
        elif check.num_samples != entry.num_samples:
            faults.append(f"{check.path}: {check.num_samples} samples, the manifest says {entry.num_samples}")
        if check.num_samples > check.num_clips * segment:
            faults.append(f"{check.path}: clips longer than segment_seconds={manifest.settings['segment_seconds']}")
    songs: Counter[str] = Counter()
    for check in checks:
        songs.update(check.songs)
    if songs != Counter(manifest.songs):
        different = sorted(
            song for song in songs.keys() | manifest.songs.keys() if songs[song] != manifest.songs.get(song)
        )
        faults.append(f"{folder / NAME}: other songs or counts than the shards: {', '.join(different[:5])}")
    return faults


def _check_leaks(rows: list[SplitCheck]) -> None:
    """The same song, or the same sound under another name, in two splits."""
    for number, row in enumerate(rows):
        for other in rows[:number]:
            for song in sorted(row.songs & other.songs):
                row.faults.append(f"song {song} lies in {other.split} and in {row.split}")
            for sound in sorted(row.sounds.keys() & other.sounds.keys()):
                here, there = row.sounds[sound], other.sounds[sound]
                row.faults.append(f"clip {here} of {row.split} is the same sound as {there} of {other.split}")
