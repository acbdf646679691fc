"""From a draw to a pair of waves: crop, level, codec. Pure functions of the seed, so that any batch can be replayed."""

from dataclasses import asdict, dataclass

import numpy as np

from upscale.audio import to_channels
from upscale.codec import CodecSampler, CodecSpec, roundtrip
from upscale.datamodule.batches import SAMPLE_RATE, BadClipError, BatchDataset
from upscale.datamodule.samplers import Draw
from upscale.seeds import derive_seed
from upscale.shards import ClipIndex, ClipReader

# The encoder looks ahead by less than two MP3 frames: with two frames after a clip, the clip is the same to the last
# bit as with any more (docs/benchmarks.md). What lies before a clip matters for much longer.
MARGIN_AFTER = 2 * 1_152


@dataclass(frozen=True)
class Crop:
    """How a stored clip becomes a training clip. Samples at 44.1 kHz.

    `before` and `after` samples are encoded around the clip and cut away, so that the encoder runs as in the middle of
    a song; they are shortened where the stored clip is too short. `gain_db` is the range of the random level, which is
    applied before the encoder.
    """

    num_samples: int
    before: int
    after: int
    channels: int
    gain_db: tuple[float, float]


class Clips(BatchDataset):
    """Clean clips of shards, degraded in the worker.

    `fixed` (validation, test): crop, level and spec depend on the clip alone, and the bitrates take turns.
    `predegraded` reads the degraded versions that the shards hold instead.
    """

    advice = "Run scripts/verify_shards.py on the folder"

    def __init__(
        self,
        index: ClipIndex,
        codec: CodecSampler,
        crop: Crop,
        seed: int,
        fixed: bool,
        predegraded: bool,
        max_bad_share: float,
        num_missing: int = 0,
    ) -> None:
        super().__init__(len(index), (crop.channels, crop.num_samples), max_bad_share, num_missing)
        self.index, self.codec, self.crop, self.seed = index, codec, crop, seed
        self.fixed, self.predegraded = fixed, predegraded
        self.specs = [CodecSpec(**spec) for spec in index.specs]

    def key(self, clip: int) -> str:
        return self.index.keys[clip]

    def describe(self, clip: int) -> str:
        return self.index.describe(clip)

    def facts(self, draw: Draw, key: str) -> dict:
        return {} if self.predegraded else {"spec": asdict(self.spec(draw, key))}

    def spec(self, draw: Draw, key: str) -> CodecSpec:
        """What was done to the clip `key` in the place of `draw` (without `predegraded`): to replay a batch."""
        return self._draw_spec(derive_seed(*self._seed_parts(draw, key), "codec"), visit=draw[2])

    def make_pair(self, draw: Draw, degraded: np.ndarray, clean: np.ndarray) -> tuple[float, str]:
        clip, _, visit = draw
        key = self.key(clip)
        spec = self._make(clip, self._seed_parts(draw, key), visit, degraded, clean)
        return float(spec.bitrate), key

    def _seed_parts(self, draw: Draw, key: str) -> tuple[object, ...]:
        _, epoch, visit = draw
        return (self.seed, "fixed", key) if self.fixed else (self.seed, epoch, key, visit)

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
            raise BadClipError(str(error)) from error
        if reader.sample_rate != SAMPLE_RATE:
            raise BadClipError(f"{reader.sample_rate} Hz instead of {SAMPLE_RATE}")
        return reader

    def _place(self, num_stored: int, rng: np.random.Generator) -> tuple[int, int, int]:
        """Start of the crop, and the first and last sample to encode; `fixed`: the crop in the middle."""
        room = num_stored - self.crop.num_samples
        if room < 0:
            raise BadClipError(f"holds {num_stored} samples; {self.crop.num_samples} are needed")
        after = min(self.crop.after, room)
        before = min(self.crop.before, (room - after) // 2)  # half of a scarce room is for crops to differ
        start = min(room // 2, room - after) if self.fixed else int(rng.integers(before, room - after + 1))
        before = min(self.crop.before, start)
        return start, start - before, start + self.crop.num_samples + after

    def _level(self, reader: ClipReader, start: int, num_samples: int, gain: np.float32) -> np.ndarray:
        try:
            wav = reader.read(start, num_samples)
        except (ValueError, OSError) as error:
            raise BadClipError(str(error)) from error
        return to_channels(wav, self.crop.channels) * gain

    def _draw_spec(self, seed: int, visit: int) -> CodecSpec:
        """Training draws freely; a fixed clip gets the bitrate whose turn it is."""
        turn = self.codec.bitrates[visit % len(self.codec.bitrates)] if self.fixed else None
        return self.codec.draw(seed, bitrate=turn)
