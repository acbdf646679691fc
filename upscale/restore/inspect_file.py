"""Whether a model can improve a file, by the bitrate that its header states and the one that its sound suggests."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from upscale import audio
from upscale.audio.cutoff import measure_cutoff
from upscale.audio.mpeg import MpegInfo, read_mpeg

LISTEN_SECONDS = 90
BLOCK_SECONDS = 5
LOSSY_CODECS = ("mp3", "mp2", "mp1", "aac", "vorbis", "opus", "wmav1", "wmav2", "wmapro", "ac3", "eac3", "atrac3")
MPEG_CODECS = ("mp3", "mp2", "mp1")
# Where LAME 3.100 cuts at each bitrate (kbit/s: Hz), measured with `measure_cutoff` on its files at 44.1 kHz.
STEREO_CUTOFFS = {
    32: 5_750,
    40: 7_150,
    48: 7_800,
    56: 10_570,
    64: 11_270,
    80: 13_330,
    96: 15_400,
    112: 15_400,
    128: 16_780,
    160: 17_480,
    192: 18_850,
    224: 19_550,
    256: 19_550,
    320: 20_220,
}
MONO_CUTOFFS = {32: 8_500, 40: 10_570, 48: 11_270, 56: 15_400, 64: 16_780, 80: 20_220, 320: 20_220}
TOLERANCE_HZ = 200
# Encoders differ by some hundred hertz at one bitrate (16.0 to 17.0 kHz at 128); below this it is another bitrate.
REENCODE_HZ = 1_200


@dataclass(frozen=True)
class Inspection:
    """A file's facts. Bitrates in kbit/s, `cutoff_hz` None where the spectrum has no edge.

    `heard_bitrate` is the one that the cut-off suggests. `effective_bitrate` is the stated one, or `heard_bitrate`
    where nothing is stated or the file looks re-encoded; None where no trace of a codec was found.
    """

    path: Path
    codec: str
    sample_rate: int
    channels: int
    seconds: float | None
    bitrate: float | None
    cutoff_hz: float | None
    heard_bitrate: int | None
    looks_reencoded: bool
    mpeg: MpegInfo | None

    @property
    def effective_bitrate(self) -> float | None:
        if self.bitrate is None or self.looks_reencoded:
            return self.heard_bitrate
        return self.bitrate

    def is_good(self, trained_bitrates: Sequence[int]) -> str | None:
        """The reason not to restore this file with a model trained on these bitrates; None where there is none."""
        if self.effective_bitrate is None:
            return "no trace of a codec in its sound"
        highest = max(trained_bitrates, default=0)
        if highest and self.effective_bitrate > highest:
            return f"{self.effective_bitrate:.0f} kbit/s, and the model was trained up to {highest}"
        return None


def inspect_file(path: str | Path) -> Inspection:
    """Read a file's headers and listen to its first minute and a half."""
    path = Path(path)
    info = audio.probe(path)
    codec = info.codec.removesuffix("float")
    mpeg = read_mpeg(path) if codec in MPEG_CODECS else None
    blocks = islice(audio.blocks(path, BLOCK_SECONDS * info.sample_rate), LISTEN_SECONDS // BLOCK_SECONDS)
    cutoff = measure_cutoff(blocks, info.sample_rate)
    stated = mpeg.bitrate if mpeg else info.bitrate
    bitrate = float(stated) if stated and codec in LOSSY_CODECS else None
    heard = heard_bitrate(cutoff, info.channels)
    return Inspection(
        path=path,
        codec=codec,
        sample_rate=info.sample_rate,
        channels=info.channels,
        seconds=None if info.num_samples is None else info.num_samples / info.sample_rate,
        bitrate=bitrate,
        cutoff_hz=cutoff,
        heard_bitrate=heard,
        looks_reencoded=_looks_reencoded(
            codec, bitrate, cutoff, channels=info.channels, sample_rate=info.sample_rate, mpeg=mpeg
        ),
        mpeg=mpeg,
    )


def heard_bitrate(cutoff_hz: float | None, channels: int) -> int | None:
    """The lowest bitrate at which the low-pass of LAME lies at this cut-off or above."""
    if cutoff_hz is None:
        return None
    cutoffs = MONO_CUTOFFS if channels == 1 else STEREO_CUTOFFS
    return next((bitrate for bitrate, kept in cutoffs.items() if kept + TOLERANCE_HZ >= cutoff_hz), None)


def _looks_reencoded(
    codec: str,
    bitrate: float | None,
    cutoff_hz: float | None,
    *,
    channels: int,
    sample_rate: int,
    mpeg: MpegInfo | None,
) -> bool:
    """A lossless file with a codec's edge, or an MP3 whose sound ends far below where its encoder cut."""
    if cutoff_hz is None:
        return False
    if bitrate is None:
        return heard_bitrate(cutoff_hz, channels) is not None
    if codec not in MPEG_CODECS:
        return False
    lame = mpeg.lame if mpeg else None
    expected = lame.lowpass_hz if lame and lame.lowpass_hz else _expected_cutoff(bitrate, channels)
    return cutoff_hz < min(expected, sample_rate / 2) - REENCODE_HZ


def _expected_cutoff(bitrate: float, channels: int) -> int:
    cutoffs = MONO_CUTOFFS if channels == 1 else STEREO_CUTOFFS
    return max((kept for step, kept in cutoffs.items() if step <= bitrate), default=min(cutoffs.values()))
