"""Trained models for use without PyTorch: ONNX in float32, float16 and int8."""

from upscale.export.compress import to_float16, to_int8_dynamic, to_int8_static
from upscale.export.graph import export_onnx

__all__ = ["export_onnx", "to_float16", "to_int8_dynamic", "to_int8_static"]
