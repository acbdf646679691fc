"""What the frames of an MP3 file say: bitrates, and the Xing/Info, LAME and VBRI headers of the first.

Sources: ISO 11172-3 and 13818-3 (frame header), the LAME project's `lame-tag` note (Mp3 Info Tag revision 1).
"""

import struct
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

# By version (MPEG 1, then 2 and 2.5) and layer, in kbit/s for the header's values 1 to 14.
BITRATES = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
SAMPLE_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
MODES = ("stereo", "joint stereo", "two channels", "mono")
LAME_METHODS = {1: "CBR", 2: "ABR", 3: "VBR", 4: "VBR", 5: "VBR", 6: "VBR", 8: "CBR", 9: "ABR"}
# LAME's own names for what was asked for; 8 to 320 are bitrates, 410 to 500 the qualities V9 to V0.
PRESETS = {1000: "r3mix", 1001: "standard", 1002: "extreme", 1003: "insane", 1006: "medium"}
MAX_FRAMES = 20_000  # nearly nine minutes: enough to know a file's bitrate
MAX_LEADING_BYTES = 2**20


@dataclass(frozen=True)
class Frame:
    """One frame header. `bitrate` in kbit/s, `size` in bytes."""

    version: int
    layer: int
    protected: bool
    bitrate: int
    sample_rate: int
    mode: str
    size: int

    @property
    def tag_offset(self) -> int:
        """Where a Xing or Info header stands: after the side information of layer III."""
        side_bytes = (17 if self.mode == "mono" else 32) if self.version == 1 else (9 if self.mode == "mono" else 17)
        return 4 + side_bytes


@dataclass(frozen=True)
class LameTag:
    """The extension that LAME (and FFmpeg, in its name) writes behind the Xing header. Delay and padding in samples."""

    encoder: str
    method: str | None
    lowpass_hz: int | None
    bitrate: int | None
    delay: int
    padding: int
    settings: str | None


@dataclass(frozen=True)
class MpegInfo:
    """A whole file: `bitrate` is the mean of its frames; `method` CBR, ABR or VBR; `leading_bytes` of junk."""

    layer: int
    sample_rate: int
    mode: str
    bitrate: float
    method: str
    num_frames: int
    leading_bytes: int
    header: str | None
    lame: LameTag | None


def read_mpeg(path: Path) -> MpegInfo | None:
    """What an MPEG audio file says about itself, or None where no two frames follow each other."""
    with path.open("rb") as file:
        tag_end = _id3_size(file.read(10))
        file.seek(tag_end)
        data = file.read(MAX_LEADING_BYTES + MAX_FRAMES * 1_500)
    start = _first_frame(data)
    if start is None:
        return None
    first = parse_header(data[start : start + 4])
    assert first is not None
    header, lame = _read_tag(data[start : start + first.size], first)
    music = start + first.size if header else start
    bitrates = _count_bitrates(data, music)
    num_frames = sum(bitrates.values())
    mean = sum(bitrate * count for bitrate, count in bitrates.items()) / max(1, num_frames)
    method = (lame.method if lame else None) or ("CBR" if len(bitrates) <= 1 else "VBR")
    return MpegInfo(
        layer=first.layer,
        sample_rate=first.sample_rate,
        # The frame of a header is plain stereo even where the music is not.
        mode=(parse_header(data[music : music + 4]) or first).mode,
        bitrate=mean or first.bitrate,
        method=method,
        num_frames=num_frames,
        leading_bytes=start,
        header=header,
        lame=lame,
    )


