"""Shards in, batches of degraded and clean clips out: the LightningDataModule."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule

from upscale.codec import CodecSampler
from upscale.datamodule.batches import SAMPLE_RATE, check_channels_and_gain, splits_of
from upscale.datamodule.clips import MARGIN_AFTER, Clips, Crop
from upscale.datamodule.loader import FixedLoader, ResumableLoader, fixed_loader, training_loader
from upscale.datamodule.missing_clips import count_missing_clips
from upscale.errors import UserError
from upscale.shards import ClipIndex, index_shards, local_shards
from upscale.shards.jobs import num_cores
from upscale.shards.manifest import NAME


class ShardDataModule(LightningDataModule):
    """Clips are cropped, degraded and levelled in worker processes; nothing degraded needs to be stored.

    root: folder of shards (`scripts/prepare_shards.py`) or a URL that webdataset can open; see `upscale.shards.remote`.
    codec: what draws the specs. clip_seconds: length of a training clip, at most that of the stored ones.
    num_batches: batches of an epoch and rank (None: as many as the clips fill); num_val_batches: at most so many.
    channels: 1 mixes stereo down before encoding. margin_seconds: encoded before each clip and cut away.
    gain_db: range of the random level in training. num_workers: None takes one for each core.
    max_bad_share: of the clips that may be unreadable. predegraded: read the stored degraded versions instead of
    encoding. cache: where remote shards are kept.
    """

    def __init__(
        self,
        root: str,
        codec: CodecSampler,
        clip_seconds: float = 1.0,
        batch_size: int = 16,
        num_batches: int | None = None,
        num_val_batches: int | None = None,
        channels: int = 1,
        margin_seconds: float = 0.5,
        gain_db: Sequence[float] = (-12.0, 0.0),
        num_workers: int | None = None,
        max_bad_share: float = 0.01,
        predegraded: bool = False,
        cache: str = "data/cache",
        seed: int = 0,
    ) -> None:
        super().__init__()
        gain_range = check_channels_and_gain(channels, gain_db)
        if clip_seconds <= 0 or batch_size < 1:
            raise UserError(f"data.clip_seconds={clip_seconds} and data.batch_size={batch_size} must be positive")
        self.root, self.codec, self.seed = str(root), codec, seed
        before, after = round(margin_seconds * SAMPLE_RATE), MARGIN_AFTER if margin_seconds else 0
        self.crop = Crop(round(clip_seconds * SAMPLE_RATE), before, after, channels, gain_range)
        self.batch_size, self.num_batches, self.num_val_batches = batch_size, num_batches, num_val_batches
        self.num_workers = num_cores() if num_workers is None else num_workers
        self.max_bad_share, self.predegraded, self.cache = max_bad_share, predegraded, Path(cache)
        self.clips: dict[str, Clips] = {}

    def prepare_data(self) -> None:
        """Copy remote shards, once on each machine; refuse a folder without shards before anything else starts."""
        for split in ("train", "val"):
            self._shards(split)

    def setup(self, stage: str | None = None) -> None:
        """Index the shards of the splits that `stage` (fit, validate, test) needs."""
        for split in splits_of(stage):
            if split not in self.clips:
                self.clips[split] = self._clips(split)

    def train_dataloader(self) -> ResumableLoader:
        return training_loader(self.clips["train"], self.batch_size, self.num_batches, **self._options())

    def val_dataloader(self) -> FixedLoader:
        return fixed_loader(self.clips["val"], self.batch_size, self.num_val_batches, **self._options())

    def test_dataloader(self) -> FixedLoader:
        return fixed_loader(self.clips["test"], self.batch_size, self.num_val_batches, **self._options())

    def _options(self) -> dict[str, Any]:
        return {"num_workers": self.num_workers, "seed": self.seed, "trainer": self.trainer}

    def _shards(self, split: str) -> list[Path]:
        shards = local_shards(self.root, split, self.cache)
        if not shards:
            raise UserError(
                f"{self.root}/{split} holds no shards; make them with: "
                f"python scripts/prepare_shards.py 'sources=[demo]' out={self.root}   "
                f"(your own music: 'sources=[folder]' roots.folder=DIR)"
            )
        return shards

    def _clips(self, split: str) -> Clips:
        shards = self._shards(split)
        index = index_shards(shards, salvage=(shards[0].parent / NAME).exists())
        num_missing = count_missing_clips(index, self.max_bad_share)
        index = self._long_enough(index, split)
        if self.predegraded and not index.specs:
            raise UserError(
                f"{self.root}/{split} holds no degraded clips for data.predegraded=true; make them with: "
                "python scripts/prepare_shards.py 'degrade=[{bitrate:64},{bitrate:128}]' ..."
            )
        fixed = split != "train"
        return Clips(index, self.codec, self.crop, self.seed, fixed, self.predegraded, self.max_bad_share, num_missing)

    def _long_enough(self, index: ClipIndex, split: str) -> ClipIndex:
        """Without the clips that are shorter than a training clip (the ends of songs)."""
        usable = (index.num_samples >= self.crop.num_samples) | (index.num_samples < 0)
        if not usable.any():
            longest = index.num_samples.max() / SAMPLE_RATE
            wanted = self.crop.num_samples / SAMPLE_RATE
            raise UserError(
                f"data.clip_seconds={wanted:g} is longer than every clip in {self.root}/{split} ({longest:g} s): "
                f"lower it, or prepare shards with segment_seconds={wanted:g} or more"
            )
        return index.select(usable)
