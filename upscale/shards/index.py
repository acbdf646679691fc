"""Where every clip of a set of shards lies: read once from the tar headers, so that any clip can be opened directly."""

import json
import logging
import mmap
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from upscale.errors import UserError
from upscale.shards.clip import FORMATS, ClipReader

logger = logging.getLogger(__name__)


@dataclass
class ClipIndex:
    """The clips of local shards, in the order of the shards. One column per member: offset and size in bytes.

    Column 0 is the clean clip; the others, where the shards hold them, its degraded versions in the order of `specs`.
    Opened shards stay mapped, per process.
    """

    shards: list[Path]
    keys: list[str]
    shard: np.ndarray  # [N]
    offsets: np.ndarray  # [N, 1 + len(specs)]
    sizes: np.ndarray  # [N, 1 + len(specs)]
    num_samples: np.ndarray  # [N], by the clips' headers; -1 where a header cannot be read
    specs: list[dict[str, Any]]
    _maps: dict[int, memoryview] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.keys)

    def member(self, number: int, column: int = 0) -> memoryview:
        """The bytes of a member of clip `number`."""
        start, size = int(self.offsets[number, column]), int(self.sizes[number, column])
        return self._mapped(int(self.shard[number]))[start : start + size]

    def select(self, chosen: np.ndarray) -> "ClipIndex":
        """The clips where `chosen` (bool `[N]`) holds."""
        numbers = np.flatnonzero(chosen)
        return ClipIndex(
            shards=self.shards,
            keys=[self.keys[number] for number in numbers],
            shard=self.shard[numbers],
            offsets=self.offsets[numbers],
            sizes=self.sizes[numbers],
            num_samples=self.num_samples[numbers],
            specs=self.specs,
        )

    def describe(self, number: int) -> str:
        """A clip's name for people: key and shard."""
        return f"{self.keys[number]} in {self.shards[int(self.shard[number])]}"

    def _mapped(self, shard: int) -> memoryview:
        if shard not in self._maps:
            with open(self.shards[shard], "rb") as file:
                self._maps[shard] = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        return self._maps[shard]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": {}}  # a mapping belongs to its process


def index_shards(shards: Sequence[Path], salvage: bool = False) -> ClipIndex:
    """Read the headers of `shards`. Raises UserError where a shard is no tar file or their clips differ in kind.

    `salvage`: of a damaged tar file take the clips before the damage, and say so.
    """
    keys: list[str] = []
    shard_of: list[int] = []
    places: list[list[tuple[int, int]]] = []
    specs: list[dict[str, Any]] | None = None
    for number, path in enumerate(shards):
        clips = read_members(path, salvage)
        for key, members in clips.items():
            clean = next((members[ending] for ending in FORMATS if ending in members), None)
            if clean is None:
                continue
            degraded = sorted(ending for ending in members if ending.split(".")[0] in _degraded_names(len(members)))
            keys.append(key)
            shard_of.append(number)
            places.append([clean, *(members[ending] for ending in degraded)])
            if specs is None:
                specs = _read_specs(path, members) if degraded else []
            if len(degraded) != len(specs):
                raise UserError(f"{path}: clip {key} holds {len(degraded)} degraded versions, others {len(specs)}")
    if not keys:
        raise UserError(f"{shards[0] if shards else 'no shard'}: holds no clip (KEY.wav or KEY.flac)")
    table = np.array(places, dtype=np.int64)
    index = ClipIndex(
        shards=list(shards),
        keys=keys,
        shard=np.array(shard_of, dtype=np.int64),
        offsets=table[:, :, 0],
        sizes=table[:, :, 1],
        num_samples=np.zeros(len(keys), dtype=np.int64),
        specs=specs or [],
    )
    index.num_samples[:] = [_length(index.member(number)) for number in range(len(keys))]
    return index


def _length(member: memoryview) -> int:
    try:
        return ClipReader(member).num_samples
    except ValueError:
        return -1


def read_members(shard: Path, salvage: bool = False) -> dict[str, dict[str, tuple[int, int]]]:
    """Key -> ending -> (offset, size) of every file in a tar; WebDataset's rule: the key ends at the first dot.

    Links, devices and folders are passed over, and names are never used as paths: nothing is unpacked.
    """
    clips: dict[str, dict[str, tuple[int, int]]] = {}
    num_bytes = shard.stat().st_size if shard.exists() else 0
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                if not member.isfile() or (salvage and member.offset_data + member.size > num_bytes):
                    continue
                folder, _, name = member.name.rpartition("/")
                stem, _, ending = name.partition(".")
                key = f"{folder}/{stem}" if folder else stem
                clips.setdefault(key, {})[ending.lower()] = (member.offset_data, member.size)
    except (tarfile.TarError, OSError) as error:
        message = f"{shard}: is not a readable tar file ({error}); prepare or download it again"
        if not salvage:
            raise UserError(message) from error
        logger.warning("%s", message)
    return clips


def _degraded_names(num_members: int) -> set[str]:
    return {f"d{number:02d}" for number in range(num_members)}


def _read_specs(shard: Path, members: dict[str, tuple[int, int]]) -> list[dict[str, Any]]:
    """The specs of a clip's degraded versions, from its JSON."""
    if "json" not in members:
        raise UserError(f"{shard}: degraded clips without a JSON file that says what was done to them")
    offset, size = members["json"]
    with open(shard, "rb") as file:
        file.seek(offset)
        return list(json.loads(file.read(size))["degraded"])
