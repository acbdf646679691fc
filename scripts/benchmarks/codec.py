"""Clips per second of an MP3 round trip, on one core, by three ways.

(a) the original's: two `ffmpeg` processes and temporary files; (b) PyAV in process; (c) ours.
All encode at FFmpeg's default quality. The ways take turns, so that whatever else the machine does hits all three;
figures are medians over the rounds, and ratios are medians of the ratios within a round.
Two clocks run at once: the wall's, and the CPU time used, also by the processes started, which holds on a busy machine.
"""

import argparse
import json
import os
import resource
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
CLOCKS = ("wall", "cpu")


def main(argv: list[str]) -> None:
    """Measure, print a table, and write the same figures as JSON where asked."""
    parser = argparse.ArgumentParser(prog="python -m scripts.benchmark codec", description=__doc__)
    parser.add_argument("--bitrate", type=int, default=128, help="kbit/s (default 128)")
    parser.add_argument("--repeats", type=int, default=15, help="rounds (default 15)")
    parser.add_argument("--seconds", type=int, nargs="+", default=[1, 10], help="clip lengths (default 1 10)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args(argv)
    core = _stay_on_one_core()
    cases = [(seconds, channels) for seconds in arguments.seconds for channels in (1, 2)]
    rows = [measure(seconds, channels, arguments.bitrate, arguments.repeats) for seconds, channels in cases]
    _print(rows, arguments.bitrate)
    if arguments.json:
        report = {"bitrate": arguments.bitrate, "repeats": arguments.repeats, "core": core}
        report |= {"quality": CodecSpec().quality, "fast_path": lame.is_available(), "rows": rows}
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


def measure(seconds: int, channels: int, bitrate: int, repeats: int) -> dict[str, Any]:
    """One row: clips per second of each way, how often ours is faster, and how close the results are (SDR in dB)."""
    # On the 16-bit grid: then all three encode the very same numbers.
    clean = (np.rint(compose(1, seconds=seconds)[:channels] * 2**15) / 2**15).astype(np.float32)
    spec = CodecSpec(bitrate=bitrate)
    ways: dict[str, Way] = {"pyav": by_pyav, "ours": roundtrip}
    if shutil.which("ffmpeg"):
        ways["ffmpeg"] = by_ffmpeg
    results = {name: way(clean, spec) for name, way in ways.items()}  # also warms everything up
    # The fast ways several times a turn: a turn should last longer than the clock's noise.
    calls = {name: 1 if name == "ffmpeg" else max(1, 5 // seconds) for name in ways}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            times[name].append(_seconds(way, clean, spec, calls[name]))
    row: dict[str, Any] = {"seconds": seconds, "channels": channels}
    for name in ways:
        for number, clock in enumerate(CLOCKS):
            row[f"{name}_per_{clock}_second"] = 1 / statistics.median(taken[number] for taken in times[name])
            if name != "ours":
                ratios = [other[number] / ours[number] for other, ours in zip(times[name], times["ours"], strict=True)]
                row[f"{clock}_ratio_to_{name}"] = statistics.median(ratios)
                row[f"{clock}_ratios_to_{name}"] = [round(ratio, 2) for ratio in sorted(ratios)]
        if name != "ours":
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


def _seconds(way: Way, clean: np.ndarray, spec: CodecSpec, calls: int) -> tuple[float, float]:
    """Wall and CPU seconds of one call."""
    wall, cpu = time.perf_counter(), _cpu_seconds()
    for _ in range(calls):
        way(clean, spec)
    return (time.perf_counter() - wall) / calls, (_cpu_seconds() - cpu) / calls


def _cpu_seconds() -> float:
    """Of this process and of those it has started and waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _stay_on_one_core() -> int | None:
    """Bind this process, and the ones it starts, to one core where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return core


def _print(rows: list[dict[str, Any]], bitrate: int) -> None:
    table = Table(title=f"MP3 round trip at {bitrate} kbit/s, clips per second on one core")
    headings = ("(a) two ffmpeg", "(b) PyAV", "(c) ours", "c/a", "c/b", "c/a, CPU", "c/b, CPU", "c to a", "c to b")
    for heading in ("clip", *headings):
        table.add_column(heading, justify="right")
    for row in rows:
        clip = f"{row['seconds']} s {'mono' if row['channels'] == 1 else 'stereo'}"
        speeds = [_number(row, f"{name}_per_wall_second") for name in ("ffmpeg", "pyav", "ours")]
        ratios = [_number(row, f"{clock}_ratio_to_{name}") for clock in CLOCKS for name in ("ffmpeg", "pyav")]
        closeness = [_closeness(row, f"sdr_to_{name}") for name in ("ffmpeg", "pyav")]
        table.add_row(clip, *speeds, *ratios, *closeness)
    console = Console(width=120)
    console.print(table)
    console.print("c to a, c to b: SDR between the results; equal: above 100 dB")
    if not lame.is_available():
        console.print("ours went through PyAV: this lameenc wheel does not export LAME")
    if "ffmpeg_per_wall_second" not in rows[0]:
        console.print("(a) was left out: no ffmpeg command on this machine")


def _number(row: dict[str, Any], key: str) -> str:
    return f"{row[key]:.1f}" if key in row else "-"


def _closeness(row: dict[str, Any], key: str) -> str:
    if key not in row:
        return "-"
    return "equal" if row[key] > 100 else f"{row[key]:.1f} dB"
