"""A small data set of demo songs, prepared once."""

import hashlib
from pathlib import Path

import pytest

from upscale.codec import CodecSampler
from upscale.datamodule import Batch, ShardDataModule
from upscale.shards.prepare import prepare


@pytest.fixture(scope="session")
def root(tmp_path_factory) -> Path:
    """Clips of 1.5 s, three of each song: 12 to train on, 6 to validate with; two stored degraded versions of each."""
    out = tmp_path_factory.mktemp("data")
    prepare(
        out,
        num_demo_songs=6,
        demo_seconds=4.5,
        segment_seconds=1.5,
        min_seconds=1.5,
        clips_per_shard=5,
        val_share=0.3,
        test_share=0.0,
        degrade=[{"bitrate": 64}, {"bitrate": 160}],
        seed=3,
        workers=1,
    )
    return out


@pytest.fixture
def make(root):
    """make(**changes): the data module, set up for training, half-second clips, in this process."""

    def build(**changes) -> ShardDataModule:
        settings = {
            "root": str(root),
            "clip_seconds": 0.5,
            "batch_size": 4,
            "num_workers": 0,
            "channels": 2,
            "margin_seconds": 0.1,
        }
        data = ShardDataModule(codec=CodecSampler(bitrates=[64, 96, 128]), **(settings | changes))
        data.prepare_data()
        data.setup("fit")
        return data

    return build


@pytest.fixture
def digest():
    """digest(batches): a hash of every bit of them."""

    def compute(batches: list[Batch]) -> str:
        state = hashlib.sha256()
        for batch in batches:
            state.update(batch.degraded.numpy().tobytes() + batch.clean.numpy().tobytes())
            state.update(repr((batch.bitrate.tolist(), batch.key)).encode())
        return state.hexdigest()

    return compute
