"""The batch that ended a run, made again from its report: the same clips, crops, levels and codecs, bit for bit."""

import json
from pathlib import Path

from omegaconf import OmegaConf

from upscale.datamodule import Batch, PairDataModule, ShardDataModule
from upscale.errors import UserError
from upscale.training.fit import build_datamodule, build_module
from upscale.training.non_finite import REPORT_NAME


def replay(run: Path) -> Batch:
    """The batch of `run/non_finite_loss.json`, by the run's own `config.yaml`. Needs the same shards or pairs."""
    report = run / REPORT_NAME
    if not report.is_file():
        raise UserError(f"no {REPORT_NAME} in {run}: only a run that a non-finite loss has stopped leaves one")
    facts = json.loads(report.read_text(encoding="utf-8"))
    draws = [tuple(clip["draw"]) for clip in facts["clips"] if "draw" in clip]
    if not draws:
        raise UserError(f"{report} names no draws: only training batches are replayed")
    config = OmegaConf.load(run / "config.yaml")
    data = build_datamodule(config, channels=int(build_module(config).net.channels))  # type: ignore[arg-type]
    assert isinstance(data, ShardDataModule | PairDataModule)
    data.prepare_data()
    data.setup("fit")
    batch = data.clips["train"][draws]
    if batch.key != [clip["key"] for clip in facts["clips"]]:
        raise UserError(f"{data.root} holds other clips than when {report} was written")
    return batch
