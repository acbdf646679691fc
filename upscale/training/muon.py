"""Muon for the matrices of hidden layers and AdamW for all else, as one optimizer that schedulers and checkpoints see.

Muon (Jordan et al., 2024) makes every step of a matrix orthogonal. Here its step is as large as AdamW's (Liu et al.,
2025), so that both share one rate and one weight decay. First and last layers, biases and gains stay with AdamW, as
Muon's authors advise.
"""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Optimizer

from upscale.errors import UserError


class MuonAdamW(Optimizer):
    """`matrices`: patterns of names; of the parameters that match, those with two dimensions are Muon's.

    The first group of parameters is Muon's, the second AdamW's (where there are any); one state holds both.
    """

    def __init__(
        self,
        params: Iterable[tuple[str, nn.Parameter]],
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        betas: Sequence[float] = (0.9, 0.98),
        matrices: Sequence[str] = ("*blocks.*",),
    ) -> None:
        named = list(params)
        chosen = {name for name, value in named if value.ndim == 2 and any(fnmatchcase(name, p) for p in matrices)}
        if not chosen:
            raise UserError(
                f"optimizer.matrices: no matrix that trains is called {' or '.join(matrices)}: "
                "name the network's own, or choose optimizer=adamw"
            )
        hidden = [(name, value) for name, value in named if name in chosen]
        rest = [(name, value) for name, value in named if name not in chosen]
        self._parts: list[Optimizer] = [
            torch.optim.Muon(hidden, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
        ]
        if rest:
            self._parts.append(AdamW(rest, lr=lr, weight_decay=weight_decay, betas=(betas[0], betas[1])))
        super().__init__([group for part in self._parts for group in part.param_groups], {"lr": lr})
        self._share()

    def _share(self) -> None:
        """The two step on the very groups and state that schedulers and checkpoints see and change here."""
        for part, group in zip(self._parts, self.param_groups, strict=True):
            part.param_groups, part.state = [group], self.state

    def step(self, closure: Any = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self._parts:
            part.step()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._share()
