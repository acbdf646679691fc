"""The batch that every data module yields, and the data set whose items are such batches."""

import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from upscale.datamodule.samplers import Draw
from upscale.errors import UserError

SAMPLE_RATE = 44_100

logger = logging.getLogger(__name__)


class Batch(NamedTuple):
    """`degraded` and `clean` float32 `[B, C, T]`, aligned and at one gain; `bitrate` float32 `[B]` in kbit/s.

    The bitrate 0 means that it is not known, or that the model is not told.
    """

    degraded: torch.Tensor
    clean: torch.Tensor
    bitrate: torch.Tensor
    key: list[str]


def splits_of(stage: str | None) -> tuple[str, ...]:
    """The splits that a stage of Lightning's (fit, validate, test) needs."""
    return {"fit": ("train", "val"), "validate": ("val",)}.get(stage or "", ("test",))


def check_channels_and_gain(channels: int, gain_db: Sequence[float]) -> tuple[float, float]:
    """The range of the random level in dB, once it and the number of channels are ones that a clip can have."""
    if channels not in (1, 2):
        raise UserError(f"data.channels={channels}: use 1 or 2")
    low, high = gain_db
    if low > high:
        raise UserError(f"data.gain_db={list(gain_db)}: write the lower level first")
    return low, high


class BadClipError(Exception):
    """The stored clip is damaged; anything that goes wrong after reading is not its fault."""


class BatchDataset(Dataset):
    """An item is a whole batch, not a clip: its index is the list of draws that a sampler dealt, one draw a clip.

    A worker process makes the batch, into two tensors that are allocated once. A clip that cannot be read is named
    once, counted, and replaced by its neighbour; beyond `max_bad_share` of all clips, with the `num_missing` that the
    storage no longer holds, a UserError ends the run.

    Subclasses say how many clips there are, name them (`key`, `describe`) and make one pair (`make_pair`).
    """

    advice = ""  # what a user does about clips that cannot be read

    def __init__(self, num_clips: int, shape: tuple[int, int], max_bad_share: float, num_missing: int = 0) -> None:
        self.num_clips, self.shape = num_clips, shape  # shape: [C, T] of a training clip
        self.num_per_epoch = num_clips  # an epoch without a number of batches deals every clip once
        self.max_bad_share, self.num_missing = max_bad_share, num_missing
        # One flag a clip, shared by all worker processes, so that each bad clip counts once.
        self.bad = torch.zeros(num_clips, dtype=torch.uint8).share_memory_()

    def key(self, clip: int) -> str:
        """The name of clip number `clip`, unique in this data set."""
        raise NotImplementedError

    def describe(self, clip: int) -> str:
        """The clip's name and place for people."""
        raise NotImplementedError

    def make_pair(self, draw: Draw, degraded: np.ndarray, clean: np.ndarray) -> tuple[float, str]:
        """Write one pair `[C, T]` in place; returns its bitrate and key. Raises BadClipError where the clip is bad."""
        raise NotImplementedError

    def facts(self, draw: Draw, key: str) -> dict:
        """What was done to the clip `key` in the place of `draw`, for the report of a batch that ended a run."""
        return {}

    @property
    def num_bad(self) -> int:
        return self.num_missing + int(self.bad.sum())

    def __len__(self) -> int:
        return self.num_clips

    def __getitem__(self, draws: Sequence[Draw]) -> Batch:
        size = (len(draws), *self.shape)
        degraded, clean = torch.empty(size), torch.empty(size)
        bitrates, keys = [], []
        for row, draw in enumerate(draws):
            bitrate, key = self._fill(draw, degraded[row].numpy(), clean[row].numpy())
            bitrates.append(bitrate)
            keys.append(key)
        return Batch(degraded, clean, torch.tensor(bitrates), keys)

    def _fill(self, draw: Draw, degraded: np.ndarray, clean: np.ndarray) -> tuple[float, str]:
        """The pair of `draw`, or of the next clip that is not bad."""
        number, epoch, visit = draw
        for step in range(self.num_clips):
            clip = (number + step) % self.num_clips
            if self.bad[clip]:
                continue
            try:
                return self.make_pair((clip, epoch, visit), degraded, clean)
            except BadClipError as error:
                self._note_bad(clip, error)
        raise UserError(f"none of {self.num_clips} clips can be read")

    def _note_bad(self, clip: int, error: Exception) -> None:
        if not self.bad[clip]:
            self.bad[clip] = 1
            logger.warning("bad clip %s left out (%s); %d so far", self.describe(clip), error, self.num_bad)
        num_clips = self.num_missing + self.num_clips
        if self.num_bad > self.max_bad_share * num_clips:
            raise UserError(
                f"{self.num_bad} of {num_clips} clips cannot be read, more than data.max_bad_share="
                f"{self.max_bad_share}; the last one is {self.describe(clip)} ({error}). {self.advice}"
            ) from error
