"""From shards or from pairs to batches."""

from upscale.datamodule.batches import Batch
from upscale.datamodule.module import ShardDataModule
from upscale.datamodule.pairs.module import PairDataModule

__all__ = ["Batch", "PairDataModule", "ShardDataModule"]
