"""Muon and AdamW in one optimizer: the steps of torch's two side by side, one rate, and a state that comes back."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from upscale.errors import UserError
from upscale.training.muon import MuonAdamW

# Every fourth of 20 losses, and the last, of the optimizer that trained the released models until 2026-11.
RELEASED_LOSSES = [0.174535, 0.1294739, 0.0408564, 0.0203191, 0.009523, 0.0043948]


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(8, 24), nn.Linear(24, 8)

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + self.down(torch.tanh(self.up(hidden)))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head, self.tail = nn.Linear(3, 8), nn.Linear(8, 2)
        self.blocks = nn.ModuleList([Block(), Block()])

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.head(inputs)
        for block in self.blocks:
            hidden = block(hidden)
        return self.tail(hidden)


def losses(net: Net, num_steps: int, first: int = 0) -> Iterator[Tensor]:
    for step in range(first, first + num_steps):
        generator = torch.Generator().manual_seed(step)
        yield net(torch.randn(4, 3, generator=generator)).square().mean()


def train(net: Net, optimizer: torch.optim.Optimizer, num_steps: int, first: int = 0) -> list[float]:
    shown = []
    schedule = LambdaLR(optimizer, lambda step: 1 - (first + step) / 40)
    for loss in losses(net, num_steps, first):
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        shown.append(loss.item())
    return shown


def assert_same(one: nn.Module, other: nn.Module) -> None:
    torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0)


def test_steps_equal_those_of_torchs_two_optimizers_side_by_side() -> None:
    one, other = Net(), Net()
    optimizer = MuonAdamW(one.named_parameters(), lr=1e-2)
    matrices = [layer.weight for block in other.blocks for layer in (block.up, block.down)]  # type: ignore[union-attr]
    rest = [value for value in other.parameters() if all(value is not matrix for matrix in matrices)]
    parts = [
        torch.optim.Muon(matrices, lr=1e-2, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=1e-2, weight_decay=0.01, betas=(0.9, 0.98)),
    ]
    shown = train(one, optimizer, 20)
    assert [*shown[::4], shown[-1]] == pytest.approx(RELEASED_LOSSES, rel=1e-4)
    for step, loss in enumerate(losses(other, 20)):
        for part in parts:
            part.zero_grad()
            part.param_groups[0]["lr"] = 1e-2 * (1 - step / 40)
        loss.backward()
        for part in parts:
            part.step()
    assert_same(one, other)
    assert [len(group["params"]) for group in optimizer.param_groups] == [4, 8]


def test_state_goes_through_a_file_and_training_goes_on_to_the_bit(tmp_path: Path) -> None:
    through, stopped = Net(), Net()
    train(through, MuonAdamW(through.named_parameters(), lr=1e-2), 10)
    first = MuonAdamW(stopped.named_parameters(), lr=1e-2)
    train(stopped, first, 4)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    resumed = MuonAdamW(stopped.named_parameters(), lr=1.0)
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    train(stopped, resumed, 6, first=4)
    assert_same(stopped, through)


def test_network_without_hidden_matrices_is_refused() -> None:
    net = Net()
    with pytest.raises(UserError, match=r"no matrix that trains is called \*layers\*: .* optimizer=adamw"):
        MuonAdamW(net.named_parameters(), matrices=["*layers*"])
