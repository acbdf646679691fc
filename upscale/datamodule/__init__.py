"""From shards or from pairs to batches."""

from upscale.datamodule.batches import Batch
from upscale.datamodule.module import ShardDataModule
from upscale.datamodule.pairs.module import PairDataModule
from upscale.datamodule.precomputed import FrameBatch, PrecomputedDataModule, RepetitionBatch

AnyBatch = Batch | FrameBatch | RepetitionBatch

__all__ = [
    "AnyBatch",
    "Batch",
    "FrameBatch",
    "PairDataModule",
    "PrecomputedDataModule",
    "RepetitionBatch",
    "ShardDataModule",
]
