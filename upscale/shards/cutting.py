"""One shard, from songs to a tar file: a job that any process can do from its description alone."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import ceil, gcd
from pathlib import Path
from typing import Any

import numpy as np
import webdataset

from upscale import atomic, audio
from upscale.codec import CodecSpec, roundtrip
from upscale.corpus.track import Track
from upscale.errors import UserError
from upscale.seeds import derive_seed
from upscale.shards.clip import encode_clip, to_pcm16
from upscale.shards.manifest import ShardEntry, file_hash

SAMPLE_RATE = 44_100
CONTEXT_SECONDS = 0.5  # given to the resampler and the encoder on both sides of a clip, then cut away


@dataclass(frozen=True)
class Piece:
    """Clips of one track: (number within the track, start, length), in samples at the track's rate."""

    track: Track
    sample_rate: int
    clips: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class ShardJob:
    """Everything that decides the bytes of one shard."""

    path: Path
    pieces: tuple[Piece, ...]
    channels: int
    file_format: str
    specs: tuple[CodecSpec, ...]


def write_shard(job: ShardJob) -> tuple[ShardEntry, dict[str, int]]:
    """Write the shard whole or not at all; returns its manifest entry and the number of clips of each song."""
    num_samples = 0
    songs: Counter[str] = Counter()
    try:
        with (
            atomic.replacing(job.path) as temporary,
            open(temporary, "wb") as file,
            webdataset.TarWriter(file, encoder=False, mtime=0, compress=False) as tar,
        ):
            for sample, length, song in _samples(job):
                tar.write(sample)
                num_samples += length
                songs[song] += 1
    except OSError as error:
        raise UserError(
            f"{job.path}: cannot be written ({error.strerror or error}); whole shards are kept, "
            "make room and run the same command again"
        ) from error
    entry = ShardEntry(job.path.name, sum(songs.values()), num_samples, job.path.stat().st_size, file_hash(job.path))
    return entry, dict(songs)


def _samples(job: ShardJob) -> Iterator[tuple[dict[str, Any], int, str]]:
    """(WebDataset sample, number of samples, song) of each clip."""
    for piece in job.pieces:
        for number, start, length in piece.clips:
            key = clip_key(piece.track, number)
            wav, before, num_samples = _read_clip(piece, start, length, job.channels)
            versions = [wav, *(roundtrip(wav, spec, SAMPLE_RATE) for spec in job.specs)]
            versions = [version[:, before : before + num_samples] for version in versions]
            # One gain for all versions of a clip, where one of them leaves what 16 bits can hold.
            peak = max(1.0, *(float(np.abs(version).max()) for version in versions))
            pcm = [to_pcm16(version / np.float32(peak), key) for version in versions]
            files = [encode_clip(steps, SAMPLE_RATE, job.file_format) for steps in pcm]
            description = _describe(piece, start, job.specs)
            sample = {"__key__": key, "json": json.dumps(description, sort_keys=True, ensure_ascii=False).encode()}
            sample[job.file_format] = files[0]
            sample |= {f"d{n:02d}.{job.file_format}": data for n, data in enumerate(files[1:])}
            yield sample, num_samples, piece.track.identity


def clip_key(track: Track, number: int) -> str:
    """Short, unique, and nothing but ASCII letters, digits and underscores, as tar members and Windows like it."""
    title = "".join(char if char.isascii() and char.isalnum() else "_" for char in Path(track.name).stem)[:32]
    digest = f"{derive_seed(track.dataset, track.name) & 0xFFFFFFFFFF:010x}"
    return f"{track.dataset}_{title}_{digest}_{number:04d}"


def _read_clip(piece: Piece, start: int, length: int, channels: int) -> tuple[np.ndarray, int, int]:
    """float32 `[channels, T]` at 44.1 kHz with context around the clip; where the clip begins in it; its length."""
    rate = piece.sample_rate
    unit = rate // gcd(rate, SAMPLE_RATE)  # this many samples are a whole number of samples at 44.1 kHz
    context = unit * ceil(CONTEXT_SECONDS * rate / unit)
    first = max(0, start - context)
    wav = piece.track.read(first, start - first + length + context)
    if wav.shape[1] < start - first + length:
        raise UserError(f"{piece.track.name}: has changed while it was being prepared; run the same command again")
    wav = audio.resample(audio.to_channels(wav, channels), rate, SAMPLE_RATE)
    before = round((start - first) * SAMPLE_RATE / rate)
    num_samples = min(round(length * SAMPLE_RATE / rate), wav.shape[1] - before)
    return wav, before, num_samples


def _describe(piece: Piece, start: int, specs: tuple[CodecSpec, ...]) -> dict[str, Any]:
    track = piece.track
    return {
        "artist": track.artist,
        "dataset": track.dataset,
        "degraded": [asdict(spec) for spec in specs],
        "licence": track.licence,
        "song": track.identity,
        "split": track.split,
        "start_seconds": round(start / piece.sample_rate, 6),
        "title": track.title,
        "track": track.name,
    }
