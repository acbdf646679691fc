"""Clips per second of an MP3 round trip, on one core, by three ways.

(a) the original's: two `ffmpeg` processes and temporary files; (b) PyAV in process; (c) ours.
All encode at FFmpeg's default quality. The ways take turns, so that whatever else the machine does hits all three;
figures are medians over the rounds, and ratios are medians of the ratios within a round.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from rich.console import Console
from rich.table import Table

from upscale.codec import CodecSpec, encode, lame, roundtrip
from upscale.codec.container import decode_file
from upscale.corpus.demo import compose
from upscale.metrics import sdr

SAMPLE_RATE = 44_100
Way = Callable[[np.ndarray, CodecSpec], np.ndarray]
# On a busy machine wall time says more about the neighbours; system and user time, children's too, does not.
CLOCKS: dict[str, Callable[[], float]] = {
    "wall": time.perf_counter,
    "cpu": lambda: time.process_time() + sum(os.times()[2:4]),
}


def main(argv: list[str]) -> None:
    """Measure, print a table, and write the same figures as JSON where asked."""
    parser = argparse.ArgumentParser(prog="benchmark.py codec", description=__doc__)
    parser.add_argument("--bitrate", type=int, default=128, help="kbit/s (default 128)")
    parser.add_argument("--repeats", type=int, default=15, help="rounds (default 15)")
    parser.add_argument("--seconds", type=int, nargs="+", default=[1, 10], help="clip lengths (default 1 10)")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: time used, also by processes started")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args(argv)
    core = _stay_on_one_core()
    cases = [(seconds, channels) for seconds in arguments.seconds for channels in (1, 2)]
    rows = [
        measure(seconds, channels, arguments.bitrate, arguments.repeats, arguments.clock) for seconds, channels in cases
    ]
    _print(rows, arguments.bitrate)
    if arguments.json:
        report = {"bitrate": arguments.bitrate, "repeats": arguments.repeats, "core": core, "clock": arguments.clock}
        report |= {"quality": CodecSpec().quality, "fast_path": lame.is_available(), "rows": rows}
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


def measure(seconds: int, channels: int, bitrate: int, repeats: int, clock: str) -> dict[str, Any]:
    """One row: clips per second of each way, how often ours is faster, and how close the results are (SDR in dB)."""
    # On the 16-bit grid: then all three encode the very same numbers.
    clean = (np.rint(compose(1, seconds=seconds)[:channels] * 2**15) / 2**15).astype(np.float32)
    spec = CodecSpec(bitrate=bitrate)
    ways: dict[str, Way] = {"pyav": by_pyav, "ours": roundtrip}
    if shutil.which("ffmpeg"):
        ways["ffmpeg"] = by_ffmpeg
    results = {name: way(clean, spec) for name, way in ways.items()}  # also warms everything up
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            # The fast ways several times a turn: a turn should last longer than the clock's noise.
            times[name].append(_seconds(way, clean, spec, calls=1 if name == "ffmpeg" else 5, clock=CLOCKS[clock]))
    row: dict[str, Any] = {"seconds": seconds, "channels": channels}
    for name in ways:
        row[f"{name}_clips_per_second"] = 1 / statistics.median(times[name])
        if name != "ours":
            ratios = [other / ours for other, ours in zip(times[name], times["ours"], strict=True)]
            row[f"faster_than_{name}"] = statistics.median(ratios)
            row[f"sdr_to_{name}"] = float(sdr(results[name], results["ours"]))
    return row


def by_ffmpeg(clean: np.ndarray, spec: CodecSpec) -> np.ndarray:
    """Two processes, three temporary files."""
    with tempfile.TemporaryDirectory() as folder:
        source, middle, result = (Path(folder, name) for name in ("a.wav", "a.mp3", "b.wav"))
        soundfile.write(source, clean.T, SAMPLE_RATE, subtype="PCM_16")
        command = ["ffmpeg", "-y", "-loglevel", "error", "-i"]
        subprocess.run([*command, source, "-b:a", f"{spec.bitrate}k", middle], check=True)
        subprocess.run([*command, middle, "-c:a", "pcm_f32le", result], check=True)
        degraded, _ = soundfile.read(result, dtype="float32", always_2d=True)
    return degraded.T[:, : clean.shape[1]]


def by_pyav(clean: np.ndarray, spec: CodecSpec) -> np.ndarray:
    """A complete file in memory, through FFmpeg's libraries."""
    return decode_file(encode(clean, spec))[:, : clean.shape[1]]


def _seconds(way: Way, clean: np.ndarray, spec: CodecSpec, calls: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(calls):
        way(clean, spec)
    return (clock() - start) / calls


def _stay_on_one_core() -> int | None:
    """Bind this process, and the ones it starts, to one core where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return core


def _print(rows: list[dict[str, Any]], bitrate: int) -> None:
    table = Table(title=f"MP3 round trip at {bitrate} kbit/s, clips per second on one core")
    for heading in ("clip", "(a) two ffmpeg", "(b) PyAV", "(c) ours", "c/a", "c/b", "SDR c to a", "SDR c to b"):
        table.add_column(heading, justify="right")
    for row in rows:
        clip = f"{row['seconds']} s {'mono' if row['channels'] == 1 else 'stereo'}"
        speeds = [_number(row, f"{name}_clips_per_second") for name in ("ffmpeg", "pyav", "ours")]
        ratios = [_number(row, f"faster_than_{name}") for name in ("ffmpeg", "pyav")]
        closeness = [_closeness(row, f"sdr_to_{name}") for name in ("ffmpeg", "pyav")]
        table.add_row(clip, *speeds, *ratios, *closeness)
    console = Console()
    console.print(table)
    if not lame.is_available():
        console.print("ours went through PyAV: this lameenc wheel does not export LAME")
    if "ffmpeg_clips_per_second" not in rows[0]:
        console.print("(a) was left out: no ffmpeg command on this machine")


def _number(row: dict[str, Any], key: str) -> str:
    return f"{row[key]:.1f}" if key in row else "-"


def _closeness(row: dict[str, Any], key: str) -> str:
    if key not in row:
        return "-"
    return "equal" if row[key] > 100 else f"{row[key]:.1f} dB"
