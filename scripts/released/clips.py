"""What `scripts/released/train_released.py` trains on: random clips of songs before and after MP3, or of their frames."""

import math
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scripts.released.music.degrade_music import CLEAN_SCALE, DEGRADED_SCALE
from scripts.released.music.genre_sampling import by_kind, draw
from upscale.models.spectral.repetition_search import HOP, gather_repetitions

OTHER_WEIGHT = 0.5  # variable and average bitrates, other LAME settings
NOMINAL = {"v2": 190, "v5": 130, "abr112": 112, "l48": 48, "l64": 64, "l96": 96, "l128": 128, "s128": 128}
HEADER_BYTES = 128  # of an .npy file
AUDIBLE = 1e-7  # mean square; what is quieter teaches nothing
RESCAN_SECONDS = 240  # songs that are still being rendered join as they come


def nominal(variant: str) -> int:
    """kbit/s of what `scripts/released/music/degrade_music.py` calls a variant."""
    return NOMINAL.get(variant) or int(variant)


def random_gain(rng: np.random.Generator, quietest_db: float, loudness: float) -> float:
    """A factor of either sign, 0 to -`quietest_db` dB; the higher `loudness`, the more often near 0."""
    return float(10 ** (-quietest_db * rng.random() ** loudness / 20) * rng.choice([-1, 1]))


@dataclass(frozen=True)
class Batch:
    clean: Tensor
    degraded: Tensor
    bitrate: Tensor  # kbit/s, 0 where the network is not told


@dataclass(frozen=True)
class Place:
    """A clip of a song, and how it is changed."""

    clean: Path
    degraded: Path
    start: int  # sample
    swapped: bool  # left and right
    gain: float
    bitrate: int  # kbit/s, 0 where the network is not told


@dataclass(frozen=True)
class FrameBatch:
    """Of `scripts/released/cache_frames.py`, all relative to the level around a frame."""

    inputs: Tensor  # [B, inputs, N], not told the bitrate
    bitrate: Tensor  # kbit/s, 0 where the network is not told
    target: Tensor  # the clean sound's mean log10 power per band, left and right, and their correlation [B, 3, K, N]


@dataclass(frozen=True)
class RepeatBatch(Batch):
    """Of `scripts/released/cache_repeats.py`."""

    filtered: Tensor
    matches: Tensor  # [B, K, 2, T]
    likeness: Tensor  # of each block [B, K, M]


class Arrays:
    """The files of some folders; those that join them later are found too."""

    def __init__(self, folders: list[Path], suffix: str = ".npy") -> None:
        self.folders, self.suffix = folders, suffix
        self.scanned = -math.inf

    def changed(self) -> list[Path] | None:
        """All of them in order, the first time and every few minutes; in between None."""
        if time.monotonic() - self.scanned < RESCAN_SECONDS:
            return None
        self.scanned = time.monotonic()
        return sorted(path for folder in self.folders for path in folder.glob(f"*{self.suffix}"))


class FrameClips:
    """Random clips of the frames that `scripts/released/cache_frames.py` wrote."""

    def __init__(self, folders: list[Path], *, num_bands: int, num_frames: int, seed: int) -> None:
        self.arrays, self.num_bands, self.num_frames = Arrays(folders), num_bands, num_frames
        self.readers = ThreadPoolExecutor(8)  # more frames than memory holds: it is the disk that is waited for
        self.rng = np.random.default_rng(seed)

    def batch(self, size: int) -> FrameBatch:
        if (paths := self.arrays.changed()) is not None:
            self.pieces = paths
        paths = [self.pieces[self.rng.integers(len(self.pieces))] for _ in range(size)]
        clips = self.readers.map(self.clip, paths, self.rng.random(size))
        frames = torch.stack(list(clips)).float().transpose(1, 2)
        told = torch.tensor([nominal(path.stem.rsplit("@", 1)[1]) for path in paths], dtype=torch.float32)
        bitrate = torch.where(torch.from_numpy(self.rng.random(size) < 0.5), told, 0)
        inputs, target = frames[:, : -3 * self.num_bands], frames[:, -3 * self.num_bands :]
        return FrameBatch(inputs, bitrate, target.unflatten(1, (3, self.num_bands)))

    def clip(self, path: Path, place: float) -> Tensor:
        """[N, inputs + 3 * bands], `place` of the way, 0 to 1, from the first that there is to the last."""
        stored = np.load(path, mmap_mode="r")
        start = int(place * (len(stored) - self.num_frames + 1))
        return torch.from_numpy(np.array(stored[start : start + self.num_frames]))


