"""Drawing `CodecSpec`s from a seed."""

import random
from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral

from upscale.audio.mpeg.tag import FRAME_SAMPLES
from upscale.codec.lame import VBR_BITRATES
from upscale.codec.spec import CodecSpec, check_bitrate
from upscale.codec.table import CODECS
from upscale.errors import UserError


class CodecSampler:
    """Draws one `CodecSpec` per seed, every listed value with equal chance.

    All combinations are checked here, so that a wrong value is refused when the configuration is composed.
    `modes`, `qualities`, `stereo` and `double_probability` (the share of clips that were MP3 once before) are MP3's.
    """

    def __init__(
        self,
        codec: str = "mp3",
        bitrates: Sequence[int] = (64, 96, 128, 160, 192, 256),
        modes: Sequence[str] = ("cbr",),
        qualities: Sequence[int] = (3,),
        stereo: Sequence[str] = ("joint",),
        double_probability: float = 0.0,
    ) -> None:
        if codec not in CODECS:
            raise UserError(f"codec.codec={codec} is unknown; use one of {', '.join(CODECS)}")
        if isinstance(bitrates, str | Integral) or not bitrates:
            raise UserError(f"codec.bitrates={bitrates} is not a list; write for example codec.bitrates=[64,128]")
        self.codec, self.bitrates = codec, tuple(bitrates)
        self.modes, self.qualities, self.stereo = tuple(modes), tuple(qualities), tuple(stereo)
        self.double_probability = double_probability
        if not 0.0 <= double_probability <= 1.0 or (double_probability and not CODECS[codec].lame_options):
            raise UserError(f"codec.double_probability={double_probability} is not for {codec}: mp3 takes 0 to 1")
        for bitrate in self.bitrates:
            check_bitrate(codec, bitrate)
        for mode in self.modes:
            for quality in self.qualities:
                for layout in self.stereo:
                    CodecSpec(codec, self._bitrates_of(mode)[0], mode=mode, quality=quality, stereo=layout)

    def _bitrates_of(self, mode: str) -> tuple[int, ...]:
        """The bitrates of one mode. VBR has its own averages: those within the range of the listed bitrates count."""
        if mode != "vbr":
            return self.bitrates
        low, high = min(self.bitrates), max(self.bitrates)
        averages = tuple(sorted(bitrate for bitrate in VBR_BITRATES if low <= bitrate <= high))
        if not averages:
            raise UserError(f"no VBR level averages between {low} and {high} kbit/s; use mode cbr or abr")
        return averages

    def draw(self, seed: int, bitrate: int | None = None) -> CodecSpec:
        """The spec of this seed, with this `bitrate` where one is given: validation takes them in turn."""
        generator = random.Random(seed)
        modes = [mode for mode in self.modes if bitrate is None or bitrate in self._bitrates_of(mode)]
        if not modes:
            raise UserError(f"codec.modes={list(self.modes)}: none of them has a bitrate of {bitrate} kbit/s")
        mode = generator.choice(modes)
        drawn = generator.choice(self._bitrates_of(mode))
        spec = CodecSpec(
            codec=self.codec,
            bitrate=drawn if bitrate is None else bitrate,
            mode=mode,
            quality=generator.choice(self.qualities),
            stereo=generator.choice(self.stereo),
        )
        if generator.random() >= self.double_probability:
            return spec
        return replace(
            spec, first_bitrate=generator.choice(self.bitrates), first_offset=generator.randrange(FRAME_SAMPLES)
        )
