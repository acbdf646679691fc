"""results.csv: a row per clip (of a song), bitrate and metric, with all that it takes to draw every picture again."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

from upscale import atomic
from upscale.codec import CodecSpec
from upscale.errors import UserError
from upscale.evaluation.testset import Clip


@dataclass(frozen=True)
class Row:
    song: str
    clip: str  # the song's name, or the key of a shard's clip
    codec: str
    bitrate: int
    metric: str
    unit: str
    better: str
    do_nothing: float
    level: float  # the trivial rival: the input times one gain, level-matched
    restored: float
    improvement: float  # of `restored` over `do_nothing`; positive is better in every metric
    level_improvement: float  # of `level` over `do_nothing`
    cutoff_hz: float
    level_gain_db: float
    length_difference: int
    output_channels: int
    channels: int
    sample_rate: int
    path: str
    start: int
    num_samples: int
    mode: str
    quality: int
    stereo: str
    system: str
    model: str
    bitrate_known: bool = True  # the model was given the bitrate
    kind: str = ""  # of music, from the folder's TRACKS.tsv

    @property
    def spec(self) -> CodecSpec:
        return CodecSpec(self.codec, self.bitrate, mode=self.mode, quality=self.quality, stereo=self.stereo)

    @property
    def source(self) -> Clip:
        return Clip(self.song, self.clip, Path(self.path), self.start, self.num_samples, self.kind)


def write_csv(rows: Iterable[Row], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic.replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def read_csv(path: Path) -> list[Row]:
    """The rows as they were written, to the last bit."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [_row(values) for values in csv.DictReader(file)]
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"{path} is not a results.csv of evaluate.py ({error})") from error
    if not rows:
        raise UserError(f"{path} holds no results")
    return rows


def _row(values: dict[str, Any]) -> Row:
    """Columns that have a default may be missing: older versions did not write them."""
    present = [field for field in fields(Row) if field.name in values or field.default is MISSING]
    return Row(**{field.name: _parse(field.type, values[field.name]) for field in present})


def _parse(kind: Any, text: str) -> Any:
    return text == "True" if kind is bool else kind(text)


def conditions(rows: Sequence[Row]) -> list[CodecSpec]:
    """The codec settings in their order of appearance."""
    return list(dict.fromkeys(row.spec for row in rows))
