"""Smaller exported models: weights in 16 bits, or convolutions in 8.

The Fourier transforms are left in float32 in every case: what the model changes is often 30 dB below the music.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static

from upscale import atomic

MIN_SIZE = 256  # values in a tensor worth compressing
QUANTISED = ["Conv", "MatMul", "Gemm"]


def to_float16(source: Path, target: Path) -> Path:
    """Weights of layers are stored in float16 and cast to float32 when the file is loaded; nothing else changes."""
    model = onnx.load(source)
    casts = []
    matrices = {node.input[1] for node in model.graph.node if node.op_type == "MatMul"}  # of linear layers
    for initializer in model.graph.initializer:
        weights = numpy_helper.to_array(initializer)
        # Windows and other constants have fewer dimensions, and would lose 30 dB of the transform's accuracy.
        is_layer = weights.ndim >= 3 or initializer.name in matrices
        if weights.dtype != np.float32 or weights.size < MIN_SIZE or not is_layer:
            continue
        name = initializer.name
        initializer.CopyFrom(numpy_helper.from_array(weights.astype(np.float16), f"{name}.float16"))
        casts.append(helper.make_node("Cast", [f"{name}.float16"], [name], f"{name}.cast", to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic.replacing(target) as temporary:
        onnx.save(model, temporary)
    return target


def to_int8_dynamic(source: Path, target: Path) -> Path:
    """int8 weights; activations are quantised by their own range at every call."""
    return _quantise(
        source,
        target,
        lambda path, others: quantize_dynamic(
            source, path, op_types_to_quantize=QUANTISED, nodes_to_exclude=others, weight_type=QuantType.QUInt8
        ),
    )


def to_int8_static(source: Path, target: Path, clips: Sequence[tuple[np.ndarray, float]]) -> Path:
    """int8 weights (a scale for each channel); activations by ranges measured on `clips`: ([B, C, T], kbit/s)."""
    return _quantise(
        source,
        target,
        lambda path, others: quantize_static(
            source, path, _Clips(clips), op_types_to_quantize=QUANTISED, nodes_to_exclude=others, per_channel=True
        ),
    )


class _Clips(CalibrationDataReader):
    def __init__(self, clips: Sequence[tuple[np.ndarray, float]]) -> None:
        self._feeds: Iterator[dict[str, np.ndarray]] = iter(
            [{"wav": wav, "bitrate": np.full(len(wav), bitrate, dtype=np.float32)} for wav, bitrate in clips]
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


def _quantise(source: Path, target: Path, quantise: Callable[[Path, list[str]], object]) -> Path:
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it advises, on the root logger, to preprocess a graph that needs none
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic.replacing(target, suffix=".onnx") as temporary:
            quantise(temporary, _without_weights(onnx.load(source)))
    finally:
        root.setLevel(level)
    return target


def _without_weights(model: onnx.ModelProto) -> list[str]:
    """The convolutions and products whose second factor is computed: the Fourier transforms."""
    weights = {initializer.name for initializer in model.graph.initializer}
    return [node.name for node in model.graph.node if node.op_type in QUANTISED and node.input[1] not in weights]
