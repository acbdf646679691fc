"""A few seconds of shards, and the debug experiment on them: tiny, on the CPU, in this process."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from lightning.pytorch import Callback, Trainer
from omegaconf import DictConfig

from upscale.shards.prepare import prepare
from upscale.training import fit as fit_module

CONF = Path(__file__).parents[2] / "conf"
Compose = Callable[..., DictConfig]
AddCallbacks = Callable[..., None]
TINY_NET = [  # trains in a second
    "model=spectral_gain",
    "model.width=4",
    "model.num_blocks=1",
    "model.window_size=512",
    "data.clip_seconds=0.1",
    "data.margin_seconds=0.05",
    "optimizer.lr=0.01",
]


class Probe(Callback):
    """Calls `action(trainer)` at one hook, when `trainer.global_step` has reached `step`, once."""

    def __init__(self, hook: str, step: int, action: Callable[[Trainer], object]) -> None:
        self.step, self.action, self.done = step, action, False
        setattr(self, hook, self._look)

    def _look(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        if trainer.global_step >= self.step and not self.done:
            self.done = True
            self.action(trainer)


def terminate(trainer: Trainer) -> None:
    signal.raise_signal(signal.SIGTERM)


def last_checkpoint(run: Path) -> dict[str, Any]:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)


def assert_same_optimizers(one: dict[str, Any], other: dict[str, Any]) -> None:
    """To the bit, in two checkpoints."""
    for optimizer, reference in zip(one["optimizer_states"], other["optimizer_states"], strict=True):
        torch.testing.assert_close(optimizer["state"], reference["state"], rtol=0, atol=0)
        assert optimizer["param_groups"] == reference["param_groups"]


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "shards"
    prepare(
        out,
        num_demo_songs=4,
        demo_seconds=3.0,
        segment_seconds=1.0,
        min_seconds=1.0,
        val_share=0.25,
        test_share=0.25,
        workers=1,
    )
    return out


@pytest.fixture
def compose_debug(shards: Path, tmp_path: Path) -> Compose:
    """`compose_debug(*overrides, output_dir=...)`: experiment=debug on the shards, short clips, no pictures."""

    def composed(*overrides: str, output_dir: Path = tmp_path / "run") -> DictConfig:
        tiny = [
            "experiment=debug",
            f"data.root={shards}",
            f"output_dir={output_dir}",
            "data.clip_seconds=0.25",
            "~callbacks.audio_logging",
            "trainer.enable_model_summary=false",
        ]
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose("train", overrides=[*tiny, *overrides])

    return composed


@pytest.fixture(autouse=True)
def one_thread() -> object:
    """Tiny tensors: more threads cost more than they bring, and sums keep their order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def default_sigterm() -> Iterator[None]:
    """As in a process of its own: parallel test runners install a handler that exits, and Lightning keeps it."""
    previous = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, previous)


@pytest.fixture
def add_callbacks(monkeypatch: pytest.MonkeyPatch) -> AddCallbacks:
    """Give the next trainers these callbacks as well."""
    original = fit_module.build_trainer

    def add(*callbacks: Callback) -> None:
        def build(config: DictConfig, **kwargs: Any) -> Trainer:
            trainer = original(config, **kwargs)
            trainer.callbacks[:0] = callbacks  # type: ignore[attr-defined]
            return trainer

        monkeypatch.setattr(fit_module, "build_trainer", build)

    return add
