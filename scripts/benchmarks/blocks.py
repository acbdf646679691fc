"""Convolutions of the Wavelet U-Net between blocks of S samples: python -m scripts.benchmark blocks [--device cuda]

For each of its larger ones and each S, milliseconds of the forward pass and of both gradients, the plain form's (S = 1)
and the blocks' in turn. The row that `upscale.models.ops.blocked_conv.block_size` chooses is marked.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from scripts.benchmarks._cell import in_turn
from upscale.models.ops.blocked_conv import block_size, toeplitz

NUM_TAPS = 16
SHAPES = [  # samples of a clip of a second, channels in and out
    *((44_100, 1, 16), (44_100, 8, 8), (44_100, 16, 16), (44_100, 32, 16)),
    *((22_053, 32, 32), (22_053, 64, 32), (11_030, 48, 48), (11_030, 64, 48), (11_030, 96, 48)),
    *((5_518, 96, 64), (5_518, 128, 64), (2_762, 160, 80), (1_384, 192, 96)),
]
SIZES = (1, 2, 4, 8)


def operations(length: int, weight: Tensor, size: int, batch: int) -> list[Callable[[], object]]:
    """Forward, gradient by the input, gradient by the kernel, of `batch` clips."""
    kernel = toeplitz(weight, size)
    shape = (batch, -(-length // size), 1, kernel.shape[1])
    image = torch.randn(shape, device=weight.device, dtype=weight.dtype).permute(0, 3, 2, 1)
    padding = (0, kernel.shape[-1] // 2)
    grad = torch.randn_like(F.conv2d(image, kernel, padding=padding))

    def gradient(by_image: bool) -> object:
        return torch.ops.aten.convolution_backward(
            *(grad, image, kernel, None, [1, 1], padding, [1, 1], False, [0, 0], 1), [by_image, not by_image, False]
        )

    return [
        lambda: F.conv2d(image, kernel, padding=padding),
        lambda: gradient(by_image=True),
        lambda: gradient(by_image=False),
    ]


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m scripts.benchmark blocks", description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=["cpu", "cuda"])
    parser.add_argument("--dtype", default="bf16", choices=["fp32", "bf16"])
    parser.add_argument("--batch", type=int, default=32, help="clips of a second (default 32)")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each, the median counts (default 5)")
    parser.add_argument("--shapes", type=int, default=len(SHAPES), help="how many of the convolutions, largest first")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    options = parser.parse_args(argv)
    torch.backends.cudnn.benchmark = True
    dtype = torch.bfloat16 if options.dtype == "bf16" else torch.float32
    rows = []
    print("samples  in -> out   S   forward  by input  by weight, ms    whole, S = 1 is 1")
    for length, inputs, outputs in SHAPES[: options.shapes]:
        weight = torch.randn(outputs, inputs, NUM_TAPS, device=options.device, dtype=dtype)
        functions = [operations(length, weight, size, options.batch) for size in SIZES]
        flat = [function for three in functions for function in three]
        times = [1e3 * value for value in in_turn(flat, options.device, options.rounds, seconds=20)]
        plain, chosen = sum(times[:3]), block_size(inputs, outputs)
        for place, size in enumerate(SIZES):
            three = times[3 * place : 3 * place + 3]
            rows.append({"samples": length, "in": inputs, "out": outputs, "block": size, "milliseconds": three})
            figures = "  ".join(f"{value:8.3f}" for value in three)
            mark = "  <- chosen" if size == chosen else ""
            print(
                f"{length:7} {inputs:4} -> {outputs:3} {size:3}  {figures}  {sum(three) / plain:12.2f}{mark}",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2))
