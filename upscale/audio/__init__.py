"""The only door to audio files. `wav` is float32 `[C, T]`, full scale ±1."""

from upscale.audio.convert import resample, to_channels, true_peak
from upscale.audio.reading import AudioInfo, blocks, probe, read
from upscale.audio.writing import Writer, write

__all__ = ["AudioInfo", "Writer", "blocks", "probe", "read", "resample", "to_channels", "true_peak", "write"]
