"""The lossy round trip: draw a `CodecSpec` from a seed, apply it purely."""

from upscale.codec.roundtrip import encode, roundtrip
from upscale.codec.sampler import CodecSampler
from upscale.codec.spec import BITRATES, MP3_BITRATES, CodecSpec

__all__ = ["BITRATES", "MP3_BITRATES", "CodecSampler", "CodecSpec", "encode", "roundtrip"]