def parse_header(data: bytes) -> Frame | None:
    """A frame header of four bytes, or None where these are none."""
    if len(data) < 4 or data[0] != 0xFF or data[1] & 0xE0 != 0xE0:
        return None
    version_bits, layer_bits = data[1] >> 3 & 3, data[1] >> 1 & 3
    bitrate_index, rate_index = data[2] >> 4, data[2] >> 2 & 3
    if version_bits == 1 or layer_bits == 0 or bitrate_index in (0, 15) or rate_index == 3:
        return None
    version, layer = (1 if version_bits == 3 else 2), 4 - layer_bits
    bitrate = BITRATES[version, layer][bitrate_index - 1]
    sample_rate = SAMPLE_RATES[version_bits][rate_index]
    padding = data[2] >> 1 & 1
    if layer == 1:
        size = (12_000 * bitrate // sample_rate + padding) * 4
    else:
        samples = 576 if layer == 3 and version == 2 else 1152
        size = samples // 8 * bitrate * 1000 // sample_rate + padding
    return Frame(version, layer, not data[1] & 1, bitrate, sample_rate, MODES[data[3] >> 6], size)


def _first_frame(data: bytes) -> int | None:
    """The first place where a frame is followed by another of its kind: junk rarely looks like that twice."""
    position = data.find(b"\xff")
    while 0 <= position < MAX_LEADING_BYTES:
        frame = parse_header(data[position : position + 4])
        if frame is not None:
            following = parse_header(data[position + frame.size : position + frame.size + 4])
            if following is not None and following.sample_rate == frame.sample_rate:
                return position
        position = data.find(b"\xff", position + 1)
    return None


def _count_bitrates(data: bytes, position: int) -> Counter[int]:
    bitrates: Counter[int] = Counter()
    for _ in range(MAX_FRAMES):
        frame = parse_header(data[position : position + 4])
        if frame is None:
            break
        bitrates[frame.bitrate] += 1
        position += frame.size
    return bitrates


def _read_tag(data: bytes, frame: Frame) -> tuple[str | None, LameTag | None]:
    """The name of the header in the first frame (Xing, Info or VBRI) and LAME's part of it."""
    if data[36:40] == b"VBRI":
        return "VBRI", None
    # A checksum moves the side information by two bytes; encoders disagree on whether the tag moves with it.
    for offset in (frame.tag_offset, frame.tag_offset + 2):
        name = data[offset : offset + 4]
        if name in (b"Xing", b"Info"):
            return name.decode(), _read_lame(data[offset:], is_cbr=name == b"Info")
    return None, None


def _read_lame(data: bytes, *, is_cbr: bool) -> LameTag | None:
    flags = int.from_bytes(data[4:8], "big")
    # Frames, bytes, table of contents and quality are there as the flags say.
    start = 8 + sum(size for bit, size in ((1, 4), (2, 4), (4, 100), (8, 4)) if flags & bit)
    tag = data[start : start + 36]
    if len(tag) < 36 or not tag[:4].isalnum():
        return None
    encoder = tag[:9].split(b"\0")[0].decode("ascii", "replace").strip()
    method = LAME_METHODS.get(tag[9] & 15) or ("CBR" if is_cbr else None)
    delay_padding = int.from_bytes(tag[21:24], "big")
    (preset,) = struct.unpack(">H", tag[26:28])
    return LameTag(
        encoder=encoder,
        method=method,
        lowpass_hz=tag[10] * 100 or None,
        bitrate=tag[20] or None,
        delay=delay_padding >> 12,
        padding=delay_padding & 0xFFF,
        settings=_settings(preset & 0x7FF, method),
    )


def _settings(preset: int, method: str | None) -> str | None:
    """What was typed to get this file, as far as the tag tells: `-b 128` and `--preset 128` leave the same trace."""
    if preset in PRESETS:
        return f"--preset {PRESETS[preset]}"
    if 410 <= preset <= 500:
        return f"-V {(500 - preset) // 10}"
    if 8 <= preset <= 320:
        return f"--abr {preset}" if method == "ABR" else f"-b {preset}"
    return None


def _id3_size(head: bytes) -> int:
    """The length of an ID3v2 tag at the file's start, with its header; sizes are stored seven bits a byte."""
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size + (10 if head[5] & 0x10 else 0)
