"""From a draw to a pair of waves: crop, level, codec. Pure functions of the seed, so that any batch can be replayed."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from upscale.audio import to_channels
from upscale.codec import CodecSampler, CodecSpec, roundtrip
from upscale.datamodule.order import Draw
from upscale.errors import UserError
from upscale.seeds import derive_seed
from upscale.shards import ClipIndex, ClipReader

SAMPLE_RATE = 44_100
# What follows a clip reaches back by the encoder's look-ahead and no further: with two MP3 frames after it the clip is
# the same to the last bit as with any more (docs/benchmarks.md). What lies before it matters for much longer.
MARGIN_AFTER = 2 * 1_152

logger = logging.getLogger(__name__)


class Batch(NamedTuple):
    """`degraded` and `clean` float32 `[B, C, T]`, aligned and at one gain; `bitrate` float32 `[B]` in kbit/s."""

    degraded: torch.Tensor
    clean: torch.Tensor
    bitrate: torch.Tensor
    key: list[str]


class _BadClipError(Exception):
    """The stored clip is damaged; anything that goes wrong after reading is not its fault."""


@dataclass(frozen=True)
class Crop:
    """How a stored clip becomes a training clip. Samples at 44.1 kHz.

    `before` and `after` are encoded around the clip and cut away, so that the encoder is in full swing, as in the
    middle of a song; where the stored clip is too short for them, they give way. `gain_db` is the range of the random
    level, which the encoder hears as well.
    """

    num_samples: int
    before: int
    after: int
    channels: int
    gain_db: tuple[float, float]


class Clips(Dataset):
    """Item = a whole batch, made in the worker from the draws of a sampler.

    `fixed` makes crops, levels and specs depend on the clip alone, the bitrates taking turns (validation, test).
    A clip that cannot be read is named once, counted, and replaced by its neighbour; beyond `max_bad_share` of all
    clips, with the `num_lost` that no shard holds any more, a UserError ends the run.
    """

    def __init__(
        self,
        index: ClipIndex,
        codec: CodecSampler,
        crop: Crop,
        seed: int,
        fixed: bool,
        predegraded: bool,
        max_bad_share: float,
        num_lost: int = 0,
    ) -> None:
        self.index, self.codec, self.crop, self.seed = index, codec, crop, seed
        self.fixed, self.predegraded, self.max_bad_share = fixed, predegraded, max_bad_share
        self.num_lost = num_lost
        self.specs = [CodecSpec(**spec) for spec in index.specs]
        # One flag a clip, shared by all worker processes, so that each bad clip counts once.
        self.bad = torch.zeros(len(index), dtype=torch.uint8).share_memory_()

    @property
    def num_bad(self) -> int:
        return self.num_lost + int(self.bad.sum())

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, draws: Sequence[Draw]) -> Batch:
        size = (len(draws), self.crop.channels, self.crop.num_samples)
        degraded, clean = torch.empty(size), torch.empty(size)
        bitrates, keys = [], []
        for row, draw in enumerate(draws):
            spec, key = self._fill(draw, degraded[row].numpy(), clean[row].numpy())
            bitrates.append(float(spec.bitrate))
            keys.append(key)
        return Batch(degraded, clean, torch.tensor(bitrates), keys)

    def spec(self, draw: Draw, key: str) -> CodecSpec:
        """What was done to the clip `key` in the place of `draw` (without `predegraded`): to replay a batch."""
        _, epoch, visit = draw
        parts = (self.seed, "fixed", key) if self.fixed else (self.seed, epoch, key, visit)
        return self._draw_spec(derive_seed(*parts, "codec"), visit)

    def _fill(self, draw: Draw, degraded: np.ndarray, clean: np.ndarray) -> tuple[CodecSpec, str]:
        """Write one pair `[C, T]` in place; returns what was done to it and the key of the clip."""
        number, epoch, visit = draw
        for step in range(len(self.index)):
            clip = (number + step) % len(self.index)
            key = self.index.keys[clip]
            if self.bad[clip]:
                continue
            parts = (self.seed, "fixed", key) if self.fixed else (self.seed, epoch, key, visit)
            try:
                return self._make(clip, parts, visit, degraded, clean), key
            except _BadClipError as error:
                self._note_bad(clip, error)
        raise UserError(f"none of {len(self.index)} clips can be read")

    def _make(
        self, clip: int, parts: tuple[object, ...], visit: int, degraded: np.ndarray, clean: np.ndarray
    ) -> CodecSpec:
        rng = np.random.default_rng(derive_seed(*parts, "crop"))
        reader = self._open(clip, column=0)
        start, first, last = self._place(reader.num_samples, rng)
        level = 0.0 if self.fixed else rng.uniform(*self.crop.gain_db)
        gain = np.float32(10 ** (level / 20))
        if self.predegraded:
            choice = visit % len(self.specs) if self.fixed else int(rng.integers(len(self.specs)))
            spec = self.specs[choice]
            clean[:] = self._level(reader, start, self.crop.num_samples, gain)
            degraded[:] = self._level(self._open(clip, column=1 + choice), start, self.crop.num_samples, gain)
            return spec
        spec = self._draw_spec(derive_seed(*parts, "codec"), visit)
        source = self._level(reader, first, last - first, gain)
        begin, end = start - first, start - first + self.crop.num_samples
        clean[:] = source[:, begin:end]
        degraded[:] = roundtrip(source, spec, SAMPLE_RATE)[:, begin:end]
        return spec

    def _open(self, clip: int, column: int) -> ClipReader:
        try:
            reader = ClipReader(self.index.member(clip, column))
        except (ValueError, OSError) as error:
            raise _BadClipError(str(error)) from error
        if reader.sample_rate != SAMPLE_RATE:
            raise _BadClipError(f"{reader.sample_rate} Hz instead of {SAMPLE_RATE}")
        return reader

    def _place(self, num_stored: int, rng: np.random.Generator) -> tuple[int, int, int]:
        """Start of the crop, and the first and last sample to encode; `fixed`: the crop in the middle."""
        room = num_stored - self.crop.num_samples
        if room < 0:
            raise _BadClipError(f"holds {num_stored} samples; {self.crop.num_samples} are needed")
        after = min(self.crop.after, room)
        before = min(self.crop.before, (room - after) // 2)  # half of a scarce room is for crops to differ
        start = min(room // 2, room - after) if self.fixed else int(rng.integers(before, room - after + 1))
        before = min(self.crop.before, start)
        return start, start - before, start + self.crop.num_samples + after

    def _level(self, reader: ClipReader, start: int, num_samples: int, gain: np.float32) -> np.ndarray:
        try:
            wav = reader.read(start, num_samples)
        except (ValueError, OSError) as error:
            raise _BadClipError(str(error)) from error
        return to_channels(wav, self.crop.channels) * gain

    def _draw_spec(self, seed: int, visit: int) -> CodecSpec:
        """Training draws freely; a fixed clip takes the first draw of the bitrate whose turn it is."""
        if not self.fixed:
            return self.codec.draw(seed)
        turn = self.codec.bitrates[visit % len(self.codec.bitrates)]
        for attempt in range(10_000):
            spec = self.codec.draw(derive_seed(seed, attempt))
            if spec.bitrate == turn:
                return spec
        raise AssertionError(f"the codec never draws {turn} kbit/s")

    def _note_bad(self, clip: int, error: Exception) -> None:
        if not self.bad[clip]:
            self.bad[clip] = 1
            logger.warning("bad clip %s left out (%s); %d so far", self.index.describe(clip), error, self.num_bad)
        num_clips = self.num_lost + len(self.index)
        if self.num_bad > self.max_bad_share * num_clips:
            raise UserError(
                f"{self.num_bad} of {num_clips} clips cannot be read, more than data.max_bad_share="
                f"{self.max_bad_share}; the last one is {self.index.describe(clip)} ({error}). "
                "Run scripts/verify_shards.py on the folder"
            ) from error
