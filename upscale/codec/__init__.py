"""The lossy round trip: draw a `CodecSpec` from a seed, apply it purely."""

from upscale.codec.mp3 import BITRATES as MP3_BITRATES
from upscale.codec.roundtrip import encode, roundtrip
from upscale.codec.sampler import CodecSampler
from upscale.codec.spec import CodecSpec
from upscale.codec.table import CODECS

__all__ = ["CODECS", "MP3_BITRATES", "CodecSampler", "CodecSpec", "encode", "roundtrip"]
