"""Model speed beside the machine's own: `python scripts/benchmark.py model [--presets ...] [--json PATH]`.

Every measurement is paired with a matrix product timed right after it, so that a machine whose speed drifts or does
other work gives a fair share. Work counts multiply-adds as two operations; a training step counts three forward passes.
"""

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ptwt
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import upscale.models
from upscale.models.wavelet import DWT

CONF = Path(__file__).parents[2] / "conf" / "model"
PRESETS = ["wavelet_unet", "wavelet_unet_stereo", "wavelet_unet_small", "wavelet_packet", "original"]
SAMPLE_RATE = 44100
PRODUCT_SIZE = {"cpu": 1536, "cuda": 8192}
COPY_BYTES = 256 * 2**20


def build(preset: str) -> nn.Module:
    """The model of conf/model/PRESET.yaml, its one level of defaults included."""
    values = yaml.safe_load((CONF / f"{preset}.yaml").read_text())
    bases = [name for name in values.pop("defaults", []) if name != "_self_"]
    for base in bases:
        values = {**yaml.safe_load((CONF / f"{base}.yaml").read_text()), **values}
    name = values.pop("_target_").rpartition(".")[2]
    return getattr(upscale.models, name)(**values)


def timed(function: Callable[[], object], device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    function()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def pairs(
    function: Callable[[], object], product: Callable[[], object], count: int, device: str
) -> tuple[float, float]:
    """Median seconds of `function` and of the matrix product, measured in turn; one call of each warms up."""
    function()
    product()
    measured = [(timed(function, device), timed(product, device)) for _ in range(count)]
    seconds, product_seconds = zip(*measured, strict=True)
    return statistics.median(seconds), statistics.median(product_seconds)


def forward_operations(model: nn.Module, wav: Tensor) -> int:
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(wav)
    return counter.get_total_flops()


def peak_bytes(device: str) -> int:
    """The most that was ever held: on a CPU by the whole process so far, in a run of one preset by that preset."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(preset: str, *, batch: int, compiled: bool, dtype: str, device: str, count: int) -> list[dict[str, Any]]:
    """One row for the forward pass and one for the training step of `batch` clips of one second."""
    torch.manual_seed(0)
    model = build(preset).to(device)
    channels = int(model.channels)  # type: ignore[arg-type]
    wav = 0.1 * torch.randn(batch, channels, SAMPLE_RATE, device=device)
    clean = 0.1 * torch.randn_like(wav)
    operations = forward_operations(model, wav)
    optimizer = torch.optim.Adam(model.parameters())
    network = torch.compile(model) if compiled else model
    kind = torch.bfloat16 if dtype == "bf16" else torch.float32
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()

    def forward() -> None:
        with torch.inference_mode(), torch.autocast(device, dtype=torch.bfloat16, enabled=dtype == "bf16"):
            network(wav)

    def step() -> None:
        with torch.autocast(device, dtype=torch.bfloat16, enabled=dtype == "bf16"):
            restored = network(wav)
        F.mse_loss(restored.float(), clean).backward()
        optimizer.step()
        optimizer.zero_grad()

    size = PRODUCT_SIZE[device]
    square = torch.randn(size, size, device=device, dtype=kind)
    rows = []
    for what, function, work in (("forward", forward, operations), ("step", step, 3 * operations)):
        seconds, product_seconds = pairs(function, lambda: torch.mm(square, square), count, device)
        roof = 2 * size**3 / product_seconds
        rows.append(
            {
                "preset": preset,
                "what": what,
                "batch": batch,
                "mode": "compiled" if compiled else "eager",
                "dtype": dtype,
                "device": device,
                "seconds": seconds,
                "gmac_per_second_of_audio": operations / 2e9 / batch,
                "roof_gflops": roof / 1e9,
                "share_of_roof": work / seconds / roof,
                "times_real_time": batch / seconds,
                "peak_gib": peak_bytes(device) / 2**30,
            }
        )
    return rows


def measure_transform(count: int, device: str) -> dict[str, float]:
    """DWT forward and backward of (4, 64, 65536) against ptwt's, in turn."""
    wav = torch.randn(4, 64, 65536, device=device, requires_grad=True)
    dwt = DWT("db4", mode="zero").to(device)

    def ours() -> None:
        dwt(wav).sum().backward()

    def theirs() -> None:
        sum(band.sum() for band in ptwt.wavedec(wav, "db4", level=1, mode="zero")).backward()

    seconds, ptwt_seconds = pairs(ours, theirs, count, device)
    return {"seconds": seconds, "ptwt_seconds": ptwt_seconds, "times_as_fast": ptwt_seconds / seconds}


def copy_rate(count: int, device: str) -> float:
    """Bytes per second of a large copy, read and written."""
    source = torch.empty(COPY_BYTES // 4, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    return 2 * COPY_BYTES / statistics.median(timed(lambda: target.copy_(source), device) for _ in range(count))


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="benchmark.py model", description=__doc__.splitlines()[0])
    parser.add_argument("--presets", nargs="+", default=PRESETS, choices=PRESETS)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--modes", nargs="+", default=["eager", "compiled"], choices=["eager", "compiled"])
    parser.add_argument("--dtypes", nargs="+", default=["fp32", "bf16"], choices=["fp32", "bf16"])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=["cpu", "cuda"])
    parser.add_argument("--pairs", type=int, default=5, help="measurements of each, the median counts")
    parser.add_argument("--json", type=Path, help="write the rows here")
    options = parser.parse_args(argv)
    report: dict[str, Any] = {
        "threads": torch.get_num_threads(),
        "copy_gb_per_second": copy_rate(options.pairs, options.device) / 1e9,
        "transform": measure_transform(options.pairs, options.device),
        "rows": [],
    }
    print(f"copy {report['copy_gb_per_second']:.1f} GB/s, {report['threads']} threads", flush=True)
    print(f"DWT forward and backward: {report['transform']['times_as_fast']:.1f} times as fast as ptwt", flush=True)
    print(f"{'preset':20} {'what':8} batch mode     dtype   seconds  GMAC/s  roof GF/s  share  x real time  peak GiB")
    cases = [
        (p, b, m, d) for p in options.presets for b in options.batches for m in options.modes for d in options.dtypes
    ]
    for preset, batch, mode, dtype in cases:
        for row in measure(
            preset, batch=batch, compiled=mode == "compiled", dtype=dtype, device=options.device, count=options.pairs
        ):
            report["rows"].append(row)
            print(
                f"{preset:20} {row['what']:8} {batch:5} {mode:8} {dtype:5} {row['seconds']:9.3f} "
                f"{row['gmac_per_second_of_audio']:7.2f} {row['roof_gflops']:10.0f} {row['share_of_roof']:6.0%} "
                f"{row['times_real_time']:12.1f} {row['peak_gib']:9.2f}",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(report, indent=2))
