"""From songs to shards: analyse every track, plan every shard, write them; an interrupted run is resumed."""

import hashlib
import json
import logging
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

from upscale.codec import CodecSpec
from upscale.corpus.analysis import Cut, Report, analyse
from upscale.corpus.sources import find_tracks
from upscale.corpus.split import SPLITS, assign_splits
from upscale.corpus.track import Track
from upscale.errors import UserError
from upscale.progress import with_progress
from upscale.ray_engine import run_on_ray
from upscale.shards.build import BUILD, SUMMARY, make_folder, note_of, open_build, remove_leftovers
from upscale.shards.clip import FORMATS
from upscale.shards.cutting import SAMPLE_RATE, ShardJob, write_shard
from upscale.shards.jobs import num_cores, run_jobs
from upscale.shards.manifest import Manifest, ShardEntry, write_json
from upscale.shards.plan import plan_shards

Engine = Callable[[Any, Sequence[Any], int, str], Iterator[tuple[Any, Any]]]  # `run_jobs` and its like

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Summary:
    """The result of a run. `broken`: [file, reason]; `lossy`: [file, cut-off in Hz]; `splits`: totals of each."""

    settings: dict[str, Any]
    splits: dict[str, dict[str, float]]
    broken: list[list[str]]
    lossy: list[list[Any]]
    num_silent: int


def prepare(
    out: str | Path,
    sources: Sequence[str] = ("demo",),
    roots: Mapping[str, str | None] | None = None,
    channels: int = 2,
    segment_seconds: float = 6.0,
    min_seconds: float = 2.0,
    file_format: str = "wav",
    clips_per_shard: int = 256,
    silence_db: float = -60.0,
    val_share: float = 0.1,
    test_share: float = 0.1,
    group: str = "song",
    strict: bool = False,
    degrade: Sequence[Mapping[str, Any]] = (),
    num_demo_songs: int = 24,
    demo_seconds: float = 30.0,
    seed: int = 0,
    workers: int | None = None,
    engine: str = "local",
    overwrite: bool = False,
) -> Summary:
    """Write `out/{train,val,test}/shard-*.tar` with their manifests, and `out/prepared.json`.

    The same songs and settings give the same bytes, whatever `workers` and `engine` are: processes of this machine
    ("local"), or a Ray cluster ("ray") whose machines all see the songs and `out` under the same paths. `degrade` lists
    the specs (arguments of `CodecSpec`) of degraded versions to store beside each clip. Broken files are named, counted
    and left out. Raises UserError for wrong settings, for lossy sources with `strict`, and when the disk is full.
    """
    run = _engine(engine)
    if engine == "ray":  # a worker may run in another folder
        out, roots = (
            os.path.abspath(out),
            {name: root and os.path.abspath(root) for name, root in (roots or {}).items()},
        )
    specs = tuple(_spec(arguments) for arguments in degrade)
    cut = Cut(segment_seconds, min_seconds, silence_db)
    _check(channels, file_format, clips_per_shard, cut, val_share, test_share)
    found = find_tracks(sources, roots or {}, group, num_demo_songs, demo_seconds, seed)
    tracks = assign_splits(found, val_share, test_share, seed)
    settings = {
        "channels": channels,
        "clips_per_shard": clips_per_shard,
        "degrade": [asdict(spec) for spec in specs],
        "file_format": file_format,
        "group": group,
        "inputs": _digest(tracks),
        "min_seconds": min_seconds,
        "sample_rate": SAMPLE_RATE,
        "seed": seed,
        "segment_seconds": segment_seconds,
        "silence_db": silence_db,
        "sources": sorted(set(sources)),
        "test_share": test_share,
        "val_share": val_share,
    }
    out, workers = Path(out), workers or num_cores()
    finished = open_build(out, settings, overwrite)
    if finished is not None:
        return Summary(**finished)
    reports = _analyse_all(tracks, cut, out, workers, run)
    broken = [[track.label, report.error] for track, report in reports if report.error]
    lossy = [[track.label, report.cutoff_hz] for track, report in reports if report.cutoff_hz]
    _report(broken, lossy, strict)
    jobs = plan_shards(reports, out, channels, file_format, specs, clips_per_shard, seed)
    if not jobs:
        raise UserError("no clip is left: every song is broken, silent or too short (min_seconds, silence_db)")
    entries = _write_all(jobs, out, workers, run)
    splits = _write_manifests(jobs, entries, out, settings)
    summary = Summary(settings, splits, broken, lossy, sum(report.num_silent for _, report in reports))
    write_json(out / SUMMARY, asdict(summary))
    shutil.rmtree(out / BUILD)
    return summary


def _engine(name: str) -> Engine:
    """The function that runs independent jobs."""
    if name not in ("local", "ray"):
        raise UserError(f"engine={name} is unknown; use local or ray")
    if name == "local":
        return run_jobs

    def run_on_cluster(work: Any, items: Sequence[Any], workers: int, description: str) -> Iterator[tuple[Any, Any]]:
        yield from with_progress(run_on_ray(work, items, workers), description, len(items))

    return run_on_cluster


def _check(
    channels: int, file_format: str, clips_per_shard: int, cut: Cut, val_share: float, test_share: float
) -> None:
    if channels not in (1, 2):
        raise UserError(f"channels={channels}: use 1 (mono) or 2 (stereo)")
    if file_format not in FORMATS:
        raise UserError(f"file_format={file_format} is unknown; use one of {', '.join(FORMATS)}")
    if clips_per_shard < 1:
        raise UserError(f"clips_per_shard={clips_per_shard}: use 1 or more")
    if not 0 < cut.min_seconds <= cut.segment_seconds:
        raise UserError(f"min_seconds={cut.min_seconds} must lie between 0 and segment_seconds={cut.segment_seconds}")
    if min(val_share, test_share) < 0 or val_share + test_share >= 1:
        raise UserError(f"val_share={val_share} and test_share={test_share} leave nothing to train on")


def _spec(arguments: Mapping[str, Any]) -> CodecSpec:
    names = [field.name for field in fields(CodecSpec)]
    unknown = sorted(set(arguments) - set(names))
    if unknown:
        raise UserError(f"degrade: '{unknown[0]}' is unknown; a version has {', '.join(names)}")
    return CodecSpec(**arguments)


def _digest(tracks: Sequence[Track]) -> str:
    return hashlib.sha256(json.dumps([track.fingerprint() for track in tracks]).encode()).hexdigest()


def _analyse_all(tracks: Sequence[Track], cut: Cut, out: Path, workers: int, run: Engine) -> list[tuple[Track, Report]]:
    """A report for each track, in their order; those of an interrupted run are not made again."""
    store = out / BUILD / "reports.json"
    done: dict[str, Report] = {}
    if store.exists():
        done = {name: Report(**report) for name, report in json.loads(store.read_bytes()).items()}
    missing = [track for track in tracks if track.label not in done]
    saved = time.monotonic()
    try:
        for track, report in run(partial(analyse, cut=cut), missing, workers, "analysing"):
            done[track.label] = report
            if time.monotonic() - saved > 5:
                write_json(store, {name: asdict(report) for name, report in done.items()})
                saved = time.monotonic()
    finally:
        write_json(store, {name: asdict(report) for name, report in done.items()})
    return [(track, done[track.label]) for track in tracks]


def _report(broken: list[list[Any]], lossy: list[list[Any]], strict: bool) -> None:
    for name, reason in broken:
        logger.warning("left out, cannot be read: %s (%s)", name, reason)
    for name, cutoff in lossy:
        logger.warning("looks as if it had been lossy before: %s (nothing above %.1f kHz)", name, cutoff / 1000)
    if lossy and strict:
        names = "; ".join(name for name, _ in lossy)
        raise UserError(f"strict=true refuses {len(lossy)} songs that look as if they had been lossy before: {names}")


def _write_all(
    jobs: Sequence[ShardJob], out: Path, workers: int, run: Engine
) -> dict[Path, tuple[ShardEntry, dict[str, int]]]:
    """Entry and songs of each shard; shards that an interrupted run has finished stay as they are."""
    written: dict[Path, tuple[ShardEntry, dict[str, int]]] = {}
    remove_leftovers(out)
    for job in jobs:
        make_folder(job.path.parent)
        note = note_of(out, job)
        if note.exists() and job.path.exists():
            entry, songs = json.loads(note.read_bytes())
            written[job.path] = (ShardEntry(**entry), songs)
    missing = [job for job in jobs if job.path not in written]
    for job, (entry, songs) in run(write_shard, missing, workers, "writing shards"):
        written[job.path] = (entry, songs)
        write_json(note_of(out, job), [asdict(entry), songs])
    remove_leftovers(out)  # those of a worker that was killed and whose job was repeated
    return written


def _write_manifests(
    jobs: Sequence[ShardJob],
    entries: Mapping[Path, tuple[ShardEntry, dict[str, int]]],
    out: Path,
    settings: dict[str, Any],
) -> dict[str, dict[str, float]]:
    """`manifest.json` of each split; returns their totals."""
    totals = {}
    for split in SPLITS:
        paths = [job.path for job in jobs if job.path.parent.name == split]
        if not paths:
            continue
        songs: Counter[str] = Counter()
        for path in paths:
            songs.update(entries[path][1])
        manifest = Manifest(split, settings, [entries[path][0] for path in paths], dict(songs))
        manifest.write(out / split)
        totals[split] = {"songs": len(songs), "clips": manifest.num_clips, "seconds": round(manifest.seconds, 1)}
    return totals
