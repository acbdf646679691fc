"""Trained models as ONNX files that onnxruntime runs without PyTorch: float32, float16 weights, int8.

An exported file takes `wav` [B, C, T] of any B and T and, where the model uses it, `bitrate` [B] in kbit/s with 0 for
"not known"; what restoring must know (channels, context, stride ...) is in its metadata.
"""

import copy
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upscale.errors import UserError
from upscale.models.stft import HalfOverlapStft
from upscale.restore.backends import ONNX_METADATA, TorchBackend, Traits
from upscale.restore.restorer import Restorer

OPSET = 18
EXAMPLE_SECONDS = 1.5
FOURIER = "fourier"  # in the names of the parts that are never quantised


class ConvolutionStft(nn.Module):
    """`HalfOverlapStft` as two convolutions with sines and cosines: ONNX has no inverse Fourier transform of frames."""

    def __init__(self, stft: HalfOverlapStft) -> None:
        super().__init__()
        self.window_size, self.hop = stft.window_size, stft.hop
        self.register_buffer("window", stft.window)
        num_bins = stft.window_size // 2 + 1
        angle = 2 * torch.pi / stft.window_size * torch.outer(torch.arange(num_bins), torch.arange(stft.window_size))
        basis = torch.cat([torch.cos(angle.double()), -torch.sin(angle.double())])
        # The inverse counts every bin but the first and the last twice: they stand for their negative twins too.
        twins = torch.full((num_bins,), 2.0, dtype=torch.float64)
        twins[0] = twins[-1] = 1.0
        inverse = basis * twins.repeat(2)[:, None] / stft.window_size
        self.register_buffer("fourier_analysis", (basis * stft.window).float()[:, None])
        self.register_buffer("fourier_synthesis", (inverse * stft.window).float()[:, None])

    def analyse(self, wav: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C, T] -> real and imaginary part [B, C, F, N], as `HalfOverlapStft` gives them."""
        # Centred frames: half a window of silence before the first sample.
        padded = F.pad(wav, (self.hop, -wav.shape[-1] % self.hop + 2 * self.hop))
        spectrum = F.conv1d(padded.flatten(0, 1)[:, None], self.fourier_analysis, stride=self.hop)
        real, imaginary = spectrum.unflatten(0, (-1, wav.shape[1])).chunk(2, dim=2)
        return real, imaginary

    def synthesise(self, real: Tensor, imaginary: Tensor, num_samples: int) -> Tensor:
        """The inverse of `analyse`, [B, C, num_samples]."""
        spectrum = torch.cat([real, imaginary], dim=2).flatten(0, 1)
        wav = F.conv_transpose1d(spectrum, self.fourier_synthesis, stride=self.hop)[:, 0]
        return wav.unflatten(0, (-1, real.shape[1]))[..., self.hop : self.hop + num_samples]


def exportable(module: nn.Module) -> nn.Module:
    """A copy of a model with its Fourier transforms replaced by what ONNX can hold."""
    module = copy.deepcopy(module).cpu().eval()
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, HalfOverlapStft):
                setattr(parent, name, ConvolutionStft(child))
    return module


def export_onnx(restorer: Restorer, path: str | os.PathLike[str]) -> Path:
    """Write the model of `restorer` as float32 ONNX with dynamic batch and length."""
    if not isinstance(restorer.backend, TorchBackend):
        raise UserError("only a PyTorch model can be exported: give a bundle or a .ckpt")
    path, traits = Path(path), restorer.traits
    module = exportable(restorer.backend.model)
    num_samples = round(EXAMPLE_SECONDS * traits.sample_rate)
    wav = 0.1 * torch.randn(2, traits.channels, num_samples, generator=torch.Generator().manual_seed(0))
    dynamic = torch.export.Dim.DYNAMIC
    shapes = {"wav": {0: dynamic, 2: dynamic}, "bitrate": {0: dynamic}}
    graph = torch.export.export(module, (wav, torch.tensor([128.0, 64.0])), dynamic_shapes=shapes, strict=False)
    with_float_bounds(graph)
    with staged(path) as temporary:
        program = torch.onnx.export(
            graph,
            (),
            input_names=["wav", "bitrate"],
            output_names=["restored"],
            opset_version=OPSET,
            dynamo=True,
            # The exporter's optimiser takes "+ 1e-9" for "+ 0" and drops it, and log(0) follows.
            optimize=False,
            verbose=False,
        )
        assert program is not None
        model = program.model_proto
        describe(model, traits)
        temporary.write_bytes(model.SerializeToString())
    return path


def with_float_bounds(graph: torch.export.ExportedProgram) -> None:
    """Write clamp(x, -0.5, 1) as clamp(x, -0.5, 1.0): the exporter stumbles over bounds of two types."""
    for node in graph.graph.nodes:
        if node.target is torch.ops.aten.clamp.default:
            value, *bounds = node.args
            node.args = (value, *(None if bound is None else float(bound) for bound in bounds))


def describe(model: "onnx.ModelProto", traits: Traits) -> None:  # type: ignore[name-defined]  # noqa: F821
    """Put what restoring must know into the file."""
    entry = model.metadata_props.add()
    entry.key, entry.value = ONNX_METADATA, json.dumps(asdict(traits))


@contextmanager
def staged(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` that takes its place when all went well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".onnx")
    os.close(handle)
    try:
        yield Path(name)
        os.chmod(name, 0o644)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


__all__ = ["ConvolutionStft", "Sequence", "export_onnx", "exportable", "np", "staged"]
