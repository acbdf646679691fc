"""From a draw to a pair of waves: version, place, order of channels, level. Pure functions of the seed."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from upscale.audio import to_channels
from upscale.datamodule.batches import SAMPLE_RATE, BadClipError, BatchDataset
from upscale.datamodule.pairs.songs import PairSource, Version
from upscale.datamodule.samplers import Draw
from upscale.errors import UserError
from upscale.seeds import derive_seed

AUDIBLE = 1e-7  # mean square; what is quieter teaches nothing
MOST_PLACES = 20  # drawn of a song that is silent there; the last one is kept


@dataclass(frozen=True)
class PairCrop:
    """What is drawn for a training clip beside its place.

    `gain_db` is the range of the level and `loudness` an exponent: the higher, the more often it is near the upper end.
    The sign of the gain is drawn as well. `bitrate_known` is the share of clips whose bitrate the model is told.
    `weights` says how often each version is drawn, by its name or its bitrate; what it does not name is left out, and
    without it all versions are equal.
    """

    num_samples: int
    channels: int
    gain_db: tuple[float, float] = (-30.0, 0.0)
    loudness: float = 1.0
    bitrate_known: float = 0.5
    weights: Mapping[str, float] | None = None

    def weight(self, version: Version) -> float:
        if version.num_samples < self.num_samples:
            return 0.0
        if self.weights is None:
            return 1.0
        return self.weights.get(version.name, self.weights.get(f"{version.bitrate:g}", 0.0))


class PairClips(BatchDataset):
    """Random clips of songs. In training every song is equally likely and clip number n is song number n.

    `fixed` (validation, test): each song gives as many clips as fit into it side by side, at places that depend on
    the seed alone; versions take turns, levels and channels stay as they are.
    """

    advice = "Replace it, or take it out of the folder"

    def __init__(
        self, source: PairSource, crop: PairCrop, seed: int, fixed: bool, max_bad_share: float, num_missing: int = 0
    ) -> None:
        self.source, self.crop, self.seed, self.fixed = source, crop, seed, fixed
        self.weights = [np.array([crop.weight(version) for version in versions]) for versions in source.versions]
        usable = [song for song, weights in enumerate(self.weights) if weights.sum() > 0]
        if not usable:
            raise UserError(self._nothing_usable())
        lengths = [max(version.num_samples for version in versions) for versions in source.versions]
        self.places = [
            (song, place) for song in usable for place in range(lengths[song] // crop.num_samples if fixed else 1)
        ]
        super().__init__(len(self.places), (crop.channels, crop.num_samples), max_bad_share, num_missing)
        self.num_per_epoch = sum(lengths[song] // crop.num_samples for song in usable)

    def _nothing_usable(self) -> str:
        versions = [version for versions in self.source.versions for version in versions]
        longest = max(version.num_samples for version in versions)
        if longest < self.crop.num_samples:
            seconds = f"{self.crop.num_samples / SAMPLE_RATE:g}"
            return f"data.clip_seconds={seconds} is longer than every song ({longest / SAMPLE_RATE:.2f} s): lower it"
        found = ", ".join(sorted({version.name or f"{version.bitrate:g}" for version in versions}))
        return f"data.bitrate_weights names none of the versions that there are: {found}"

    @property
    def bitrates(self) -> list[int]:
        """kbit/s of the versions that are drawn, without those that are not known."""
        drawn = {
            round(version.bitrate)
            for versions, weights in zip(self.source.versions, self.weights, strict=True)
            for version, weight in zip(versions, weights, strict=True)
            if weight > 0
        }
        return sorted(drawn - {0})

    def key(self, clip: int) -> str:
        song, place = self.places[clip]
        return f"{self.source.names[song]}#{place}" if self.fixed else self.source.names[song]

    def describe(self, clip: int) -> str:
        return self.source.describe(self.places[clip][0])

    def make_pair(self, draw: Draw, degraded: np.ndarray, clean: np.ndarray) -> tuple[float, str]:
        clip, epoch, visit = draw
        song, _ = self.places[clip]
        parts = (self.seed, "fixed", self.key(clip)) if self.fixed else (self.seed, epoch, self.key(clip), visit)
        rng = np.random.default_rng(derive_seed(*parts, "pair"))
        number = self._version(song, visit, rng)
        version = self.source.versions[song][number]
        try:
            start, wav = self._audible(song, number, version.num_samples, rng)
            other = self.source.read_degraded(song, number, start, self.crop.num_samples)
        except (ValueError, OSError) as error:
            raise BadClipError(str(error)) from error
        gain, swapped = self._change(rng)
        for target, source in ((clean, wav), (degraded, other)):
            target[:] = to_channels(source, self.crop.channels)[:: -1 if swapped else 1] * gain
        is_told = self.crop.bitrate_known > 0 if self.fixed else rng.random() < self.crop.bitrate_known
        bitrate = version.bitrate if is_told else 0.0
        return bitrate, f"{self.source.names[song]}@{version.name or 'degraded'}+{start}"

    def _version(self, song: int, visit: int, rng: np.random.Generator) -> int:
        weights = self.weights[song]
        if self.fixed:
            usable = np.flatnonzero(weights)
            return int(usable[visit % len(usable)])
        return int(rng.choice(len(weights), p=weights / weights.sum()))

    def _audible(self, song: int, version: int, length: int, rng: np.random.Generator) -> tuple[int, np.ndarray]:
        """A place where something is heard, and the clean side there."""
        for _ in range(MOST_PLACES):
            start = int(rng.integers(length - self.crop.num_samples + 1))
            wav = self.source.read_clean(song, version, start, self.crop.num_samples)
            if np.mean(np.square(wav)) > AUDIBLE:
                break
        return start, wav

    def _change(self, rng: np.random.Generator) -> tuple[np.float32, bool]:
        """Gain of either sign, and whether left and right change places."""
        low, high = self.crop.gain_db
        level = high - (high - low) * rng.random() ** self.crop.loudness
        sign, swapped = rng.choice([-1, 1]), bool(rng.random() < 0.5)
        return (np.float32(1), False) if self.fixed else (np.float32(sign * 10 ** (level / 20)), swapped)
