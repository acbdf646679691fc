"""Finding the header frame of an MP3 file that does not begin with it."""

from pathlib import Path

HEADER_FRAME_TAGS = (b"Xing", b"Info")
SEARCH_BYTES = 65_536
# Where the tag stands in its frame: 4 bytes of header and the side information (MPEG-1 stereo, mono; MPEG-2 mono).
TAG_POSITIONS = (36, 21, 13)


def first_frame(path: Path) -> int:
    """The offset of the Xing or LAME header frame where garbage lies before it; otherwise 0.

    FFmpeg finds the first audio frame behind garbage but looks for the header frame, which tells delay and padding,
    only at the very beginning.
    """
    with open(path, "rb") as file:
        file.seek(_end_of_id3(file.read(10)))
        head = file.read(SEARCH_BYTES)
        begin = file.tell() - len(head)
    if _is_frame(head, 0) or head[:3] == b"ID3":
        return 0
    found = [position for tag in HEADER_FRAME_TAGS if (position := head.find(tag)) >= 0]
    if not found:
        return 0
    frames = [min(found) - distance for distance in TAG_POSITIONS]
    return next((begin + frame for frame in frames if frame > 0 and _is_frame(head, frame)), 0)


def _end_of_id3(head: bytes) -> int:
    """The length of an ID3v2 tag: a 10-byte header with four 7-bit digits of size."""
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    return 10 + sum((digit & 0x7F) << shift for digit, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))


def _is_frame(data: bytes, position: int) -> bool:
    """Eleven set bits, and layer III."""
    header = data[position : position + 2]
    return len(header) == 2 and header[0] == 0xFF and header[1] & 0xE6 == 0xE2