def cut_passage(song: Mapping[str, np.ndarray], first: int, num_blocks: int) -> tuple[list[Tensor], Tensor]:
    """Blocks of a song of `scripts/released/cache_repeats.py`: clean, degraded, filtered [2, T], matches [K, 2, T]; likeness."""
    inner = slice(first * HOP, (first + num_blocks) * HOP)
    starts, likeness = (
        torch.from_numpy(song[name])[:, first : first + num_blocks + 1] for name in ("starts", "likeness")
    )
    filtered = torch.from_numpy(song["filtered"]).float()
    clean, degraded = (torch.from_numpy(song[name][:, inner]).float() for name in ("clean", "degraded"))
    matches = gather_repetitions(filtered[None], starts[None].long())[0, ..., : num_blocks * HOP]
    return [clean, degraded, filtered[:, inner], matches], likeness


class RepeatClips:
    """Random clips of the songs that `scripts/released/cache_repeats.py` wrote, `num_blocks` long."""

    def __init__(
        self, folders: list[Path], *, num_blocks: int, seed: int, quietest_db: float = 30, loudness: float = 1
    ) -> None:
        self.arrays, self.num_blocks = Arrays(folders, ".npz"), num_blocks
        self.quietest_db, self.loudness = quietest_db, loudness
        self.rng = np.random.default_rng(seed)

    def batch(self, size: int) -> RepeatBatch:
        if (paths := self.arrays.changed()) is not None:
            self.songs = paths
        clean, degraded, filtered, matches, likeness = (
            torch.stack(parts) for parts in zip(*[self.clip() for _ in range(size)], strict=True)
        )
        return RepeatBatch(clean, degraded, torch.zeros(size), filtered, matches, likeness)

    def clip(self) -> list[Tensor]:
        while True:
            song = dict(np.load(self.songs[self.rng.integers(len(self.songs))]))
            first = int(self.rng.integers(song["filtered"].shape[1] // HOP - self.num_blocks))
            wavs, likeness = cut_passage(song, first, self.num_blocks)
            if wavs[0].square().mean() > AUDIBLE:
                break
        gain = random_gain(self.rng, self.quietest_db, self.loudness)
        if self.rng.random() < 0.5:
            wavs = [wav.flip(-2) for wav in wavs]
        return [*(gain * wav for wav in wavs), likeness]


def num_samples(path: Path) -> int:
    """Of two channels in int16."""
    return (path.stat().st_size - HEADER_BYTES) // 4


class Clips:
    """Random clips of random songs, gain and channel order; the same seed and songs give the same sequence."""

    def __init__(
        self,
        folders: list[Path],
        weights: dict[int, float],
        *,
        length: int,
        quietest_db: float,
        seed: int,
        loudness: float = 1.0,
    ) -> None:
        self.arrays, self.weights, self.length = Arrays(folders), weights, length
        self.quietest_db, self.loudness = quietest_db, loudness
        self.rng = np.random.default_rng(seed)

    def sort(self, paths: list[Path]) -> None:
        found: dict[str, dict[str, Path]] = {}
        for path in paths:
            song, variant = path.stem.rsplit("@", 1)
            if variant == "clean" or not variant.isdigit() or int(variant) in self.weights:
                found.setdefault(f"{path.parent.name}/{song}", {})[variant] = path
        found = {name: song for name, song in found.items() if len(song) > 1 and "clean" in song}
        self.num_samples = {song["clean"]: num_samples(song["clean"]) for song in found.values()}
        songs = {name: song for name, song in found.items() if self.num_samples[song["clean"]] > self.length + 32}
        self.kinds = by_kind((name.split("/")[-1], song) for name, song in songs.items())

    def place(self) -> Place:
        """Any clip of any song."""
        rng = self.rng
        song = draw(self.kinds, rng)
        variants = sorted(set(song) - {"clean"})
        weights = np.array([self.weights[int(v)] if v.isdigit() else OTHER_WEIGHT for v in variants])
        variant = variants[rng.choice(len(variants), p=weights / weights.sum())]
        return Place(
            clean=song["clean"],
            degraded=song[variant],
            start=int(rng.integers(0, self.num_samples[song["clean"]] - self.length)),
            swapped=bool(rng.random() < 0.5),
            gain=random_gain(rng, self.quietest_db, self.loudness),
            bitrate=nominal(variant) if rng.random() < 0.5 else 0,
        )

    def clip(self) -> tuple[np.ndarray, np.ndarray, float]:
        while True:
            place = self.place()
            # Opened for each clip: thousands of songs are more than a process may hold open.
            stored, coded = (np.load(path, mmap_mode="r") for path in (place.clean, place.degraded))
            within = slice(place.start, place.start + self.length)
            clean = stored[within].T.astype(np.float32) / CLEAN_SCALE
            degraded = coded[within].T.astype(np.float32) / DEGRADED_SCALE
            if np.mean(clean**2) > AUDIBLE:
                break
        if place.swapped:
            clean, degraded = clean[::-1], degraded[::-1]
        return clean * place.gain, degraded * place.gain, place.bitrate

    def batch(self, size: int) -> Batch:
        if (paths := self.arrays.changed()) is not None:
            self.sort(paths)
        clean, degraded, bitrate = zip(*[self.clip() for _ in range(size)], strict=True)
        return Batch(
            clean=torch.tensor(np.stack(clean), dtype=torch.float32),
            degraded=torch.tensor(np.stack(degraded), dtype=torch.float32),
            bitrate=torch.tensor(bitrate, dtype=torch.float32),
        )


class ResidentClips(Clips):
    """The same out of a device's memory, which holds all songs from the beginning: a GPU would wait for the disk.

    0.35 MB a second, clean and degraded. Clips that are next to silent are not left out.
    """

    def __init__(self, *arguments: Any, device: torch.device, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.sort(self.arrays.changed() or [])
        paths = sorted({path for songs in self.kinds.values() for song in songs for path in song.values()})
        if not paths:
            raise SystemExit(f"error: no pieces in {', '.join(map(str, self.arrays.folders))}")
        lengths = [num_samples(path) for path in paths]
        self.samples = torch.empty(sum(lengths), 2, dtype=torch.int16, device=device)
        for path, part in zip(paths, self.samples.split(lengths), strict=True):
            part.copy_(torch.from_numpy(np.load(path)))
        self.begin = dict(zip(paths, np.cumsum([0, *lengths[:-1]]).tolist(), strict=True))

    def batch(self, size: int) -> Batch:
        places = [self.place() for _ in range(size)]
        gain = self.on_device([place.gain for place in places])[:, None, None]
        swapped = self.on_device([place.swapped for place in places])[:, None, None]
        within = torch.arange(self.length, device=self.samples.device)
        clips = []
        for side, scale in (("clean", CLEAN_SCALE), ("degraded", DEGRADED_SCALE)):
            starts = self.on_device([self.begin[getattr(place, side)] + place.start for place in places])
            wav = self.samples[starts[:, None] + within].transpose(1, 2).float() / scale
            clips.append(torch.where(swapped, wav.flip(1), wav) * gain)
        return Batch(*clips, bitrate=self.on_device([float(place.bitrate) for place in places]))

    def on_device(self, values: list[Any]) -> Tensor:
        return torch.tensor(values, device=self.samples.device)
