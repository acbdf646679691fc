"""`train.py codec=...` just works: every codec group, and lists of bitrates, through a real run of a few steps."""

import json
from pathlib import Path

import pytest
from conftest import Compose

from upscale.shards.prepare import prepare
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


@pytest.mark.slow
def test_training_on_stored_degraded_clips(
    compose_debug: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = {"num_demo_songs": 4, "demo_seconds": 2.0, "segment_seconds": 1.0, "min_seconds": 1.0, "workers": 1}
    prepare(tmp_path / "stored", degrade=[{"bitrate": 96}, {"codec": "aac", "bitrate": 64}], **cut)  # type: ignore[arg-type]
    monkeypatch.setattr("upscale.datamodule.clips.roundtrip", None)  # nothing is encoded
    changes = ["data.predegraded=true", "data.num_workers=0", "model.num_layers=2", "trainer.max_epochs=1"]
    assert fit(compose_debug(f"data.root={tmp_path}/stored", *changes)) is not None
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert {name.rpartition("/")[2] for name in result["best_metrics"]} & {"96", "64"}
