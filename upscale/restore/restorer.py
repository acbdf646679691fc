"""The front door: load a model once, then restore arrays, tensors, streams and files with it."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import yaml

from upscale.errors import UserError
from upscale.restore.backends import Backend, OnnxBackend, TorchBackend, Traits
from upscale.restore.stream import Stream

if TYPE_CHECKING:
    from torch import nn

RELEASED = Path(__file__).parents[1] / "released"
DEFAULT_MODEL = "fidelity"
CHUNK_SECONDS = 12.0
Wav = TypeVar("Wav")


class Restorer:
    """`restorer = Restorer.load()`, then `restored = restorer(wav, sample_rate)`."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    @property
    def traits(self) -> Traits:
        return self.backend.traits

    @classmethod
    def load(cls, model: str | os.PathLike[str] | None = None, device: str = "auto") -> "Restorer":
        """`model`: a bundle's folder, a `.ckpt`, an `.onnx` or a shipped model's name; without one, `fidelity`."""
        path = find_model(model)
        if path.suffix == ".onnx":
            return cls(OnnxBackend(path, device))
        from upscale.restore.bundle import load_bundle

        module, description = load_bundle(path)
        return cls.from_module(
            module,
            device=device,
            name=_model_name(path),
            sample_rate=description.sample_rate,
            bitrates=description.bitrates,
        )

    @classmethod
    def from_module(
        cls,
        module: "nn.Module",
        *,
        device: str = "auto",
        name: str = "",
        sample_rate: int = 44_100,
        bitrates: tuple[int, ...] = (),
    ) -> "Restorer":
        """A model that is already in memory."""
        traits = Traits(
            name=name or type(module).__name__,
            channels=int(module.channels),  # type: ignore[arg-type]
            sample_rate=sample_rate,
            context=int(module.context),  # type: ignore[arg-type]
            stride=int(module.stride),  # type: ignore[arg-type]
            bitrates=tuple(bitrates),
        )
        return cls(TorchBackend(module, traits, device))

    def low_latency(self) -> "Restorer":
        """The same model without the parts that look seconds ahead or take long; itself where there are none.

        It answers sooner, and an exported graph can hold it. The network itself says which parts those are.
        """
        if not isinstance(self.backend, TorchBackend) or not hasattr(self.backend.model, "low_latency"):
            return self
        network = self.backend.model.low_latency()  # type: ignore[operator]
        if network is self.backend.model:
            return self
        return self.from_module(
            network,
            device=self.backend.device,
            name=self.traits.name,
            sample_rate=self.traits.sample_rate,
            bitrates=self.traits.bitrates,
        )

    def __call__(
        self,
        wav: Wav,
        sample_rate: int,
        bitrate: float | None = None,
        *,
        mix: float = 1.0,
        chunk_seconds: float = CHUNK_SECONDS,
    ) -> Wav:
        """`wav` [C, T] or [B, C, T], NumPy or Torch, float in ±1, to the same kind, shape and type.

        Works in overlapping chunks of `chunk_seconds`, so that memory does not grow with the model's activations;
        the result equals that of one call on the whole. `bitrate` in kbit/s, for models that ask for it.
        """
        given: Any = wav
        tensor = "torch" in sys.modules and isinstance(given, sys.modules["torch"].Tensor)
        array = given.detach().cpu().numpy() if tensor else np.asarray(given)
        _check(array, sample_rate)
        stream = self.stream(sample_rate, bitrate=bitrate, mix=mix, chunk_seconds=chunk_seconds)
        restored = np.concatenate([stream.push(array), stream.flush()], axis=-1).astype(array.dtype, copy=False)
        if tensor:
            return sys.modules["torch"].from_numpy(restored).to(given.device)
        return restored  # type: ignore[return-value]

    def stream(
        self,
        sample_rate: int,
        *,
        bitrate: float | None = None,
        mix: float = 1.0,
        chunk_seconds: float | None = None,
    ) -> Stream:
        """A stream for sound at `sample_rate`. Short chunks lag less and compute more of what is thrown away.

        Without `chunk_seconds` each chunk yields half of its context on one side (0.1 s at least): it lags by one
        and a half times the context, and a fifth of the work is kept.
        """
        hop = None if chunk_seconds is None else max(1, round(chunk_seconds * self.traits.sample_rate))
        return Stream(self.backend, sample_rate=sample_rate, hop=hop, bitrate=bitrate, mix=mix)


def find_model(model: str | os.PathLike[str] | None) -> Path:
    """The path of a model that is named; a mistake says which names and checkpoints there are."""
    name = DEFAULT_MODEL if model is None else os.fspath(model)
    path = Path(name).expanduser()
    if path.exists():
        return path
    if (RELEASED / name / "model.yaml").is_file():
        return RELEASED / name
    raise UserError(f"no model at {name}: {available_models()}")


def trained_bitrates(model: str | os.PathLike[str] | None) -> tuple[int, ...]:
    """What a model was trained on, in kbit/s; a bundle is not loaded for that."""
    path = find_model(model)
    if not path.is_dir():
        return Restorer.load(path, device="cpu").traits.bitrates
    try:
        values = yaml.safe_load((path / "model.yaml").read_text(encoding="utf-8"))
        return tuple(int(bitrate) for bitrate in values["bitrates"])
    except (OSError, KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path} is no model bundle: its model.yaml does not list bitrates") from error


def available_models(root: Path | None = None) -> str:
    """The shipped models and the best checkpoint of each run under `outputs/`, newest first, in words."""
    shipped = sorted(path.parent.name for path in RELEASED.glob("*/model.yaml"))
    root = root or Path("outputs")
    checkpoints = sorted(_best_checkpoints(root), key=lambda path: path.stat().st_mtime, reverse=True)
    names = f"shipped models: {', '.join(shipped)}" if shipped else "no model is shipped with this version"
    if checkpoints:
        return f"{names}; checkpoints: {', '.join(str(path) for path in checkpoints[:5])}"
    return f"{names}; no checkpoint under {root}/**/checkpoints yet: `make demo` or `python train.py` makes one"


def _best_checkpoints(root: Path) -> list[Path]:
    """One for each run: `best.ckpt`, or the newest where a run was stopped before it had one."""
    runs: dict[Path, list[Path]] = {}
    for path in root.glob("**/checkpoints/*.ckpt"):
        runs.setdefault(path.parent, []).append(path)
    return [max(paths, key=lambda path: (path.name == "best.ckpt", path.stat().st_mtime)) for paths in runs.values()]


def _model_name(path: Path) -> str:
    return path.name if path.is_dir() else path.stem


def _check(wav: np.ndarray, sample_rate: int) -> None:
    if wav.ndim not in (2, 3) or wav.shape[-2] < 1:
        raise UserError(f"wav must be [channels, samples] or [batch, channels, samples], not {list(wav.shape)}")
    if not np.issubdtype(wav.dtype, np.floating):
        raise UserError(f"wav must be float in ±1, not {wav.dtype}: divide integers by their full scale")
    if sample_rate <= 0:
        raise UserError(f"sample_rate must be positive, not {sample_rate}")
