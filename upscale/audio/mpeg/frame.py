"""The four bytes at the start of an MPEG audio frame, and the length of the ID3v2 tag that may stand before it."""

from dataclasses import dataclass

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
# Layer III, by version and whether it is mono: 4 bytes of header and the side information. A Xing header follows.
TAG_OFFSETS = {(1, False): 4 + 32, (1, True): 4 + 17, (2, False): 4 + 17, (2, True): 4 + 9}


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
        """Where a Xing or Info header stands, in bytes from the start of the frame."""
        return TAG_OFFSETS[self.version, self.mode == "mono"]


def sync_layer(data: bytes) -> int | None:
    """The layer (1 to 3) of a frame that starts here, or None: eleven ones, then a layer that exists."""
    if len(data) < 2 or data[0] != 0xFF or data[1] & 0xE0 != 0xE0:
        return None
    layer_bits = data[1] >> 1 & 3
    return 4 - layer_bits if layer_bits else None


def parse_header(data: bytes) -> Frame | None:
    """A frame header of four bytes, or None where these are none."""
    layer = sync_layer(data)
    if layer is None or len(data) < 4:
        return None
    version_bits, bitrate_index, rate_index = data[1] >> 3 & 3, data[2] >> 4, data[2] >> 2 & 3
    if version_bits == 1 or bitrate_index in (0, 15) or rate_index == 3:
        return None
    version = 1 if version_bits == 3 else 2
    bitrate = BITRATES[version, layer][bitrate_index - 1]
    sample_rate = SAMPLE_RATES[version_bits][rate_index]
    padding = data[2] >> 1 & 1
    if layer == 1:
        size = (12_000 * bitrate // sample_rate + padding) * 4
    else:
        samples = 576 if layer == 3 and version == 2 else 1152
        size = samples // 8 * bitrate * 1000 // sample_rate + padding
    return Frame(version, layer, not data[1] & 1, bitrate, sample_rate, MODES[data[3] >> 6], size)


def id3_size(head: bytes) -> int:
    """The length of an ID3v2 tag at the file's start, with its header; sizes are stored seven bits a byte."""
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size + (10 if head[5] & 0x10 else 0)
