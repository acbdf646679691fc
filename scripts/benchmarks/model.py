"""Model speed beside the machine's own: `python -m scripts.benchmark model [--presets ...] [--json PATH]`.

Every measurement is taken in turn with a matrix product and a copy, so that a machine whose speed drifts or does other
work gives a fair share. Work counts multiply-adds as two operations, those of the plain form of a convolution; a
training step counts three forward passes. Each cell runs in a process of its own. The whole ends after `--minutes`:
the rows that matter most come first, and what was not reached, or could not be run, is listed with its reason.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import ptwt
import torch

from scripts.benchmarks._cell import in_turn, timed
from upscale.models.wavelet import DWT

PRESETS = ["wavelet_unet", "wavelet_unet_stereo", "wavelet_unet_small", "wavelet_packet", "original"]
MODES = ["eager", "compiled", "graph"]
COPY_BYTES = 256 * 2**20
COLUMNS = (
    "preset               what     batch mode     dtype   seconds   clips/s  GMAC/s  roof GF/s  share"
    "  floor: work    bytes   peak GiB"
)


def measure_transform(device: str) -> dict[str, float]:
    """DWT forward and backward of (4, 64, 65536) against ptwt's, in turn."""
    wav = torch.randn(4, 64, 65536, device=device, requires_grad=True)
    dwt = DWT("db4", mode="zero").to(device)

    def ours() -> None:
        dwt(wav).sum().backward()

    def theirs() -> None:
        torch.stack([band.sum() for band in ptwt.wavedec(wav, "db4", level=1, mode="zero")]).sum().backward()

    seconds, ptwt_seconds = in_turn([ours, theirs], device, count=7, seconds=10)
    return {"seconds": seconds, "ptwt_seconds": ptwt_seconds, "times_as_fast": ptwt_seconds / seconds}


def copy_rate(device: str) -> float:
    """Bytes per second of a large copy, read and written."""
    source = torch.empty(COPY_BYTES // 4, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    return 2 * COPY_BYTES / statistics.median(timed(lambda: target.copy_(source), device) for _ in range(5))


def run_cell(cell: dict[str, Any], seconds: float) -> list[dict[str, Any]] | str:
    """The rows of a cell, or why there are none."""
    if seconds < 5:
        return "not reached: --minutes were over"
    command = [sys.executable, str(Path(__file__).with_name("_cell.py")), json.dumps(cell)]
    errors = None if cell["profile"] else subprocess.PIPE
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=errors, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return f"ended after {seconds:.0f} s (--cell-minutes, --minutes)"
    if done.returncode == 0:
        return json.loads(done.stdout)
    lines = [line for line in (done.stderr or "").splitlines() if line.strip()]
    return lines[-1][:200] if lines else f"ended with status {done.returncode}: out of memory?"


def cells_of(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Every combination that was asked for, the plain ones of every preset before the exotic ones."""
    values = {"device": options.device, "pairs": options.pairs, "seconds": options.seconds, "profile": options.profile}
    return [
        {"preset": preset, "batch": batch, "mode": mode, "dtype": dtype, **values}
        for mode in options.modes
        for dtype in options.dtypes
        for batch in options.batches
        for preset in options.presets
    ]


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m scripts.benchmark model", description=__doc__.splitlines()[0])
    parser.add_argument("--presets", nargs="+", default=PRESETS, choices=PRESETS)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--modes", nargs="+", choices=MODES, help="(default: eager, and compiled or, on a GPU, graph)")
    parser.add_argument("--dtypes", nargs="+", default=["fp32", "bf16"], choices=["fp32", "bf16"])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=["cpu", "cuda"])
    parser.add_argument("--pairs", type=int, default=5, help="measurements of each, the median counts")
    parser.add_argument("--seconds", type=float, default=8, help="no further measurement of a row after these")
    parser.add_argument("--cell-minutes", type=float, default=3, help="a cell that takes longer is ended")
    parser.add_argument("--minutes", type=float, default=10, help="the whole table")
    parser.add_argument("--profile", action="store_true", help="where a training step of each cell goes, on stderr")
    parser.add_argument("--json", type=Path, help="write the rows here")
    options = parser.parse_args(argv)
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("error: --device cuda, and there is no CUDA device here")
    options.modes = options.modes or ["eager", "graph" if options.device == "cuda" else "compiled"]
    if "graph" in options.modes and options.device != "cuda":
        sys.exit("error: --modes graph is for GPUs: add --device cuda")
    end = time.monotonic() + 60 * options.minutes
    report: dict[str, Any] = {
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "copy_gb_per_second": copy_rate(options.device) / 1e9,
        "transform": measure_transform(options.device),
        "rows": [],
        "missing": [],
    }
    print(f"copy {report['copy_gb_per_second']:.1f} GB/s, {report['threads']} threads, {os.cpu_count()} cores")
    print(f"DWT forward and backward: {report['transform']['times_as_fast']:.1f} times as fast as ptwt")
    print(COLUMNS, flush=True)
    for cell in cells_of(options):
        rows = run_cell(cell, min(60 * options.cell_minutes, end - time.monotonic()))
        name = {key: cell[key] for key in ("preset", "batch", "mode", "dtype")}
        if isinstance(rows, str):
            report["missing"].append({**name, "reason": rows})
            print(
                f"{cell['preset']:20} {'-':8} {cell['batch']:5} {cell['mode']:8} {cell['dtype']:5} {rows}", flush=True
            )
            continue
        report["rows"] += rows
        for row in rows:
            print(
                f"{row['preset']:20} {row['what']:8} {row['batch']:5} {row['mode']:8} {row['dtype']:5} "
                f"{row['seconds']:9.3f} {row['times_real_time']:9.1f} {row['gmac_per_second_of_audio']:7.2f} "
                f"{row['roof_gflops']:10.0f} {row['share_of_roof']:6.0%} "
                f"{row['floor_by_operations']:13.3f} {row['floor_by_bytes']:8.3f} {row['peak_gib']:10.2f}",
                flush=True,
            )
        if options.json:
            options.json.write_text(json.dumps(report, indent=2))
    if options.json:
        options.json.write_text(json.dumps(report, indent=2))
