"""A model on disk: a folder with `weights.safetensors` and `model.yaml`. Nothing in it can run code.

`model.yaml` says which class of `upscale.models` to build and with which plain arguments; the weights are tensors
and nothing else. A Lightning checkpoint is read too, with `weights_only=True`, when it holds the same two facts
under `upscale_model`.

Older bundles keep loading: a class names the arguments (`renamed_arguments`) and the weights (`retired_weights`, by
prefix) that it no longer has.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

import upscale
import upscale.models
from upscale import atomic
from upscale.errors import UserError

WEIGHTS = "weights.safetensors"
DESCRIPTION = "model.yaml"
MODELS_PACKAGE = "upscale.models"


@dataclass(frozen=True)
class Description:
    """What `model.yaml` says: how to build the model, what it was trained on (kbit/s) and what was measured."""

    model_class: str
    arguments: dict[str, Any] = field(default_factory=dict)
    sample_rate: int = 44_100
    bitrates: tuple[int, ...] = ()
    metrics: dict[str, Any] = field(default_factory=dict)
    version: str = upscale.__version__

    def to_yaml(self) -> str:
        values = asdict(self)
        values = {"class": values.pop("model_class"), **values, "bitrates": list(self.bitrates)}
        return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def save_bundle(
    folder: str | os.PathLike[str],
    model: nn.Module,
    *,
    arguments: Mapping[str, Any],
    bitrates: Sequence[int] = (),
    metrics: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
) -> Path:
    """Write `model` and the constructor `arguments` it was built with; the description last: what has one is whole.

    `bitrates`: kbit/s trained on; `metrics`: plain numbers, lists and mappings, kept as they are; `dtype`: of the file
    (None: the model's own); float16 halves it, and what is loaded has the model's own again.
    """
    folder = Path(folder)
    description = Description(
        model_class=class_path(model),
        arguments=dict(arguments),
        sample_rate=int(getattr(model, "sample_rate", 44_100)),
        bitrates=tuple(int(bitrate) for bitrate in bitrates),
        metrics=dict(metrics or {}),
    )
    text = description.to_yaml()
    # safetensors refuses tensors that share memory, and views would drag their whole storage along.
    state = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in model.state_dict().items()}
    state = {
        name: tensor.to(dtype) if dtype and tensor.is_floating_point() else tensor for name, tensor in state.items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    with atomic.replacing(folder / WEIGHTS) as temporary:
        save_file(state, temporary)
    atomic.write_text(folder / DESCRIPTION, text)
    return folder


def load_bundle(path: str | os.PathLike[str]) -> tuple[nn.Module, Description]:
    """A model in eval mode on the CPU, and its description, from a bundle's folder or a Lightning `.ckpt`."""
    path = Path(path)
    if not path.exists():
        raise UserError(f"no model at {path}: give a bundle's folder or a .ckpt file")
    description, state = _read_folder(path) if path.is_dir() else _read_checkpoint(path)
    model = build_model(description, path)
    retired = getattr(model, "retired_weights", ())
    state = {name: tensor for name, tensor in state.items() if not name.startswith(retired)}
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(
            f"the weights in {path} do not fit {description.model_class} with the arguments it names: "
            f"{' '.join(str(error).split())[:200]}"
        ) from error
    return model.eval(), description


def class_path(model: nn.Module) -> str:
    """`upscale.models.NAME` of a model whose class is public there."""
    name = type(model).__name__
    if getattr(upscale.models, name, None) is not type(model):
        raise UserError(f"{name} is not a public class of {MODELS_PACKAGE}: only those can be stored and restored")
    return f"{MODELS_PACKAGE}.{name}"


def build_model(description: Description, source: Path) -> nn.Module:
    """The module that `description` names; only classes that `upscale.models` shows are ever built."""
    package, _, name = description.model_class.rpartition(".")
    found = getattr(upscale.models, name, None) if package == MODELS_PACKAGE else None
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise UserError(f"{source} asks for {description.model_class}, which is not a model of {MODELS_PACKAGE}")
    try:
        return found(**_current_arguments(found, description.arguments))
    except (TypeError, ValueError, ArithmeticError, LookupError, RuntimeError, AssertionError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{source}: {description.model_class} refuses its arguments: {reason}") from error


def _current_arguments(model_class: type, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of an older bundle by their present names; those of parts that are no longer there are dropped.

    A class says so itself: `renamed_arguments` maps a former name to the present one, or to None.
    """
    renamed = getattr(model_class, "renamed_arguments", {})
    current = {renamed.get(name, name): value for name, value in arguments.items()}
    current.pop(None, None)
    return current


def _read_folder(folder: Path) -> tuple[Description, dict[str, torch.Tensor]]:
    for name in (DESCRIPTION, WEIGHTS):
        if not (folder / name).is_file():
            raise UserError(f"{folder} is no model bundle: it has no {name}")
    try:
        values = yaml.safe_load((folder / DESCRIPTION).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{folder / DESCRIPTION} is not plain YAML: {' '.join(str(error).split())[:200]}") from error
    try:
        state = load_file(folder / WEIGHTS)
    except SafetensorError as error:
        raise UserError(f"{folder / WEIGHTS} is damaged: {error}") from error
    return _describe(values, folder / DESCRIPTION), state


def _read_checkpoint(path: Path) -> tuple[Description, dict[str, torch.Tensor]]:
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a different type for each kind of damage
        raise UserError(f"{path} is not a checkpoint that can be read safely: {str(error).splitlines()[0]}") from error
    if not (isinstance(checkpoint, dict) and "upscale_model" in checkpoint and "state_dict" in checkpoint):
        raise UserError(f"{path} was not written by train.py: it does not say which model it holds")
    state = {
        name.removeprefix("net."): value for name, value in checkpoint["state_dict"].items() if name.startswith("net.")
    }
    return _describe(checkpoint["upscale_model"], path), state


def _describe(values: object, source: Path) -> Description:
    if not (isinstance(values, dict) and isinstance(values.get("class"), str)):
        raise UserError(f"{source} does not name the model's class")
    try:
        return Description(
            model_class=values["class"],
            arguments=dict(values.get("arguments") or {}),
            sample_rate=int(values.get("sample_rate", 44_100)),
            bitrates=tuple(int(bitrate) for bitrate in values.get("bitrates") or ()),
            metrics=dict(values.get("metrics") or {}),
            version=str(values.get("version", upscale.__version__)),
        )
    except (TypeError, ValueError) as error:
        raise UserError(f"{source} has a value of the wrong kind: {error}") from error
