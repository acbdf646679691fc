"""Where the data pipeline's time goes: python scripts/benchmark.py data [--json FILE]

Per clip on one core: the codec alone (on what the workers encode: clip and margins), the whole `Clips` item, and so
what reading, cropping and collating add; then what the DataLoader delivers with one worker and one for each core.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from upscale.codec import CodecSampler, roundtrip
from upscale.corpus.demo import compose
from upscale.datamodule import ShardDataModule
from upscale.datamodule.clips import SAMPLE_RATE
from upscale.shards.jobs import num_cores
from upscale.shards.prepare import prepare

BITRATE = 128


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="benchmark.py data", description=__doc__)
    parser.add_argument("--json", help="write the figures to this file as well")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "num_demo_songs": 4,
            "demo_seconds": 30.0,
            "segment_seconds": 15.0,
            "degrade": [{"bitrate": BITRATE}],
        }
        prepare(folder, **settings, val_share=0.2, test_share=0.0)  # type: ignore[arg-type]
        for seconds, channels, predegraded in ((1.0, 1, False), (1.0, 2, False), (10.0, 2, False), (1.0, 2, True)):
            rows.append(measure(folder, seconds, channels, predegraded, arguments.repeats))
    table = Table(*rows[0], title=f"clips per second, MP3 {BITRATE} kbit/s, {num_cores()} cores")
    for row in rows:
        table.add_row(*(f"{value:.1f}" if isinstance(value, float) else str(value) for value in row.values()))
    Console().print(table)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(rows, indent=1))


def measure(folder: str, seconds: float, channels: int, predegraded: bool, repeats: int) -> dict[str, object]:
    """One row: rates in clips per second, medians of interleaved repeats."""

    def data(num_workers: int) -> ShardDataModule:
        module = ShardDataModule(
            folder,
            CodecSampler(bitrates=[BITRATE]),
            clip_seconds=seconds,
            channels=channels,
            num_batches=max(4, round(24 / seconds)),
            batch_size=8,
            num_workers=num_workers,
            predegraded=predegraded,
        )
        module.setup("fit")
        return module

    here = data(0)
    crop = here.crop
    wav = compose(seed=0, seconds=(crop.num_samples + 2 * crop.margin) / SAMPLE_RATE)[:channels]
    spec = CodecSampler(bitrates=[BITRATE]).draw(0)
    loaders = {workers: data(workers).train_dataloader() for workers in (1, num_cores())}
    for loader in loaders.values():
        next(iter(loader))  # workers start, caches fill
    clips = here.clips["train"]
    draws = here.train_dataloader().sampler.batch(0, 0)
    codec, item, single, several = [], [], [], []
    for _ in range(repeats):
        if not predegraded:
            codec.append(8 / timed(lambda: [roundtrip(wav, spec) for _ in range(8)]))
        item.append(8 / timed(lambda: clips[draws]))
        single.append(delivered(loaders[1]))
        several.append(delivered(loaders[num_cores()]))
    rate = statistics.median(codec) if codec else float("nan")
    return {
        "clip": f"{seconds:g} s, {'mono' if channels == 1 else 'stereo'}{', stored' if predegraded else ''}",
        "codec alone": rate,
        "one item": statistics.median(item),
        "rest, ms": 1000 / statistics.median(item) - (1000 / rate if codec else 0.0),
        "1 worker": statistics.median(single),
        f"{num_cores()} workers": statistics.median(several),
        "of workers x codec, %": 100 * statistics.median(several) / (num_cores() * rate),
    }


def delivered(loader: torch.utils.data.DataLoader) -> float:
    """Clips per second over an epoch of a loader whose workers run already."""
    count = 0
    start = time.perf_counter()
    for batch in loader:
        count += len(batch.key)
    return count / (time.perf_counter() - start)


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
