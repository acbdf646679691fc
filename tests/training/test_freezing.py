"""Frozen parts keep their weights and stay in eval mode; names that the network lacks are refused."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY_NET, AddCallbacks, Compose, last_checkpoint
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from upscale.errors import UserError
from upscale.training.fit import fit
from upscale.training.freezing import freeze


def small_net() -> nn.Module:
    block = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
    return nn.ModuleDict({"filter": block, "level": nn.ModuleDict({"head": nn.Linear(4, 4), "tail": nn.Linear(4, 4)})})


def trained(net: nn.Module) -> list[str]:
    return [name for name, parameter in net.named_parameters() if parameter.requires_grad]


def in_eval_mode(net: nn.Module) -> list[str]:
    return [name for name, module in net.named_modules() if not module.training]


@pytest.mark.parametrize(
    ("options", "expected_trained", "expected_eval"),
    [
        ({}, 6, []),
        ({"freeze": ["filter"]}, 4, ["filter", "filter.0", "filter.1"]),
        ({"freeze": ["filter", "level.tail.bias"]}, 3, ["filter", "filter.0", "filter.1"]),
        ({"train_only": ["level.tail"]}, 2, ["filter", "filter.0", "filter.1", "level.head"]),
        ({"train_only": ["level"], "freeze": ["level.head"]}, 2, ["filter", "filter.0", "filter.1", "level.head"]),
    ],
)
def test_frozen_parts_have_no_gradient_and_are_in_eval_mode(
    options: dict[str, Any], expected_trained: int, expected_eval: list[str]
) -> None:
    net = small_net()
    freeze(net, **options)
    assert len(trained(net)) == expected_trained
    assert in_eval_mode(net) == expected_eval


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"freeze": ["level.heat"]}, r"freeze: the network has no part 'level.heat'; it has level.head"),
        ({"train_only": ["xyz"]}, r"train_only: the network has no part 'xyz'; it has filter, level"),
        ({"freeze": ["fil"]}, r"no part 'fil'"),
        ({"freeze": ["filter", "level"]}, r"every parameter of the network is frozen"),
    ],
)
def test_unknown_part_is_refused_in_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        freeze(small_net(), **options)


class Observer(Callback):
    """The weights at the start, and in which modes the network and its frozen part are in each training step."""

    def __init__(self) -> None:
        self.weights: dict[str, Tensor] = {}
        self.modes: list[tuple[bool, bool]] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.weights = copy.deepcopy(pl_module.state_dict())

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        self.modes.append((pl_module.net.training, pl_module.net.blocks.training))  # type: ignore[union-attr]


def test_frozen_part_is_not_in_the_optimizer_and_keeps_its_weights_and_mode_through_validations(
    compose_debug: Compose, add_callbacks: AddCallbacks, tmp_path: Path
) -> None:
    observer = Observer()
    add_callbacks(observer)
    fit(compose_debug(*TINY_NET, "freeze=[blocks]", "trainer.max_epochs=2", "data.num_batches=2"))
    assert observer.modes == [(True, False)] * 4
    last = last_checkpoint(tmp_path / "run")
    changed = {name for name, value in last["state_dict"].items() if not torch.equal(value, observer.weights[name])}
    assert changed
    assert not any(name.startswith("net.blocks.") for name in changed)
    [group] = last["optimizer_states"][0]["param_groups"]
    assert set(group["param_names"]) == {
        "head.weight",
        "head.bias",
        "bin_bias",
        "tail.weight",
        "tail.bias",
        "equaliser",
    }
