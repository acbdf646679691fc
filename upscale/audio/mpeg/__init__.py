"""Everything that reads or writes an MPEG audio header: frames, the Xing, Info, LAME and VBRI headers, whole files.

Sources: ISO 11172-3 and 13818-3 (frame header), the LAME project's `lame-tag` note (Mp3 Info Tag revision 1).
"""

from upscale.audio.mpeg.file import MpegInfo, header_frame_offset, read_mpeg
from upscale.audio.mpeg.frame import BITRATES, Frame, parse_header, sync_layer
from upscale.audio.mpeg.tag import LameTag, with_true_length

__all__ = [
    "BITRATES",
    "Frame",
    "LameTag",
    "MpegInfo",
    "header_frame_offset",
    "parse_header",
    "read_mpeg",
    "sync_layer",
    "with_true_length",
]
