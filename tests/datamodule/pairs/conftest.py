"""A folder of pairs: six short songs, each at 64 and 128 kbit/s."""

from pathlib import Path

import numpy as np
import pytest
from pair_files import SAMPLE_RATE, store

from upscale.codec import CodecSpec, roundtrip
from upscale.corpus.demo import compose
from upscale.datamodule import PairDataModule


@pytest.fixture(scope="session")
def songs() -> list[tuple[np.ndarray, dict[int, np.ndarray]]]:
    """Clean songs of three seconds and their degraded versions by bitrate, at a level where nothing clips."""
    clean = [0.5 * compose(seed, seconds=3.0) for seed in range(6)]
    return [(wav, {bitrate: roundtrip(wav, CodecSpec(bitrate=bitrate)) for bitrate in (64, 128)}) for wav in clean]


@pytest.fixture(scope="session")
def root(tmp_path_factory, songs) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    for number, (clean, versions) in enumerate(songs):
        suffix = ".flac" if number % 2 else ".wav"
        name = f"album/song {number}{suffix}" if number < 3 else f"song {number}{suffix}"
        store(folder / "clean" / name, clean)
        for bitrate, degraded in versions.items():
            store(folder / "degraded" / str(bitrate) / name, degraded)
    return folder


@pytest.fixture
def one_pair(tmp_path):
    """one_pair(clean, degraded): a folder with these two and a second, faultless song."""

    def make(clean: np.ndarray, degraded: np.ndarray, rates: tuple[int, int] = (SAMPLE_RATE, SAMPLE_RATE)) -> Path:
        store(tmp_path / "clean/a.wav", clean, rates[0])
        store(tmp_path / "degraded/a.wav", degraded, rates[1])
        for side in ("clean", "degraded"):
            store(tmp_path / side / "b.wav", 0.5 * compose(77, seconds=1.0))
        return tmp_path

    return make


@pytest.fixture
def make(root):
    """make(**changes): the data module, set up for training, half-second stereo clips, in this process."""

    def build(**changes) -> PairDataModule:
        settings = {"root": str(root), "clip_seconds": 0.5, "batch_size": 4, "num_workers": 0, "channels": 2}
        data = PairDataModule(**(settings | {"val_share": 0.3} | changes))
        data.prepare_data()
        data.setup("fit")
        return data

    return build
