"""Clips of what was computed once: inputs of one part of a network that take longer to compute than its training step.

ROOT/train/NAME.safetensors and ROOT/val/NAME.safetensors hold one piece each: named float16 arrays whose first axis
is time, all over the same `num_frames` frames (or blocks). An array has a whole number of rows for each frame, and may
have some more at its end, which every clip has, too. The file's metadata hold `kind`, `num_frames` and `bitrate`.

    frames       what the frame network of the log-magnitude predictor sees and should say
    repetitions  a passage as the filters made it, and where else the piece plays it

`scripts/released/precompute.py` writes both.

Shapes: B clips, C channels, T samples, K bands or matches, N frames, M blocks.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import Dataset

from upscale import atomic
from upscale.datamodule.loader import FixedLoader, ResumableLoader, fixed_loader, training_loader
from upscale.datamodule.samplers import Draw
from upscale.errors import UserError
from upscale.seeds import derive_seed
from upscale.shards.jobs import num_cores

SUFFIX = ".safetensors"


class FrameBatch(NamedTuple):
    """All relative to the level around a frame."""

    inputs: Tensor  # [B, inputs, N], without the bitrate
    target: Tensor  # log10 power per band, left and right, and their correlation [B, 3, K, N]; not known: NaN
    bitrate: Tensor  # kbit/s [B], 0 where the network is not told
    key: list[str]


class RepetitionBatch(NamedTuple):
    """A passage, and the places where the piece plays it again."""

    degraded: Tensor  # [B, 2, T]
    clean: Tensor
    filtered: Tensor
    matches: Tensor  # [B, K, 2, T]
    similarity: Tensor  # of each block's match to it [B, K, M]
    bitrate: Tensor  # kbit/s [B], 0 where the network is not told
    key: list[str]


KINDS: dict[str, type[FrameBatch] | type[RepetitionBatch]] = {"frames": FrameBatch, "repetitions": RepetitionBatch}


def write_piece(path: Path, arrays: Mapping[str, Tensor], *, kind: str, num_frames: int, bitrate: float) -> None:
    """Write one piece, whole or not at all; the first axis of every array is time."""
    metadata = {"kind": kind, "num_frames": str(num_frames), "bitrate": f"{bitrate:g}"}
    with atomic.replacing(path) as temporary:
        save_file({name: value.half().contiguous() for name, value in arrays.items()}, temporary, metadata)


class PrecomputedClips(Dataset):
    """An item is a whole batch: its index is the list of draws that a sampler dealt, one draw a clip.

    A clip is `num_frames` frames from anywhere in a piece, in the middle where `fixed` (validation); each is told its
    bitrate with the chance `bitrate_known`, where `fixed` always if there is any.
    """

    def __init__(self, paths: Sequence[Path], num_frames: int, bitrate_known: float, seed: int, fixed: bool) -> None:
        self.paths, self.num_frames, self.bitrate_known = list(paths), num_frames, bitrate_known
        self.seed, self.fixed = seed, fixed
        self.num_per_epoch = len(self.paths)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, draws: Sequence[Draw]) -> FrameBatch | RepetitionBatch:
        kinds, clips = zip(*[self._clip(draw) for draw in draws], strict=True)
        batch = KINDS[kinds[0]]
        tensors = {name: torch.stack([clip[name] for clip in clips]) for name in batch._fields if name != "key"}
        return batch(**tensors, key=[self.paths[number].stem for number, _, _ in draws])

    def _clip(self, draw: Draw) -> tuple[str, dict[str, Tensor]]:
        number, epoch, visit = draw
        path = self.paths[number]
        parts = (self.seed, "fixed", path.stem) if self.fixed else (self.seed, epoch, path.stem, visit)
        rng = np.random.default_rng(derive_seed(*parts, "precomputed"))
        try:
            with safe_open(path, framework="pt") as piece:
                metadata = piece.metadata()
                total = int(metadata["num_frames"])
                room = total - self.num_frames
                if room < 0:
                    raise UserError(f"{path} has {total} frames: lower data.num_frames={self.num_frames}")
                first = room // 2 if self.fixed else int(rng.integers(room + 1))
                arrays = {name: self._cut(piece.get_slice(name), first, total) for name in piece.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, KeyError, TypeError) as error:
            raise UserError(f"{path} cannot be read ({error}): delete it and run precompute.py again") from error
        is_told = self.bitrate_known > 0 if self.fixed else rng.random() < self.bitrate_known
        arrays["bitrate"] = torch.tensor(float(metadata["bitrate"]) if is_told else 0.0)
        return metadata["kind"], arrays

    def _cut(self, array: Any, first: int, total: int) -> Tensor:
        """`num_frames` frames of an array of `total`, with the time axis last."""
        rows, more = divmod(array.get_shape()[0], total)
        clip: Tensor = array[first * rows : (first + self.num_frames) * rows + more]
        return clip.float().movedim(0, -1)


class PrecomputedDataModule(LightningDataModule):
    """Random clips of precomputed pieces.

    root: folder with `train/` and `val/`. num_frames: of a clip, frames or blocks. num_batches: batches of an epoch and
    rank (None: as many as there are pieces); num_val_batches: at most so many. bitrate_known: share of training clips
    whose bitrate the network is told. channels: 2, as every network with such parts. num_workers: None takes one for
    each core.
    """

    def __init__(
        self,
        root: str,
        num_frames: int,
        batch_size: int = 16,
        num_batches: int | None = None,
        num_val_batches: int | None = None,
        bitrate_known: float = 0.5,
        channels: int = 2,
        num_workers: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if channels != 2:
            raise UserError(f"data.channels={channels}: precomputed pieces are stereo")
        self.root, self.num_frames, self.bitrate_known, self.seed = Path(root), num_frames, bitrate_known, seed
        self.batch_size, self.num_batches, self.num_val_batches = batch_size, num_batches, num_val_batches
        self.num_workers = num_cores() if num_workers is None else num_workers
        self.clips: dict[str, PrecomputedClips] = {}

    def setup(self, stage: str | None = None) -> None:
        for split in ("train", "val"):
            paths = sorted((self.root / split).glob(f"*{SUFFIX}"))
            if not paths:
                raise UserError(
                    f"{self.root}/{split} holds no precomputed pieces; make them with: "
                    f"python -m scripts.released.precompute frames --pairs FOLDER --out {self.root}"
                )
            self.clips[split] = PrecomputedClips(
                paths, self.num_frames, self.bitrate_known, self.seed, fixed=split == "val"
            )

    def train_dataloader(self) -> ResumableLoader:
        return training_loader(self.clips["train"], self.batch_size, self.num_batches, **self._options())

    def val_dataloader(self) -> FixedLoader:
        return fixed_loader(self.clips["val"], self.batch_size, self.num_val_batches, **self._options())

    def _options(self) -> dict[str, Any]:
        return {"num_workers": self.num_workers, "seed": self.seed, "trainer": self.trainer}
