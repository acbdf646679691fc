"""Pairs in shards that hold degraded versions beside each clip (`scripts/prepare_shards.py ... degrade=`).

Both sides of such a clip have one length and no lag, because one program wrote them: only their headers are checked,
when a clip is read.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from upscale.codec import CodecSpec
from upscale.datamodule.batches import SAMPLE_RATE
from upscale.datamodule.pairs.songs import Version
from upscale.shards import ClipIndex, ClipReader


@dataclass
class ShardPairs:
    """The `PairSource` of shards: every clip is a song of its own."""

    index: ClipIndex
    names: Sequence[str] = field(init=False)
    versions: Sequence[Sequence[Version]] = field(init=False)

    def __post_init__(self) -> None:
        self.names = self.index.keys
        specs = [CodecSpec(**spec) for spec in self.index.specs]
        names = [f"{number:02d}_{spec.bitrate}" for number, spec in enumerate(specs)]
        self.versions = [
            [Version(name, spec.bitrate, max(0, int(length))) for name, spec in zip(names, specs, strict=True)]
            for length in self.index.num_samples
        ]

    def read_clean(self, song: int, version: int, start: int, num_samples: int) -> np.ndarray:
        return self._read(song, 0, start, num_samples)

    def read_degraded(self, song: int, version: int, start: int, num_samples: int) -> np.ndarray:
        return self._read(song, 1 + version, start, num_samples)

    def _read(self, clip: int, column: int, start: int, num_samples: int) -> np.ndarray:
        reader = ClipReader(self.index.member(clip, column))
        if reader.sample_rate != SAMPLE_RATE:
            raise ValueError(f"{reader.sample_rate} Hz instead of {SAMPLE_RATE}")
        return reader.read(start, num_samples)

    def describe(self, song: int) -> str:
        return self.index.describe(song)
