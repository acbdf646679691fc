"""What computes: PyTorch or ONNX Runtime, behind one call on NumPy arrays. PyTorch is imported only where it is used.

Legend: B clips, C channels (the model's own, 1 or 2), T samples at the model's rate.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from upscale.chunked_stage import Stage, State, each, single_stage
from upscale.errors import UserError

if TYPE_CHECKING:
    from torch import nn

ONNX_METADATA = "upscale_model"


@dataclass(frozen=True)
class Traits:
    """What restoring must know of a model: `context` and `stride` in samples, `bitrates` trained on in kbit/s."""

    name: str
    channels: int
    sample_rate: int
    context: int
    stride: int
    bitrates: tuple[int, ...] = ()


class Backend(Protocol):
    traits: Traits
    device: str

    @property
    def stages(self) -> list[Stage]:
        """What a stream runs one behind the other, each in chunks of its own, on NumPy arrays."""

    def __call__(self, wav: np.ndarray, bitrate: np.ndarray | None) -> np.ndarray:
        """[B, C, T] float32 and [B] kbit/s (or none) to [B, C, T] float32."""


class TorchBackend:
    """A model of `upscale.models` on a device."""

    def __init__(self, model: "nn.Module", traits: Traits, device: str = "auto") -> None:
        self.traits = traits
        self.device = pick_device(device)
        self.model = model.to(self.device).eval()

    @property
    def stages(self) -> list[Stage]:
        stages = getattr(self.model, "stages", None)
        if stages is None:
            return [single_stage(self, self.traits.context, self.traits.stride)]
        return [replace(stage, function=partial(self._run, stage.function)) for stage in stages]

    def __call__(self, wav: np.ndarray, bitrate: np.ndarray | None) -> np.ndarray:
        return self._run(self.model, wav, bitrate)

    def _run(self, function: Callable[..., State], state: State, bitrate: np.ndarray | None, *kept: slice) -> State:
        """`function` of tensors, on arrays."""
        import torch

        with torch.inference_mode():
            given = each(lambda part: torch.from_numpy(np.ascontiguousarray(part)).to(self.device), state)
            condition = None if bitrate is None else torch.as_tensor(bitrate, dtype=torch.float32, device=self.device)
            return each(lambda part: part.float().cpu().numpy(), function(given, condition, *kept))


class OnnxBackend:
    """An exported model; needs onnxruntime and no PyTorch."""

    def __init__(self, path: Path, device: str = "auto") -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise UserError(f"{path} needs onnxruntime: pip install 'upscalemp3[onnx]'") from error
        available = onnxruntime.get_available_providers()
        wanted = {"auto": "CUDAExecutionProvider", "cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}
        provider = wanted.get(device)
        if provider is None or (device != "auto" and provider not in available):
            raise UserError(f"the installed onnxruntime cannot use device={device}: use auto or cpu")
        providers = [name for name in dict.fromkeys((provider, "CPUExecutionProvider")) if name in available]
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors; it warns of constants that it does not fold
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # onnxruntime's own exception classes are private
            raise UserError(f"{path} is not an ONNX model that can be read: {str(error).splitlines()[0]}") from error
        metadata: dict[str, Any] = self.session.get_modelmeta().custom_metadata_map
        if ONNX_METADATA not in metadata:
            raise UserError(f"{path} was not written by scripts/export_onnx.py: it does not say how to be used")
        values = json.loads(metadata[ONNX_METADATA])
        self.traits = Traits(**{**values, "bitrates": tuple(values["bitrates"])})
        self.device = "cuda" if providers[0] == "CUDAExecutionProvider" else "cpu"
        self._inputs = [entry.name for entry in self.session.get_inputs()]

    @property
    def stages(self) -> list[Stage]:
        return [single_stage(self, self.traits.context, self.traits.stride)]

    def __call__(self, wav: np.ndarray, bitrate: np.ndarray | None) -> np.ndarray:
        feeds = {"wav": np.ascontiguousarray(wav)}
        if "bitrate" in self._inputs:
            # 0 stands for "not known" in an exported graph, which cannot take a missing input.
            unknown = np.zeros(len(wav), dtype=np.float32)
            feeds["bitrate"] = unknown if bitrate is None else np.asarray(bitrate, dtype=np.float32)
        return self.session.run(None, feeds)[0]


def pick_device(device: str) -> str:
    """`auto` takes CUDA, then Apple's MPS, then the CPU; a device that is named must exist."""
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return next(name for name, there in available.items() if there)
    if not available.get(device.split(":")[0], False):
        there = ", ".join(name for name, present in available.items() if present)
        raise UserError(f"device={device} is not here: use auto, {there}")
    return device
