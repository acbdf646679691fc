"""A few seconds of shards, and the debug experiment on them: tiny, on the CPU, in this process."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from upscale.shards.prepare import prepare

CONF = Path(__file__).parents[2] / "conf"
Compose = Callable[..., DictConfig]


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
            "~callbacks.listening",
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
