"""A whole MPEG audio file: its mean bitrate, its header frame, and where that frame is."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from upscale.audio.mpeg.frame import TAG_OFFSETS, id3_size, parse_header, sync_layer
from upscale.audio.mpeg.tag import NAMES, LameTag, read_tag

MAX_FRAMES = 20_000  # nearly nine minutes: enough to know a file's bitrate
MAX_LEADING_BYTES = 2**20
HEADER_FRAME_BYTES = 65_536  # how far the header frame is searched for


@dataclass(frozen=True)
class MpegInfo:
    """A whole file: `bitrate` is the mean of its frames; `method` CBR, ABR or VBR; `leading_bytes` of garbage."""

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
    """The facts that an MPEG audio file states, or None where no two frames follow each other."""
    with path.open("rb") as file:
        file.seek(id3_size(file.read(10)))
        data = file.read(MAX_LEADING_BYTES + MAX_FRAMES * 1_500)
    start = _first_frame(data)
    if start is None:
        return None
    first = parse_header(data[start : start + 4])
    assert first is not None
    header, lame = read_tag(data[start : start + first.size], first)
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


def header_frame_offset(path: Path) -> int:
    """The offset of the Xing or LAME header frame where garbage lies before it; otherwise 0.

    FFmpeg finds the first audio frame behind garbage but looks for the header frame, which tells delay and padding,
    only at the very beginning.
    """
    with open(path, "rb") as file:
        file.seek(id3_size(file.read(10)))
        head = file.read(HEADER_FRAME_BYTES)
        begin = file.tell() - len(head)
    if sync_layer(head) == 3 or head[:3] == b"ID3":
        return 0
    found = [position for name in NAMES if (position := head.find(name)) >= 0]
    if not found:
        return 0
    frames = [min(found) - offset for offset in sorted(set(TAG_OFFSETS.values()), reverse=True)]
    return next((begin + frame for frame in frames if frame > 0 and sync_layer(head[frame : frame + 2]) == 3), 0)


def _first_frame(data: bytes) -> int | None:
    """The first place where a frame is followed by another of its kind: garbage rarely does."""
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
    """How many frames have each bitrate, from `position` to the first break in the chain of frames."""
    bitrates: Counter[int] = Counter()
    for _ in range(MAX_FRAMES):
        frame = parse_header(data[position : position + 4])
        if frame is None:
            break
        bitrates[frame.bitrate] += 1
        position += frame.size
    return bitrates
