"""From songs to shards: analyse every track, plan every shard, write them; all of it again from where it stopped."""

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

from upscale.atomic import LEFTOVERS
from upscale.codec import CodecSpec
from upscale.corpus.analysis import Cut, Report, analyse
from upscale.corpus.demo import DemoTrack
from upscale.corpus.sources import find_tracks
from upscale.corpus.split import SPLITS, assign_splits
from upscale.corpus.track import FileTrack, Track
from upscale.errors import UserError
from upscale.progress import with_progress
from upscale.ray_engine import run_on_ray
from upscale.seeds import derive_seed
from upscale.shards.clip import FORMATS
from upscale.shards.cutting import SAMPLE_RATE, Piece, ShardJob, write_shard
from upscale.shards.jobs import num_cores, run_jobs
from upscale.shards.manifest import NAME, Manifest, ShardEntry, write_json

BUILD = ".build"  # what an interrupted run leaves for the next one
SUMMARY = "prepared.json"

Engine = Callable[[Any, Sequence[Any], int, str], Iterator[tuple[Any, Any]]]  # `run_jobs` and its like

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Summary:
    """What came out. `broken`: [file, reason]; `lossy`: [file, cut-off in Hz]; `splits`: totals of each."""

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
    if engine == "ray":  # a worker's current folder is not ours
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
    finished = _resume(out, settings, overwrite)
    if finished:
        return finished
    reports = _analyse_all(tracks, cut, out, workers, run)
    broken = [[_label(track), report.error] for track, report in reports if report.error]
    lossy = [[_label(track), report.cutoff_hz] for track, report in reports if report.cutoff_hz]
    _report(broken, lossy, strict)
    jobs = _plan(reports, out, channels, file_format, specs, clips_per_shard, seed)
    if not jobs:
        raise UserError("no clip is left: every song is broken, silent or too short (min_seconds, silence_db)")
    entries = _write_all(jobs, out, workers, run)
    splits = _write_manifests(jobs, entries, out, settings)
    summary = Summary(settings, splits, broken, lossy, sum(report.num_silent for _, report in reports))
    write_json(out / SUMMARY, asdict(summary))
    shutil.rmtree(out / BUILD)
    return summary


def _engine(name: str) -> Engine:
    """What runs independent jobs."""
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


def _label(track: Track) -> str:
    return f"{track.dataset}: {track.name}"


def _fingerprint(track: Track) -> list[Any]:
    """Changes when the song does. Not its date: a copy is the same song."""
    if isinstance(track, FileTrack):
        return [track.dataset, track.name, track.split, track.path.stat().st_size]
    assert isinstance(track, DemoTrack)
    return [track.dataset, track.name, track.split, track.seed, track.seconds]


def _digest(tracks: Sequence[Track]) -> str:
    return hashlib.sha256(json.dumps([_fingerprint(track) for track in tracks]).encode()).hexdigest()


def _resume(out: Path, settings: dict[str, Any], overwrite: bool) -> Summary | None:
    """The summary of a finished run with the same settings; else make `out` ready to start or to go on."""
    state = out / BUILD / "settings.json"
    finished = out / SUMMARY
    previous = finished if finished.exists() else state
    if previous.exists():
        content = json.loads(previous.read_bytes())
        old = content["settings"] if previous == finished else content
        if old == settings:
            return Summary(**content) if previous == finished else None
        changed = sorted(key for key in settings if old.get(key) != settings[key])
        if not overwrite:
            raise UserError(
                f"{out} holds shards made with another {', '.join(changed)}: "
                "choose another out=DIR or add overwrite=true"
            )
    elif any(out.glob("*/*.tar")) and not overwrite:
        raise UserError(f"{out} holds shards of unknown origin: choose another out=DIR or add overwrite=true")
    _make_folder(out)
    _clear(out)
    _make_folder(state.parent)
    write_json(state, settings)
    return None


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be made ({error.strerror}); choose another out=DIR or make room") from error


def _clear(out: Path) -> None:
    """Remove what an earlier run wrote, and nothing else."""
    shutil.rmtree(out / BUILD, ignore_errors=True)
    (out / SUMMARY).unlink(missing_ok=True)
    for split in SPLITS:
        for path in [*(out / split).glob("shard-*.tar"), out / split / NAME]:
            path.unlink(missing_ok=True)
    _remove_leftovers(out)


