"""`train.py codec=...` just works: every codec group, and lists of bitrates, through a real run of a few steps."""

import json
from pathlib import Path

import pytest
from conftest import Compose

from upscale.training.fit import fit

CODECS = sorted(path.stem for path in (Path(__file__).parents[2] / "conf/codec").glob("*.yaml"))


@pytest.mark.parametrize(
    "codec", [pytest.param(name, marks=[] if name == "aac" else pytest.mark.slow) for name in CODECS]
)
def test_training_with_every_codec(compose_debug: Compose, tmp_path: Path, codec: str) -> None:
    config = compose_debug(f"codec={codec}", "model.num_layers=2", "data.num_batches=3", "trainer.max_epochs=1")
    loss = fit(config)
    assert loss is not None and 0 < loss < 1
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    heard = {name.rpartition("/")[2] for name in result["best_metrics"] if name.startswith("val/si_sdr_gain/")}
    assert heard and heard <= {str(bitrate) for bitrate in config.codec.bitrates}
