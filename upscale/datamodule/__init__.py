"""From shards to batches."""

from upscale.datamodule.clips import Batch
from upscale.datamodule.module import ShardDataModule

__all__ = ["Batch", "ShardDataModule"]
