"""Pairs in, batches of degraded and clean clips out: the LightningDataModule."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule

from upscale.datamodule.batches import SAMPLE_RATE, check_channels_and_gain, splits_of
from upscale.datamodule.loader import FixedLoader, ResumableLoader, fixed_loader, training_loader
from upscale.datamodule.pairs.checks import align, check_all
from upscale.datamodule.pairs.clips import PairClips, PairCrop
from upscale.datamodule.pairs.folder import AlignedPair, FilePair, FolderPairs, find_pairs, read_bitrates
from upscale.datamodule.pairs.shards import ShardPairs
from upscale.datamodule.pairs.songs import PairSource
from upscale.errors import UserError
from upscale.seeds import derive_seed
from upscale.shards import index_shards, local_shards
from upscale.shards.jobs import num_cores
from upscale.shards.remote import is_remote

SPLITS = ("train", "val", "test")

logger = logging.getLogger(__name__)


class PairDataModule(LightningDataModule):
    """Songs that were degraded before: by another codec, a tape, a broadcast, or encoded whole and once.

    root: a folder with `clean/` and `degraded/` (see `upscale.datamodule.pairs.folder`), or with such folders below
    `train/` and `val/`, or shards that hold both sides. clip_seconds: length of a training clip.
    num_batches: batches of an epoch and rank (None: as many as the songs fill); num_val_batches: at most so many.
    channels: 1 mixes stereo down. gain_db, loudness, bitrate_known, bitrate_weights: see `PairCrop`.
    val_share: of the songs, by a hash of the name, where there is no folder `val/`; val_songs names them instead.
    align: shift and trim files that lag, and turn inverted ones, instead of refusing them.
    num_workers: None takes one for each core. max_bad_share: of the pairs that may be unreadable.
    cache: where remote shards are kept.
    """

    def __init__(
        self,
        root: str,
        clip_seconds: float = 1.0,
        batch_size: int = 16,
        num_batches: int | None = None,
        num_val_batches: int | None = None,
        channels: int = 1,
        gain_db: Sequence[float] = (-30.0, 0.0),
        loudness: float = 1.0,
        bitrate_known: float = 0.5,
        bitrate_weights: Mapping[Any, float] | None = None,
        val_share: float = 0.1,
        val_songs: Sequence[str] = (),
        align: bool = False,
        num_workers: int | None = None,
        max_bad_share: float = 0.01,
        cache: str = "data/cache",
        seed: int = 0,
    ) -> None:
        super().__init__()
        gain_range = check_channels_and_gain(channels, gain_db)
        if clip_seconds <= 0 or batch_size < 1 or loudness <= 0:
            raise UserError("data.clip_seconds, data.batch_size and data.loudness must be positive")
        if not (0 <= bitrate_known <= 1 and 0 <= val_share < 1):
            raise UserError(f"data.bitrate_known={bitrate_known} and data.val_share={val_share} are shares, 0 to 1")
        weights = (
            None if bitrate_weights is None else {str(key): float(bitrate_weights[key]) for key in bitrate_weights}
        )
        num_samples = round(clip_seconds * SAMPLE_RATE)
        self.crop = PairCrop(num_samples, channels, gain_range, loudness, bitrate_known, weights)
        self.root, self.seed, self.align, self.cache = str(root), seed, align, Path(cache)
        self.batch_size, self.num_batches, self.num_val_batches = batch_size, num_batches, num_val_batches
        self.val_share, self.val_songs, self.max_bad_share = val_share, tuple(val_songs), max_bad_share
        self.num_workers = num_cores() if num_workers is None else num_workers
        self.clips: dict[str, PairClips] = {}
        self._aligned: dict[Path, list[AlignedPair]] = {}  # of the folders that were opened

    def prepare_data(self) -> None:
        """Check every pair, once on each machine, and copy remote shards."""
        for split in ("train", "val"):
            self._source(split)

    def setup(self, stage: str | None = None) -> None:
        """Open the pairs of the splits that `stage` (fit, validate, test) needs."""
        for split in splits_of(stage):
            if split not in self.clips:
                fixed = split != "train"
                self.clips[split] = PairClips(self._source(split), self.crop, self.seed, fixed, self.max_bad_share)

    @property
    def bitrates(self) -> list[int]:
        """kbit/s that a model hears in training, where they are known: its description says so."""
        return self.clips["train"].bitrates if "train" in self.clips else []

    def train_dataloader(self) -> ResumableLoader:
        return training_loader(self.clips["train"], self.batch_size, self.num_batches, **self._options())

    def val_dataloader(self) -> FixedLoader:
        return fixed_loader(self.clips["val"], self.batch_size, self.num_val_batches, **self._options())

    def test_dataloader(self) -> FixedLoader:
        return fixed_loader(self.clips["test"], self.batch_size, self.num_val_batches, **self._options())

    def _options(self) -> dict[str, Any]:
        return {"num_workers": self.num_workers, "seed": self.seed, "trainer": self.trainer}

    def _source(self, split: str) -> PairSource:
        """The pairs of a split."""
        root = Path(self.root)
        if is_remote(self.root) or any(root.glob("*/*.tar")):
            return self._shards(split)
        if not root.is_dir():
            raise UserError(f"data.root={self.root}: no such folder; it needs clean/ and degraded/ or shards")
        has_splits = any((root / name / "clean").is_dir() for name in SPLITS)
        folder = root / split if has_splits else root
        if has_splits and not folder.is_dir():
            raise UserError(f"{root} has no folder {split}/ with clean/ and degraded/, but others like it")
        if folder not in self._aligned:
            pairs = find_pairs(folder, read_bitrates(root) | read_bitrates(folder))
            self._aligned[folder] = self._align_all(pairs, folder)
        aligned = self._aligned[folder]
        if not has_splits:
            chosen = self._songs_of(split, sorted({one.pair.name for one in aligned}))
            aligned = [one for one in aligned if one.pair.name in chosen]
        return FolderPairs.of(aligned)

    def _align_all(self, pairs: Sequence[FilePair], folder: Path) -> list[AlignedPair]:
        """The pairs that can be used. A UserError names the first that is refused; a share may be unreadable."""
        aligned, problems, num_unreadable = [], [], 0
        for pair, finding in zip(pairs, check_all(pairs, folder, self.num_workers), strict=True):
            try:
                aligned.append(align(pair, finding, self.align))
            except UserError as error:
                num_unreadable += finding.unreadable
                if finding.unreadable and num_unreadable <= self.max_bad_share * len(pairs):
                    logger.warning("pair left out: %s", error)
                else:
                    problems.append(str(error))
        if problems:
            more = f" ({len(problems)} of {len(pairs)} pairs cannot be used)" if len(problems) > 1 else ""
            raise UserError(problems[0] + more)
        return aligned

    def _songs_of(self, split: str, names: Sequence[str]) -> set[str]:
        """The songs of a split, by the hash of their names: songs that join later move no other."""
        if split == "test":
            raise UserError(f"{self.root} has no test songs; put pairs into {self.root}/test/clean and test/degraded")
        unknown = set(self.val_songs) - set(names)
        if unknown:
            raise UserError(f"data.val_songs: there is no song {sorted(unknown)[0]} in {self.root}/clean")
        chance = {name: split_chance(name) for name in names}
        val = set(self.val_songs) or {name for name in names if chance[name] < self.val_share}
        val = val or {min(names, key=chance.__getitem__)}
        if len(val) == len(names):
            raise UserError(
                f"{self.root} holds {len(names)} songs, all to validate with: add songs, or lower val_share"
            )
        return val if split == "val" else set(names) - val

    def _shards(self, split: str) -> ShardPairs:
        shards = local_shards(self.root, split, self.cache)
        if not shards:
            raise UserError(f"{self.root}/{split} holds no shards, but other splits do")
        index = index_shards(shards)
        if not index.specs:
            raise UserError(
                f"{self.root}/{split} holds no degraded clips; make them with: "
                "python scripts/prepare_shards.py 'degrade=[{bitrate:64},{bitrate:128}]' ..."
            )
        return ShardPairs(index)


def split_chance(name: str) -> float:
    """A number from 0 to 1 that depends on the song's name alone; songs below `val_share` are for validation."""
    return derive_seed("split", name) / 2**63
