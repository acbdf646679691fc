"""The trainer of the released models: its optimizer, and means of two trainings."""

import importlib
from types import ModuleType

import pytest
import torch

from upscale.models.spectral.log_magnitude import FrameBlock


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return importlib.import_module(f"scripts.released.{name}")


def test_muon_and_adam_share_the_weights_and_go_on_where_they_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    script = load("train_released", monkeypatch)

    def trained(steps: list[int]) -> list[torch.Tensor]:
        torch.manual_seed(0)
        model = FrameBlock(width=16, dilation=1)
        hidden, state = torch.randn(2, 20, 16), None
        for count in steps:
            optimizer = script.MatrixOptimizer(model)
            if state is not None:
                optimizer.load_state_dict(state)
            optimizer.set_rate(1e-2)
            for _ in range(count):
                model.zero_grad()
                (model.eval()(hidden) - 1).square().mean().backward()
                optimizer.step()
            state = optimizer.state_dict()
        return [parameter.detach() for parameter in model.parameters()]

    at_once, in_two, before = trained([4]), trained([2, 2]), trained([])
    for once, halves, start in zip(at_once, in_two, before, strict=True):
        assert torch.equal(once, halves)
        assert not torch.equal(once, start)


def test_a_matrix_steps_along_its_nearest_orthogonal_one(monkeypatch: pytest.MonkeyPatch) -> None:
    script = load("train_released", monkeypatch)
    torch.manual_seed(0)
    model = FrameBlock(width=16, dilation=1)
    before = model.up.weight.detach().clone()
    optimizer = script.MatrixOptimizer(model)
    optimizer.set_rate(1e-2)
    gradient = torch.randn(48, 16)
    model.up.weight.grad = gradient.clone()
    optimizer.step()
    step = model.up.weight.detach() - before * (1 - 1e-4)  # rate times decay of the weights
    left, _, right = torch.linalg.svd(gradient, full_matrices=False)
    direction = -(left @ right)
    assert (step * direction).sum() / (step.norm() * direction.norm()) > 0.97
    assert step.square().mean().sqrt() == pytest.approx(0.2e-2, rel=0.2)  # what AdamW's steps come to


def test_bands_that_were_trained_on_come_into_a_finished_level_network(monkeypatch: pytest.MonkeyPatch) -> None:
    script = load("average_weights", monkeypatch)
    names = ("frame_network.head.weight", "band_tail.bias", "band_bias", "offset_tail.weight", "tail.weight")
    rest, before, after = ({name: torch.full((3,), value) for name in names} for value in (9.0, 0.0, 4.0))
    found = script.with_bands(rest, before, after, share=0.75)
    assert {name: float(value[0]) for name, value in found.items()} == {
        name: 9.0 if name in ("offset_tail.weight", "tail.weight") else 3.0 for name in names
    }
    with pytest.raises(AssertionError, match="one stage"):
        script.mean(before, {}, share=0.5)
