"""Every codec there is, by its name in `CodecSpec.codec`. A new codec is one file beside this one and one line here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from upscale.codec import aac, mp3, opus, vorbis

if TYPE_CHECKING:  # a spec is checked against this table
    from upscale.codec.spec import CodecSpec


@dataclass(frozen=True)
class Codec:
    """One codec. `wav` is float32 `[C, T]`, one or two channels; the sample rate one of `SAMPLE_RATES`.

    `encode(wav, spec, sample_rate)` gives a complete file that any player opens. `degrade(wav, spec, sample_rate)`
    encodes and decodes: aligned with `wav` to the sample at the start, at least as long. Both raise where they fail.
    `bitrates`: the values that a spec may have, in kbit/s. `lame_options`: whether `mode`, `quality`, `stereo` and
    `first_bitrate` of a spec apply to it.
    """

    encode: Callable[[np.ndarray, "CodecSpec", int], bytes]
    degrade: Callable[[np.ndarray, "CodecSpec", int], np.ndarray]
    bitrates: Sequence[int]
    lame_options: bool = False


CODECS = {
    "mp3": Codec(mp3.encode, mp3.degrade, mp3.BITRATES, lame_options=True),
    "aac": Codec(aac.encode, aac.degrade, aac.BITRATES),
    "vorbis": Codec(vorbis.encode, vorbis.degrade, vorbis.BITRATES),
    "opus": Codec(opus.encode, opus.degrade, opus.BITRATES),
}
SAMPLE_RATES = (44_100, 48_000, 32_000)
