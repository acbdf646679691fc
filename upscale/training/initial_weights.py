"""Weights to start from: of a whole network (`ckpt=PATH`), or part by part out of several (`init.filter=PATH`).

`init.PART=PATH` loads a checkpoint, a bundle's folder or a shipped model (`fidelity`) into the part of the network of
that name; `init.net=PATH` into the whole. The file may hold the part itself, or a network that has the part under that
name or the end of it (`repeat` for `init.filter.repeat`).
"""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from upscale.errors import UserError
from upscale.restore.bundle import load_bundle
from upscale.restore.restorer import find_model
from upscale.training.resume import LAST_NAME

WHOLE = "net"
NUM_NAMED = 3  # of the tensors that a message lists


def load_weights(net: nn.Module, *, ckpt: str | None, init: Mapping[str, Any], model: Mapping[str, Any]) -> list[str]:
    """Fill `net`, built from the config `model`; what came from where, a line each. `ckpt` "" asks for one."""
    if ckpt == "" and not init:
        raise UserError(f"this experiment starts from trained weights: add ckpt=PATH{known_checkpoints()}")
    if ckpt and init:
        raise UserError("ckpt= loads the whole network, init.PART= parts of it: give one of the two (init.net=PATH)")
    if ckpt:
        _load_whole(net, ckpt, model)
        return []
    return [_load_part(net, name, str(path)) for name, path in _flat(init).items()]


def _load_whole(net: nn.Module, ckpt: str, wanted: Mapping[str, Any]) -> None:
    if not Path(ckpt).exists():
        raise UserError(f"no checkpoint at {ckpt}{known_checkpoints()}")
    model, description = load_bundle(ckpt)
    stored = {"_target_": description.model_class, **description.arguments}
    if wanted != stored:
        differing = sorted(key for key in wanted.keys() | stored.keys() if wanted.get(key) != stored.get(key))
        typed = " ".join(f"model.{key}={stored.get(key)}" for key in differing)
        raise UserError(f"{ckpt} holds another model: choose its model= or type {typed}")
    net.load_state_dict(model.state_dict())


def _load_part(net: nn.Module, name: str, path: str) -> str:
    """Load one part and say so: `init.filter: 212 tensors from PATH; not in it, so untrained: repeat`."""
    if not path:
        raise UserError(f"this experiment starts from trained weights: add init.{name}=PATH{known_checkpoints()}")
    option = f"init.{name}={path}"
    part = net if name in ("", WHOLE) else _find_part(net, name)
    wanted = part.state_dict()
    if not wanted:
        raise UserError(f"{option}: that part has no weights")
    stored, prefix = _best_match(load_bundle(find_model(path))[0].state_dict(), name, wanted)
    unexpected = sorted(stored.keys() - wanted.keys())
    shapes = [
        f"{key} {list(value.shape)} instead of {list(wanted[key].shape)}"
        for key, value in stored.items()
        if key in wanted and value.shape != wanted[key].shape
    ]
    untrained, missing = _split_missing(wanted, stored)
    for problem, names in (("holds tensors that the part lacks", unexpected), ("has other shapes", shapes)):
        if names:
            raise UserError(f"{option} {problem}: {_listed(names)}")
    if missing or len(untrained) == len(wanted):
        raise UserError(f"{option} lacks tensors of the part: {_listed(missing or sorted(wanted))}")
    part.load_state_dict(stored, strict=False)
    source = f"{path} ({prefix.rstrip('.')})" if prefix else path
    rest = f"; not in it, so untrained: {', '.join(sorted(set(untrained.values())))}" if untrained else ""
    return f"init.{name}: {len(stored)} tensors from {source}{rest}"


def _find_part(net: nn.Module, name: str) -> nn.Module:
    parts = dict(net.named_modules())
    if name in parts:
        return parts[name]
    close = difflib.get_close_matches(name, parts, n=NUM_NAMED) or [part for part, _ in net.named_children()]
    raise UserError(f"init.{name}: the network has no part {name!r}; it has {', '.join(close)}, and {WHOLE} for all")


def _best_match(stored: Mapping[str, Tensor], name: str, wanted: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """What the file stores of the part, by names in the part, and the prefix it has in the file."""
    steps = [] if name in ("", WHOLE) else name.split(".")
    prefixes = [".".join(steps[first:]) + "." for first in range(len(steps))] + [""]
    candidates = {
        prefix: {key.removeprefix(prefix): value for key, value in stored.items() if key.startswith(prefix)}
        for prefix in prefixes
    }
    best = max(prefixes, key=lambda prefix: len(candidates[prefix].keys() & wanted.keys()))
    return candidates[best], best


def _split_missing(wanted: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> tuple[dict[str, str], list[str]]:
    """Tensors of modules that the file has nothing of, each with that module's name; and single tensors it lacks."""
    parents = {parent for key in stored for parent in _parents(key)}
    absent: dict[str, str] = {}
    missing = []
    for key in wanted.keys() - stored.keys():
        module = next((parent for parent in _parents(key) if parent not in parents), None)
        if module is None:
            missing.append(key)
        else:
            absent[key] = module
    return absent, sorted(missing)


def _parents(key: str) -> list[str]:
    """Names of the modules that a tensor lies in, the outermost first."""
    steps = key.split(".")[:-1]
    return [".".join(steps[:length]) for length in range(1, len(steps) + 1)]


def _flat(init: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"filter": {"repeat": PATH}}`, as the command line gives it, is `{"filter.repeat": PATH}`; null is left out."""
    flat: dict[str, Any] = {}
    for key, value in init.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        elif value is not None:
            flat[f"{prefix}{key}"] = value
    return flat


def _listed(names: list[str]) -> str:
    more = len(names) - NUM_NAMED
    return ", ".join(names[:NUM_NAMED]) + (f" and {more} more" if more > 0 else "")


def known_checkpoints() -> str:
    """`; the newest is PATH`, to copy from the message."""
    found = sorted(Path("outputs").glob(f"**/{LAST_NAME}"), key=lambda path: path.stat().st_mtime)
    return f"; the newest is {found[-1]}" if found else "; train one first: python train.py"
