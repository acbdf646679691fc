"""The Xing, Info and VBRI headers in the first frame of a file, and LAME's extension behind them."""

import struct
from dataclasses import dataclass

from upscale.audio.mpeg.frame import Frame, id3_size, parse_header

NAMES = (b"Xing", b"Info")
METHODS = {1: "CBR", 2: "ABR", 3: "VBR", 4: "VBR", 5: "VBR", 6: "VBR", 8: "CBR", 9: "ABR"}
# LAME's presets by number; 8 to 320 are bitrates, 410 to 500 the qualities V9 to V0.
PRESETS = {1000: "r3mix", 1001: "standard", 1002: "extreme", 1003: "insane", 1006: "medium"}
NUM_FRAMES = 8  # in bytes from the name
# In bytes from the start of LAME's extension.
DELAY_AND_PADDING, CHECKSUM, EXTENSION_BYTES = 21, 34, 36
FRAME_SAMPLES = 1_152
ENCODER_DELAY = 576


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


def read_tag(data: bytes, frame: Frame) -> tuple[str | None, LameTag | None]:
    """The name of the header in the first frame (Xing, Info or VBRI) and LAME's part of it."""
    if data[36:40] == b"VBRI":
        return "VBRI", None
    # A checksum moves the side information by two bytes; encoders disagree on whether the tag moves with it.
    for offset in (frame.tag_offset, frame.tag_offset + 2):
        name = data[offset : offset + 4]
        if name in NAMES:
            return name.decode(), _read_lame(data[offset:], is_cbr=name == b"Info")
    return None, None


def with_true_length(data: bytes, num_samples: int) -> bytes:
    """A complete MPEG-1 layer III file -> the same file, whose LAME header says that it holds `num_samples`.

    FFmpeg's MP3 writer counts the padding at the end too small for one length in 25 (a last frame of 1 to 46 samples):
    such files decode up to 46 samples too long.
    """
    start = id3_size(data[:10])
    frame = parse_header(data[start : start + 4])
    tag = start + (frame.tag_offset if frame else 0)
    if data[tag : tag + 4] not in NAMES:
        raise RuntimeError("the MP3 encoder wrote no LAME header")
    num_frames = int.from_bytes(data[tag + NUM_FRAMES : tag + NUM_FRAMES + 4])
    padding = num_frames * FRAME_SAMPLES - ENCODER_DELAY - num_samples
    changed = bytearray(data)
    extension = tag + _extension_offset(data[tag : tag + 8])
    delay_and_padding, checksum = extension + DELAY_AND_PADDING, extension + CHECKSUM
    # Two fields of 12 bits.
    changed[delay_and_padding : delay_and_padding + 3] = (ENCODER_DELAY << 12 | padding).to_bytes(3)
    changed[checksum : checksum + 2] = _crc16(bytes(changed[start:checksum])).to_bytes(2)
    return bytes(changed)


def _extension_offset(tag: bytes) -> int:
    """Where LAME's part begins: frames, bytes, table of contents and quality are there as the flags say."""
    flags = int.from_bytes(tag[4:8])
    return 8 + sum(size for bit, size in ((1, 4), (2, 4), (4, 100), (8, 4)) if flags & bit)


def _read_lame(data: bytes, *, is_cbr: bool) -> LameTag | None:
    start = _extension_offset(data)
    tag = data[start : start + EXTENSION_BYTES]
    if len(tag) < EXTENSION_BYTES or not tag[:4].isalnum():
        return None
    encoder = tag[:9].split(b"\0")[0].decode("ascii", "replace").strip()
    method = METHODS.get(tag[9] & 15) or ("CBR" if is_cbr else None)
    delay_padding = int.from_bytes(tag[DELAY_AND_PADDING : DELAY_AND_PADDING + 3])
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
    """The options of the `lame` command that give such a tag: `-b 128` and `--preset 128` give the same one."""
    if preset in PRESETS:
        return f"--preset {PRESETS[preset]}"
    if 410 <= preset <= 500:
        return f"-V {(500 - preset) // 10}"
    if 8 <= preset <= 320:
        return f"--abr {preset}" if method == "ABR" else f"-b {preset}"
    return None


def _crc16(data: bytes) -> int:
    """CRC-16/ARC: polynomial 0x8005 reflected, starting at zero."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc
