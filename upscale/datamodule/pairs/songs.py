"""What a source of pairs offers, whether it reads files or shards."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Version:
    """A degraded version of a song: name ("" for a single one), kbit/s (0: unknown), samples to draw from."""

    name: str
    bitrate: float
    num_samples: int


class PairSource(Protocol):
    """Songs (or clips of shards), each clean and in some degraded versions, at 44.1 kHz."""

    @property
    def names(self) -> Sequence[str]:
        """Of the songs."""

    @property
    def versions(self) -> Sequence[Sequence[Version]]:
        """Of each song."""

    def read_clean(self, song: int, version: int, start: int, num_samples: int) -> np.ndarray:
        """float32 `[C, num_samples]` of the clean side of this version; raises ValueError or OSError."""

    def read_degraded(self, song: int, version: int, start: int, num_samples: int) -> np.ndarray:
        """The same of the degraded side."""

    def describe(self, song: int) -> str:
        """The song's name and place for people."""
