"""Parts of a network that do not train: `freeze=[filter]`, or `train_only=[filter.repeat]` for all but a few.

A part is a module or a parameter by its name in the network (`filter`, `level.blocks.0`, `level.band_bias`). What is
frozen has no gradient, is not in the optimizer, and stays in eval mode: its dropout is off, its normalisation fixed.
"""

import difflib
from collections.abc import Iterable, Sequence

from torch import nn

from upscale.errors import UserError


def freeze(net: nn.Module, *, freeze: Sequence[str] = (), train_only: Sequence[str] = ()) -> None:
    """Freeze the parts in `freeze` and, where `train_only` names any, all that is not in those."""
    for name in (*freeze, *train_only):
        _check(net, name, option="freeze" if name in freeze else "train_only")
    for name, parameter in net.named_parameters():
        if _lies_in(name, freeze) or (train_only and not _lies_in(name, train_only)):
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in net.parameters()):
        raise UserError("every parameter of the network is frozen: name fewer parts in freeze or more in train_only")
    _eval_frozen(net)


def _eval_frozen(module: nn.Module) -> None:
    """A frozen block's dropout has no parameters: it goes with its block."""
    parameters = list(module.parameters())
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        module.eval()
        return
    for child in module.children():
        _eval_frozen(child)


def _lies_in(name: str, parts: Iterable[str]) -> bool:
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def _check(net: nn.Module, name: str, option: str) -> None:
    parts = [*(part for part, _ in net.named_modules() if part), *(part for part, _ in net.named_parameters())]
    if name in parts:
        return
    close = difflib.get_close_matches(name, parts, n=3) or [part for part, _ in net.named_children()]
    raise UserError(f"{option}: the network has no part {name!r}; it has {', '.join(close)}")
