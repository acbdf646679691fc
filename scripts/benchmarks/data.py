"""Where the data pipeline's time goes: python -m scripts.benchmark data [--json FILE], two minutes.

One epoch of clips, the same for all: the codec alone on what the workers encode (clip and margins), the same clips as
items of the data set, then the DataLoader with one worker and with one for each core, and beside it the codec alone in
as many processes, which is what this machine has to give. Turns are interleaved; figures are medians.
CPU time says what a clip costs, on a busy machine too; clips per second need a quiet one.
"""

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader, Dataset

from upscale.codec import CodecSampler, CodecSpec, lame, roundtrip
from upscale.corpus.demo import compose
from upscale.datamodule import ShardDataModule, clips
from upscale.datamodule.batches import SAMPLE_RATE
from upscale.shards.jobs import num_cores
from upscale.shards.prepare import prepare

BITRATE = 128
# Seconds, channels, predegraded, batch size, batches: some five seconds a turn.
CASES = ((1.0, 1, False, 8, 8), (1.0, 2, False, 4, 12), (10.0, 2, False, 1, 8), (1.0, 2, True, 8, 12))
Encoded = tuple[np.ndarray, CodecSpec]


def main(argv: list[str]) -> None:
    """Measure, print two tables, and write the same figures as JSON where asked."""
    parser = argparse.ArgumentParser(prog="python -m scripts.benchmark data", description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    parser.add_argument("--repeats", type=int, default=3, help="rounds (default 3)")
    parser.add_argument("--workers", type=int, default=num_cores(), help="(default: one for each core)")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    speed = composer(arguments.repeats)
    with tempfile.TemporaryDirectory() as folder:
        songs = {"num_demo_songs": 6, "demo_seconds": 24.0, "segment_seconds": 12.0, "min_seconds": 12.0}
        degrade = [{"bitrate": BITRATE}]
        prepare(folder, **songs, degrade=degrade, val_share=0.2, test_share=0.0)  # type: ignore[arg-type]
        rows = [measure(folder, case, arguments.repeats, arguments.workers) for case in CASES]
    _print(rows, arguments.workers, speed)
    if arguments.json:
        report = {"bitrate": BITRATE, "workers": arguments.workers, "composer_times_real_time": speed, "rows": rows}
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


def composer(repeats: int) -> float:
    """Seconds of demo music per second of CPU time."""
    compose(seed=0, seconds=1.0)
    num_songs = 2 * repeats
    _, cpu = _timed(lambda: [compose(seed, 30.0) for seed in range(num_songs)])
    return 30.0 * num_songs / cpu


def measure(folder: str, case: tuple[float, int, bool, int, int], repeats: int, workers: int) -> dict[str, Any]:
    """One row. `*_ms`: CPU milliseconds of this process for a clip; `*_rate`: clips per second of the wall's clock."""
    codec = CodecSampler(bitrates=[BITRATE])
    seconds, channels, stored, size, num_batches = case

    def loader(num_workers: int) -> DataLoader:
        data = ShardDataModule(
            folder, codec, seconds, size, num_batches, channels=channels, num_workers=num_workers, predegraded=stored
        )
        data.setup("fit")
        return data.train_dataloader()

    here, single, several = loader(0), loader(1), loader(workers)
    encoded = _what_is_encoded(here)
    alone = DataLoader(CodecAlone(encoded, size), None, num_workers=workers, persistent_workers=True)
    ways: dict[str, Callable[[], object]] = {"item": lambda: _run(here)}
    if encoded:
        ways |= {"encode": lambda: _encode_all(encoded), "codec": lambda: _roundtrip_all(encoded)}
        ways |= {"codecs": lambda: _run(alone)}
    ways |= {"single": lambda: _run(single), "several": lambda: _run(several)}
    count = size * num_batches
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, way in ways.items():
            figures = _timed(way)
            if turn > 0:  # the first was to start the workers and to fill the caches
                taken[name].append(figures)
    made = count * (repeats + 1)
    row: dict[str, Any] = {"seconds": seconds, "channels": channels, "stored": stored, "clips": count}
    for name, times in taken.items():
        row[f"{name}_rate"] = count / statistics.median(wall for wall, _ in times)
        row[f"{name}_ms"] = 1000 * statistics.median(cpu for _, cpu in times) / count
    row["worker_ms"] = 1000 * _cpu_of_workers(several) / made
    _cpu_of_workers(single), _cpu_of_workers(alone)
    row["scaling"] = row["several_rate"] / row["single_rate"]
    if encoded:
        row["share_of_workers_x_codec"] = row["several_rate"] / (workers * row["codec_rate"])
        row["share_of_codec_in_as_many_processes"] = row["several_rate"] / row["codecs_rate"]
        row["share_of_cpu"] = row["codec_ms"] / row["worker_ms"]
    return row


class CodecAlone(Dataset):
    """Batches of nothing but round trips."""

    def __init__(self, encoded: Sequence[Encoded], size: int) -> None:
        self.batches = [encoded[start : start + size] for start in range(0, len(encoded), size)]

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> int:
        return _roundtrip_all(self.batches[number])


def _what_is_encoded(loader: DataLoader) -> list[Encoded]:
    """Every input of the codec during one epoch."""
    seen: list[Encoded] = []

    def recording(wav: np.ndarray, spec: CodecSpec, sample_rate: int) -> np.ndarray:
        seen.append((wav, spec))
        return wav

    clips.roundtrip = recording  # type: ignore[assignment]
    try:
        _run(loader)
    finally:
        clips.roundtrip = roundtrip
    return seen


def _roundtrip_all(encoded: Sequence[Encoded]) -> int:
    return sum(roundtrip(wav, spec, SAMPLE_RATE).shape[1] for wav, spec in encoded)


def _encode_all(encoded: Sequence[Encoded]) -> None:
    for wav, spec in encoded:
        if lame.is_available():
            lame.encode_frames(wav, spec, SAMPLE_RATE)


def _run(loader: DataLoader) -> None:
    """The first epoch, whatever came before."""
    for _ in loader:
        pass


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds, the latter of this process alone."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def _cpu_of_workers(loader: DataLoader) -> float:
    """Ends a loader's workers; the CPU time they had used, which the system tells when they have ended."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    if loader._iterator is not None:
        loader._iterator._shutdown_workers()  # type: ignore[attr-defined]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _print(rows: Sequence[dict[str, Any]], workers: int, speed: float) -> None:
    costs = Table(title=f"CPU milliseconds of one clip, MP3 {BITRATE} kbit/s")
    for heading in ("clip", "encode", "decode", "the rest", "in a worker", "in the main process", "codec's share"):
        costs.add_column(heading, justify="right")
    for row in rows:
        encode, codec = row.get("encode_ms", 0.0), row.get("codec_ms", 0.0)
        times = [encode, codec - encode, row["item_ms"] - codec, row["worker_ms"], row["several_ms"]]
        costs.add_row(_name(row), *(f"{value:.2f}" for value in times), _percent(row, "share_of_cpu"))
    speeds = Table(title=f"clips per second, {num_cores()} cores")
    headings = ("codec", "1 worker", f"{workers} workers", "scaling", "of workers x codec", f"of {workers} codecs")
    for heading in ("clip", *headings):
        speeds.add_column(heading, justify="right")
    for row in rows:
        values = [f"{row[name]:.1f}" if name in row else "-" for name in ("codec_rate", "single_rate", "several_rate")]
        shares = [_percent(row, name) for name in ("share_of_workers_x_codec", "share_of_codec_in_as_many_processes")]
        speeds.add_row(_name(row), *values, f"{row['scaling']:.2f}", *shares)
    console = Console(width=120)
    console.print(costs, speeds)
    console.print(f"of {workers} codecs: of what the codec alone does in {workers} processes at once")
    console.print(f"the composer of demo songs: {speed:.0f} times real time, by CPU time")


def _name(row: dict[str, Any]) -> str:
    layout = "mono" if row["channels"] == 1 else "stereo"
    return f"{row['seconds']:g} s {layout}{', stored' if row['stored'] else ''}"


def _percent(row: dict[str, Any], name: str) -> str:
    return f"{100 * row[name]:.0f} %" if name in row else "-"
