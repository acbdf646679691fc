"""The description of one round trip, as a frozen value that is checked when it is made."""

from dataclasses import dataclass

from upscale.codec.lame import VBR_BITRATES
from upscale.codec.table import CODECS
from upscale.errors import UserError

MODES = ("cbr", "abr", "vbr")
STEREO = ("joint", "plain")


@dataclass(frozen=True)
class CodecSpec:
    """One round trip. Bitrates in kbit/s.

    `mode`, `quality`, `stereo` and `first_bitrate` are MP3's. `quality` is LAME's -q, from 0 (best) to 9 (fastest); 3
    is the default of LAME and FFmpeg.
    In mode `vbr` the bitrate is one of `VBR_BITRATES`, the averages of V0 to V9.
    With `first_bitrate` the clip is encoded (CBR) and decoded once before; `first_offset` samples of silence lie
    before it then, so that the two encodings cut their frames at different places, as in users' files.
    """

    codec: str = "mp3"
    bitrate: int = 128
    mode: str = "cbr"
    quality: int = 3
    stereo: str = "joint"
    first_bitrate: int | None = None
    first_offset: int = 0

    def __post_init__(self) -> None:
        if self.codec not in CODECS:
            raise UserError(f"unknown codec '{self.codec}'; use one of {', '.join(CODECS)}")
        check_bitrate(self.codec, self.bitrate, mode=self.mode)
        if self.first_bitrate is not None:
            check_bitrate(self.codec, self.first_bitrate)
        if self.mode not in MODES:
            raise UserError(f"unknown mode '{self.mode}'; use one of {', '.join(MODES)}")
        if self.stereo not in STEREO:
            raise UserError(f"unknown stereo mode '{self.stereo}'; use one of {', '.join(STEREO)}")
        if not 0 <= self.quality <= 9:
            raise UserError(f"encoder quality {self.quality} does not exist; LAME has 0 (best) to 9 (fastest)")
        has_options = CODECS[self.codec].lame_options
        if not has_options and (self.mode, self.stereo, self.first_bitrate) != ("cbr", "joint", None):
            raise UserError(f"mode, stereo and first_bitrate belong to mp3, not to {self.codec}")


def check_bitrate(codec: str, bitrate: int, mode: str = "cbr") -> None:
    """Refuse a bitrate that the codec does not have, by name."""
    valid = sorted(VBR_BITRATES) if mode == "vbr" else CODECS[codec].bitrates
    if bitrate not in valid:
        raise UserError(f"{codec} has no bitrate {bitrate} kbit/s ({mode}); use some of {', '.join(map(str, valid))}")