def _analyse_all(tracks: Sequence[Track], cut: Cut, out: Path, workers: int, run: Engine) -> list[tuple[Track, Report]]:
    """A report for each track, in their order; those of an interrupted run are not made again."""
    store = out / BUILD / "reports.json"
    done: dict[str, Report] = {}
    if store.exists():
        done = {name: Report(**report) for name, report in json.loads(store.read_bytes()).items()}
    missing = [track for track in tracks if _label(track) not in done]
    saved = time.monotonic()
    try:
        for track, report in run(partial(analyse, cut=cut), missing, workers, "analysing"):
            done[_label(track)] = report
            if time.monotonic() - saved > 5:
                write_json(store, {name: asdict(report) for name, report in done.items()})
                saved = time.monotonic()
    finally:
        write_json(store, {name: asdict(report) for name, report in done.items()})
    return [(track, done[_label(track)]) for track in tracks]


def _report(broken: list[list[Any]], lossy: list[list[Any]], strict: bool) -> None:
    for name, reason in broken:
        logger.warning("left out, cannot be read: %s (%s)", name, reason)
    for name, cutoff in lossy:
        logger.warning("looks as if it had been lossy before: %s (nothing above %.1f kHz)", name, cutoff / 1000)
    if lossy and strict:
        names = "; ".join(name for name, _ in lossy)
        raise UserError(f"strict=true refuses {len(lossy)} songs that look as if they had been lossy before: {names}")


def _plan(
    reports: Sequence[tuple[Track, Report]],
    out: Path,
    channels: int,
    file_format: str,
    specs: tuple[CodecSpec, ...],
    clips_per_shard: int,
    seed: int,
) -> list[ShardJob]:
    """Songs in an order of chance, cut into shards of at most `clips_per_shard` clips."""
    jobs = []
    for split in SPLITS:
        chosen = [(track, report) for track, report in reports if track.split == split and report.clips]
        chosen.sort(key=lambda item: derive_seed(seed, "order", item[0].dataset, item[0].name))
        shards: list[list[Piece]] = [[]]
        room = clips_per_shard
        for track, report in chosen:
            numbered = tuple((number, *bounds) for number, bounds in enumerate(report.clips))
            while numbered:
                if room == 0:
                    shards.append([])
                    room = clips_per_shard
                shards[-1].append(Piece(track, report.sample_rate, numbered[:room]))
                taken = min(room, len(numbered))
                numbered, room = numbered[taken:], room - taken
        for number, pieces in enumerate(shards):
            if pieces:
                path = out / split / f"shard-{number:06d}.tar"
                jobs.append(ShardJob(path, tuple(pieces), channels, file_format, specs))
    return jobs


def _write_all(
    jobs: Sequence[ShardJob], out: Path, workers: int, run: Engine
) -> dict[Path, tuple[ShardEntry, dict[str, int]]]:
    """Entry and songs of each shard; shards that an interrupted run has finished stay as they are."""
    written: dict[Path, tuple[ShardEntry, dict[str, int]]] = {}
    _remove_leftovers(out)
    for job in jobs:
        _make_folder(job.path.parent)
        note = _note(out, job)
        if note.exists() and job.path.exists():
            entry, songs = json.loads(note.read_bytes())
            written[job.path] = (ShardEntry(**entry), songs)
    missing = [job for job in jobs if job.path not in written]
    for job, (entry, songs) in run(write_shard, missing, workers, "writing shards"):
        written[job.path] = (entry, songs)
        write_json(_note(out, job), [asdict(entry), songs])
    _remove_leftovers(out)  # of a worker that was killed and whose job was done again
    return written


def _remove_leftovers(out: Path) -> None:
    """Remove the half-written shards of a run that was killed."""
    for split in SPLITS:
        for path in (out / split).glob(LEFTOVERS):
            path.unlink(missing_ok=True)


def _note(out: Path, job: ShardJob) -> Path:
    return out / BUILD / f"{job.path.parent.name}-{job.path.stem}.json"


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
