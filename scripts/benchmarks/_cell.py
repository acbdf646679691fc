"""One cell of the model benchmark, in a process of its own: `python _cell.py '{"preset": ..., ...}'` prints its rows.

Alone in a process, its peak memory is its own, and one that compiles for ever can be ended.
"""

import gc
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import yaml
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import upscale.models
from upscale.models.layers.blocks import Conv, ConvNormGelu
from upscale.training.cuda_graph import capture

CONF = Path(__file__).parents[2] / "conf" / "model"
SAMPLE_RATE = 44100
PRODUCT_SIZE = {"cpu": 1536, "cuda": 8192}
COPY_BYTES = {"cpu": 64 * 2**20, "cuda": 2**30}


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


def in_turn(functions: list[Callable[[], object]], device: str, count: int, seconds: float) -> list[float]:
    """Median seconds of each, measured in turn: up to `count` rounds, two at least, after one to warm up."""
    for function in functions:
        function()
    start, rounds = time.perf_counter(), list[list[float]]()
    while len(rounds) < 2 or (len(rounds) < count and time.perf_counter() - start < seconds):
        rounds.append([timed(function, device) for function in functions])
    return [statistics.median(times) for times in zip(*rounds, strict=True)]


def work(preset: str) -> tuple[int, int]:
    """Operations (a multiply-add is two) and bytes that one clip of a second asks of the forward pass.

    The operations are those of the plain form, convolution by convolution, whatever form is run. The bytes are each
    convolution's input, output and weights, once, in fp32: all that stays if everything between them is fused.
    """
    model, num_bytes = build(preset).to("meta"), 0

    def count(module: Any, inputs: Any, output: Any) -> None:
        nonlocal num_bytes
        conv = module if isinstance(module, Conv) else module.conv
        num_bytes += 4 * (inputs[0].numel() + output.numel() + conv.weight.numel())

    for module in model.modules():
        # A fused block takes its convolution's weights and does not call it.
        if isinstance(module, Conv) or (isinstance(module, ConvNormGelu) and module.activate is None):
            module.register_forward_hook(count)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.empty(1, int(model.channels), SAMPLE_RATE, device="meta"))  # type: ignore[arg-type]
    return counter.get_total_flops(), num_bytes


def peak_bytes(device: str) -> int:
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(cell: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for the forward pass and one for the training step of `batch` clips of one second."""
    device, batch, bf16 = cell["device"], cell["batch"], cell["dtype"] == "bf16"
    operations, num_bytes = work(cell["preset"])
    torch.manual_seed(0)
    model = build(cell["preset"]).to(device)
    wav = 0.1 * torch.randn(batch, int(model.channels), SAMPLE_RATE, device=device)  # type: ignore[arg-type]
    clean, bitrate = 0.1 * torch.randn_like(wav), torch.zeros(batch, device=device)
    optimizer = torch.optim.Adam(model.parameters(), fused=device == "cuda")
    network = torch.compile(model) if cell["mode"] == "compiled" else model
    torch.backends.cudnn.benchmark = True
    if cell["mode"] == "graph":
        with torch.autocast(device, dtype=torch.bfloat16, enabled=bf16):
            capture(network, (torch.zeros_like(wav), torch.zeros_like(bitrate)))

    def forward() -> None:
        with torch.inference_mode(), torch.autocast(device, dtype=torch.bfloat16, enabled=bf16):
            network(wav, bitrate)

    def step() -> None:
        with torch.autocast(device, dtype=torch.bfloat16, enabled=bf16):
            restored = network(wav, bitrate)
        F.mse_loss(restored.float(), clean).backward()
        optimizer.step()
        optimizer.zero_grad()

    size = PRODUCT_SIZE[device]
    square = torch.randn(size, size, device=device, dtype=torch.bfloat16 if bf16 else torch.float32)
    source = torch.empty(COPY_BYTES[device] // 4, device=device)
    target = torch.empty_like(source)
    rows = []
    for what, function, factor in (("forward", forward, 1), ("step", step, 3)):
        functions: list[Callable[[], object]] = [
            function,
            lambda: torch.mm(square, square),
            lambda: target.copy_(source),
        ]
        seconds, product, copy = in_turn(functions, device, cell["pairs"], cell["seconds"])
        roof, copy_rate = 2 * size**3 / product, 2 * COPY_BYTES[device] / copy
        rows.append(
            {
                **{name: cell[name] for name in ("preset", "batch", "mode", "dtype", "device")},
                "what": what,
                "seconds": seconds,
                "gmac_per_second_of_audio": operations / 2e9,
                "roof_gflops": roof / 1e9,
                "copy_gb_per_second": copy_rate / 1e9,
                "floor_by_operations": factor * batch * operations / roof,
                "floor_by_bytes": factor * batch * num_bytes / copy_rate,
                "share_of_roof": factor * batch * operations / seconds / roof,
                "times_real_time": batch / seconds,
                "peak_gib": peak_bytes(device) / 2**30,
            }
        )
    if cell["profile"]:
        gc.collect()
        with torch.profiler.profile() as profile:
            step()
        print(profile.key_averages().table(sort_by=f"self_{device}_time_total", row_limit=20), file=sys.stderr)
    return rows


if __name__ == "__main__":
    print(json.dumps(measure(json.loads(sys.argv[1]))))
