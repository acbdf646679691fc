"""What is looked at once, when pairs are opened: rates, lengths, channels, lag, drift and polarity.

Findings are kept in `FOLDER/.pairs.json`, by size and time of both files, so that the next run opens at once.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from upscale import audio
from upscale.datamodule.batches import SAMPLE_RATE
from upscale.datamodule.pairs.alignment import REACH, Lags, Read, measure_lags
from upscale.datamodule.pairs.folder import AlignedPair, FilePair
from upscale.errors import UserError
from upscale.shards.jobs import run_jobs
from upscale.shards.manifest import write_json

CACHE_NAME = ".pairs.json"
VERSION = 1  # of the check: other findings are not taken up

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Finding:
    """About one pair: lengths and lag in samples. `problem` is what no option removes, "" where there is none."""

    problem: str = ""
    unreadable: bool = False
    num_clean: int = 0
    num_degraded: int = 0
    lag: int = 0
    inverted: bool = False


def check_pair(pair: FilePair) -> Finding:
    """Open both files and compare a few excerpts: 40 ms for 20 s of stereo."""
    try:
        (read_clean, clean), (read_degraded, degraded) = (_reader(path) for path in (pair.clean, pair.degraded))
        num_clean, num_degraded = clean.num_samples or 0, degraded.num_samples or 0
        problem = _differences(pair, clean, degraded)
        if problem or not min(num_clean, num_degraded):
            return Finding(problem or f"{pair.degraded}: is empty, or {pair.clean} is")
        lags = measure_lags(read_clean, read_degraded, min(num_clean, num_degraded))
    except UserError as error:
        return Finding(str(error), unreadable=True)
    if not lags.checked:
        logger.warning("%s: is silent or too short; the lag of %s cannot be measured", pair.clean, pair.degraded)
    return Finding(_drift(pair, lags), False, num_clean, num_degraded, lags.lag, lags.inverted)


def _reader(path: Path) -> tuple[Read, audio.AudioInfo]:
    """How to read parts of a file, and its header; lossy files do not seek to the sample and are read whole."""
    info = audio.probe(path)
    if info.bitrate is None and info.num_samples is not None:
        return lambda start, num_samples: audio.read(path, start, num_samples)[0], info
    wav, sample_rate = audio.read(path)
    whole = audio.AudioInfo(path, sample_rate, wav.shape[0], wav.shape[1], info.codec, info.bitrate)
    return lambda start, num_samples: wav[:, start : start + num_samples], whole


def _differences(pair: FilePair, clean: audio.AudioInfo, degraded: audio.AudioInfo) -> str:
    for info in (clean, degraded):
        if info.sample_rate != SAMPLE_RATE:
            return (
                f"{info.path}: has {info.sample_rate} Hz, models take {SAMPLE_RATE} Hz: resample both sides, for "
                f"example: ffmpeg -i IN -ar {SAMPLE_RATE} OUT.wav"
            )
        if info.channels not in (1, 2):
            return f"{info.path}: has {info.channels} channels; mix both sides down to two"
    if clean.channels != degraded.channels:
        return f"{pair.degraded}: has {degraded.channels} channels, {pair.clean} has {clean.channels}; make them equal"
    return ""


def _drift(pair: FilePair, lags: Lags) -> str:
    if not lags.checked:
        return ""
    if not lags.lags:
        return (
            f"{pair.degraded}: does not resemble {pair.clean} at any lag up to {REACH / SAMPLE_RATE:.2f} s; "
            "is it the same recording?"
        )
    if lags.drifts:
        seconds = ", ".join(f"{start / SAMPLE_RATE:.1f}" for start in lags.starts)
        samples = ", ".join(map(str, lags.lags))
        return (
            f"{pair.degraded}: drifts against {pair.clean}: {samples} samples late at {seconds} s; a shift cannot "
            "align them, both sides must come from one clock"
        )
    return ""


def align(pair: FilePair, finding: Finding, may_shift: bool) -> AlignedPair:
    """What of the two files belongs together. Raises UserError where nothing does, or not without `may_shift`."""
    if finding.problem:
        raise UserError(finding.problem)
    lag = finding.lag
    if not may_shift:
        if lag:
            late = f"{abs(lag)} samples {'late' if lag > 0 else 'early'}"
            raise UserError(f"{pair.degraded}: is {late} against {pair.clean}; data.align=true shifts and trims both")
        if finding.inverted:
            raise UserError(
                f"{pair.degraded}: is inverted, its polarity is the opposite of {pair.clean}; data.align=true turns it"
            )
        if finding.num_clean != finding.num_degraded:
            raise UserError(
                f"{pair.degraded}: holds {finding.num_degraded} samples, {pair.clean} {finding.num_clean}; make the "
                "lengths equal, or let data.align=true use what both hold"
            )
    clean_start, degraded_start = max(0, -lag), max(0, lag)
    num_samples = min(finding.num_clean - clean_start, finding.num_degraded - degraded_start)
    return AlignedPair(pair, clean_start, degraded_start, num_samples, -1 if finding.inverted else 1)


def check_all(pairs: Sequence[FilePair], folder: Path, workers: int) -> list[Finding]:
    """The finding of each pair: from the cache in `folder` where neither file has changed, else measured now."""
    cache = _read_cache(folder / CACHE_NAME)
    keys = [_key(pair, folder) for pair in pairs]
    stamps = [_stamp(pair) for pair in pairs]
    number_of = {
        pair: number
        for number, (pair, key, stamp) in enumerate(zip(pairs, keys, stamps, strict=True))
        if cache.get(key, {}).get("stamp") != stamp
    }
    if number_of:
        for pair, finding in run_jobs(check_pair, list(number_of), workers, "checking pairs"):
            number = number_of[pair]
            cache[keys[number]] = {"stamp": stamps[number], **asdict(finding)}
        _write_cache(folder / CACHE_NAME, cache)
    return [Finding(**{name: value for name, value in cache[key].items() if name != "stamp"}) for key in keys]


def _key(pair: FilePair, folder: Path) -> str:
    return pair.degraded.relative_to(folder).as_posix()


def _stamp(pair: FilePair) -> list[Any]:
    stats = [path.stat() for path in (pair.clean, pair.degraded)]
    return [pair.clean.name, *(number for stat in stats for number in (stat.st_size, stat.st_mtime_ns))]


def _read_cache(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return content["findings"] if content["version"] == VERSION else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _write_cache(path: Path, findings: dict[str, Any]) -> None:
    try:
        write_json(path, {"version": VERSION, "findings": findings})
    except UserError as error:  # a folder that is read only: the next run checks again
        logger.warning("%s", error)
