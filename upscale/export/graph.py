"""Trained models as ONNX files that onnxruntime runs without PyTorch.

An exported file takes `wav` [B, C, T] of any B and T and, where the model uses it, `bitrate` [B] in kbit/s with 0 for
"not known"; what restoring must know (channels, context, stride ...) is in its metadata.
"""

import copy
import json
import math
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn

from upscale import atomic
from upscale.errors import UserError
from upscale.models.layers.stft import Spectrum, TightStft
from upscale.restore.backends import ONNX_METADATA, TorchBackend, Traits
from upscale.restore.restorer import Restorer

OPSET = 18
EXAMPLE_SECONDS = 1.5
LAYOUTS = {"Transpose", "Unsqueeze", "Squeeze", "Gather"}  # the same values in another order or shape


class ConvolutionStft(nn.Module):
    """`TightStft` as two convolutions with sines and cosines: ONNX has no inverse Fourier transform of frames.

    The sines and cosines are part of the graph, not of the file, which would grow from 1 MB to 34 MB with them;
    onnxruntime computes them once, when it loads the file.
    """

    window: Tensor
    bins: Tensor
    samples: Tensor
    twins: Tensor

    def __init__(self, stft: TightStft) -> None:
        super().__init__()
        self.window_size, self.hop, self.lead = stft.window_size, stft.hop, stft.lead
        num_bins = stft.window_size // 2 + 1
        self.register_buffer("window", stft.window)
        self.register_buffer("bins", torch.arange(num_bins)[:, None])
        self.register_buffer("samples", torch.arange(stft.window_size))
        # The inverse counts every bin but the first and the last twice: they stand for their negative twins too.
        twins = torch.full((num_bins, 1), 2.0 / stft.window_size)
        twins[0] = twins[-1] = 1.0 / stft.window_size
        self.register_buffer("twins", twins)

    def basis(self, scale: Tensor | float) -> Tensor:
        """Windowed cosines and negative sines [2F, 1, window], each bin times `scale`."""
        # In whole numbers: from a window of 8,192 on, the products leave what float32 holds exactly.
        steps = torch.remainder(self.bins * self.samples, self.window_size)
        turn = steps.to(torch.float32) * (2 * math.pi / self.window_size)
        return torch.cat([torch.cos(turn) * scale, -torch.sin(turn) * scale])[:, None] * self.window

    def analyse(self, wav: Tensor) -> Spectrum:
        """[B, C, T] -> real and imaginary part [B, C, F, N], as `TightStft` gives them."""
        # Centred frames: half a window of silence before the first sample and after the last, beside the lead.
        half = self.window_size // 2
        padded = F.pad(wav, (half + self.lead, -wav.shape[-1] % self.hop + 2 * half))
        spectrum = F.conv1d(padded.flatten(0, 1)[:, None], self.basis(1.0), stride=self.hop)
        real, imaginary = spectrum.unflatten(0, (-1, wav.shape[1])).chunk(2, dim=2)
        return Spectrum(real, imaginary)

    def synthesise(self, real: Tensor, imaginary: Tensor, num_samples: int) -> Tensor:
        """The inverse of `analyse`, [B, C, num_samples]."""
        spectrum = torch.cat([real, imaginary], dim=2).flatten(0, 1)
        wav = F.conv_transpose1d(spectrum, self.basis(self.twins), stride=self.hop)[:, 0]
        start = self.window_size // 2 + self.lead
        return wav.unflatten(0, (-1, real.shape[1]))[..., start : start + num_samples]


def exportable(module: nn.Module) -> nn.Module:
    """A copy of a model with its Fourier transforms replaced by what ONNX can hold."""
    module = copy.deepcopy(module).cpu().eval()
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, TightStft):
                setattr(parent, name, ConvolutionStft(child))
    return module


def export_onnx(restorer: Restorer, path: str | os.PathLike[str]) -> Path:
    """Write the model of `restorer` as float32 ONNX with dynamic batch and length.

    What looks seconds ahead stays behind (`Restorer.low_latency`).
    """
    if not isinstance(restorer.backend, TorchBackend):
        raise UserError("only a PyTorch model can be exported: give a bundle or a .ckpt")
    restorer = restorer.low_latency()
    assert isinstance(restorer.backend, TorchBackend)
    path, traits = Path(path), restorer.traits
    module = exportable(restorer.backend.model)
    num_samples = round(EXAMPLE_SECONDS * traits.sample_rate)
    wav = 0.1 * torch.randn(2, traits.channels, num_samples, generator=torch.Generator().manual_seed(0))
    dynamic = torch.export.Dim.DYNAMIC
    shapes = {"wav": {0: dynamic, 2: dynamic}, "bitrate": {0: dynamic}}
    graph = torch.export.export(module, (wav, torch.tensor([128.0, 64.0])), dynamic_shapes=shapes, strict=False)
    with_float_bounds(graph)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic.replacing(path) as temporary:
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
        forget_origin(model)
        fold_layouts(model)
        describe(model, traits)
        temporary.write_bytes(model.SerializeToString())
    return path


def with_float_bounds(graph: torch.export.ExportedProgram) -> None:
    """Write clamp(x, -0.5, 1) as clamp(x, -0.5, 1.0): the exporter stumbles over bounds of two types."""
    for node in graph.graph.nodes:
        if node.target is torch.ops.aten.clamp.default:
            value, *bounds = node.args
            node.args = (value, *(None if bound is None else float(bound) for bound in bounds))


def forget_origin(model: onnx.ModelProto) -> None:
    """Drop the stack traces of every node, which hold this machine's paths and are as large as the weights."""
    del model.graph.value_info[:]
    for part in (model.graph, *model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]
        part.doc_string = ""


def fold_layouts(model: onnx.ModelProto) -> None:
    """Store the weights of layers as they are multiplied, not to be turned first: only then does what compresses a
    file see that they are weights. Sines and cosines stay part of the graph (`ConvolutionStft`)."""
    graph = model.graph
    constants: dict[str, np.ndarray] = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    folded, kept = set(), []
    for node in graph.node:
        is_layout = node.op_type in LAYOUTS and all(name in constants for name in node.input)
        if is_layout or node.op_type == "Constant":
            (value,) = list(ReferenceEvaluator(node).run(None, {name: constants[name] for name in node.input}))
            constants[node.output[0]] = np.asarray(value)
        if is_layout:
            folded.add(node.output[0])
        else:
            kept.append(node)
    used = {name for node in kept for name in node.input}
    initializers = [initializer for initializer in graph.initializer if initializer.name in used]
    initializers += [numpy_helper.from_array(constants[name], name) for name in sorted(folded & used)]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend(initializers)


def describe(model: onnx.ModelProto, traits: Traits) -> None:
    """Put what restoring must know into the file."""
    entry = model.metadata_props.add()
    entry.key, entry.value = ONNX_METADATA, json.dumps(asdict(traits))
