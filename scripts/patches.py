"""What the stage `repeat-levels` of `scripts/train_released.py` trains on: patches of spectra, computed once."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from clips import RepeatBatch, RepeatClips
from torch import Tensor
from tqdm import tqdm

from upscale.models.spectral_level import POWER_FLOOR

STORED_FRAMES = 64  # of a passage
EDGE_FRAMES = 14  # at both ends of a clip, where answers are not those within a song
SIZE = 4  # passages that are computed at a time
SHARE_SILENCED = 0.07  # of batches, in which some matches are silence, as where a song is short
SILENCE = float(np.log10(POWER_FLOOR))


@dataclass(frozen=True)
class PatchBatch:
    """What `LevelRepeat` sees and the clean sound, log10 power: [B, 2, F, N], or of K matches; level [B, 1, 1, N]."""

    answer: Tensor
    degraded: Tensor
    passage: Tensor
    matches: Tensor
    differences: Tensor
    level: Tensor
    clean: Tensor
    agreement: Tensor  # cosine between the phases of passage and clean, [B, 2, F, N]

    @property
    def seen(self) -> tuple[Tensor, ...]:
        return self.answer, self.degraded, self.passage, self.matches, self.differences, self.level


class Patches:
    """Random patches of `count` random passages, which stay in memory: 3 MB each.

    A network of a few layers learns by the number of its steps, so they are small, and what takes long is done before.
    """

    def __init__(
        self,
        clips: RepeatClips,
        compute: Callable[[RepeatBatch], PatchBatch],
        *,
        count: int,
        num_frames: int,
        seed: int,
    ) -> None:
        self.rng, self.num_frames = np.random.default_rng(seed), num_frames
        found = []
        for _ in tqdm(range(-(-count // SIZE)), desc="passages", unit_scale=SIZE):
            whole = compute(clips.batch(SIZE))
            last = whole.level.shape[-1] - EDGE_FRAMES - STORED_FRAMES
            first = int(self.rng.integers(EDGE_FRAMES, last + 1))
            found.append([part[..., first : first + STORED_FRAMES].half() for part in vars(whole).values()])
        self.parts = [torch.cat(part) for part in zip(*found, strict=True)]

    def batch(self, size: int) -> PatchBatch:
        rows = torch.from_numpy(self.rng.integers(len(self.parts[0]), size=size))
        first = int(self.rng.integers(STORED_FRAMES - self.num_frames + 1))
        parts = [part[rows][..., first : first + self.num_frames].float() for part in self.parts]
        if self.rng.random() < 0.5:
            parts = [part.flip(-3) if part.shape[-3] == 2 else part for part in parts]  # left and right
        batch = PatchBatch(*parts)
        if self.rng.random() < SHARE_SILENCED:
            kept = int(self.rng.integers(batch.matches.shape[1]))
            batch.matches[:, kept:] = SILENCE
            batch.differences[:, kept:] = batch.passage[:, None]
        return batch
