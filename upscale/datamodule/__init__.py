"""From shards or from pairs to batches."""

from upscale.datamodule.batches import Batch
from upscale.datamodule.module import ShardDataModule

__all__ = ["Batch", "ShardDataModule"]
