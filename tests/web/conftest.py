"""A tiny model that returns its input, and MP3s of the demo's songs."""

from pathlib import Path

import pytest

from upscale.codec import CodecSpec, encode
from upscale.corpus.demo import compose
from upscale.models import WaveletUNet
from upscale.restore.bundle import save_bundle


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    arguments = {"channels": 1, "num_layers": 2, "num_filters": 4, "kernel_size": 4}
    folder = tmp_path_factory.mktemp("models") / "tiny"
    return save_bundle(folder, WaveletUNet(**arguments), arguments=arguments, bitrates=(128,))


@pytest.fixture(scope="session")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("songs") / "song.mp3"
    path.write_bytes(encode(compose(3, 2.0), CodecSpec(bitrate=128)))
    return path
