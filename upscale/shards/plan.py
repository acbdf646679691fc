"""Which clips go into which shard."""

from collections.abc import Sequence
from pathlib import Path

from upscale.codec import CodecSpec
from upscale.corpus.analysis import Report
from upscale.corpus.split import SPLITS
from upscale.corpus.track import Track
from upscale.seeds import derive_seed
from upscale.shards.cutting import Piece, ShardJob


def plan_shards(
    reports: Sequence[tuple[Track, Report]],
    out: Path,
    channels: int,
    file_format: str,
    specs: tuple[CodecSpec, ...],
    clips_per_shard: int,
    seed: int,
) -> list[ShardJob]:
    """Songs in a random order decided by `seed`, cut into shards of at most `clips_per_shard` clips."""
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
