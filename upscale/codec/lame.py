"""MP3 by LAME alone, without a container: the fast path of the data pipeline.

The `lameenc` wheel carries the fastest build of LAME. Its Python class has no switch for joint stereo (LAME left to
itself goes to plain stereo from 160 kbit/s on, where FFmpeg and the `lame` command stay joint) and takes only 16-bit
integers. Its library exports LAME's own C interface (lame.h, unchanged for years), which has both: that is used here.
Where a wheel does not export it, `is_available` is false, and FFmpeg gives the same samples 3 times slower.
"""

import ctypes
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

import av
import numpy as np

if TYPE_CHECKING:
    from upscale.codec.spec import CodecSpec

# Where the first input sample comes out: LAME starts 576 samples early, any decoder is 528 + 1 samples late.
DELAY = 576 + 529
# What LAME's VBR levels V0 to V9 average in kbit/s, by its manual.
VBR_BITRATES = {245: 0, 225: 1, 190: 2, 175: 3, 165: 4, 130: 5, 115: 6, 100: 7, 85: 8, 65: 9}
PLAIN_STEREO, JOINT_STEREO, MONO = 0, 1, 3  # enum MPEG_mode
VBR_OFF, VBR_ABR, VBR_MTRH = 0, 3, 4  # enum vbr_mode
FULL_SCALE = 32_768.0
FLUSH_BYTES = 7_200  # lame.h: what the last call may write


@cache
def _library() -> ctypes.CDLL | None:
    """LAME, or None where the wheel does not export it (as on Windows)."""
    spec = find_spec("lameenc")
    try:
        library = ctypes.CDLL(spec.origin if spec else None)
        library.lame_init.restype = ctypes.c_void_p
        library.lame_set_VBR_quality.argtypes = [ctypes.c_void_p, ctypes.c_float]
    except (OSError, AttributeError):
        return None
    return library


def is_available() -> bool:
    """Whether the fast path exists here."""
    return _library() is not None


def encode_frames(wav: np.ndarray, spec: "CodecSpec", sample_rate: int) -> bytes:
    """`[C, T]`, also beyond ±1 -> bare MP3 frames. Raises `RuntimeError` where LAME fails."""
    library = _library()
    assert library is not None
    encoder = ctypes.c_void_p(library.lame_init())
    try:
        for setting, value in _settings(wav.shape[0], spec, sample_rate).items():
            _succeed(getattr(library, f"lame_set_{setting}")(encoder, value), setting)
        _succeed(library.lame_init_params(encoder), "init_params")
        return _encode_all(library, encoder, wav)
    finally:
        library.lame_close(encoder)


def _settings(channels: int, spec: "CodecSpec", sample_rate: int) -> dict[str, int | float]:
    """The same settings as FFmpeg, by the names of lame.h."""
    stereo = JOINT_STEREO if spec.stereo == "joint" else PLAIN_STEREO
    settings: dict[str, int | float] = {
        "num_channels": channels,
        "mode": MONO if channels == 1 else stereo,
        "in_samplerate": sample_rate,
        "out_samplerate": sample_rate,  # otherwise LAME resamples by itself at low bitrates
        "quality": spec.quality,
        "bWriteVbrTag": 0,
    }
    if spec.mode == "vbr":
        return settings | {"VBR": VBR_MTRH, "VBR_quality": float(VBR_BITRATES[spec.bitrate])}
    if spec.mode == "abr":
        return settings | {"VBR": VBR_ABR, "VBR_mean_bitrate_kbps": spec.bitrate}
    return settings | {"VBR": VBR_OFF, "brate": spec.bitrate}


def _encode_all(library: ctypes.CDLL, encoder: ctypes.c_void_p, wav: np.ndarray) -> bytes:
    num_samples = wav.shape[1]
    scaled = np.ascontiguousarray(wav * FULL_SCALE, dtype=np.float32)
    left, right = (ctypes.c_void_p(channel.ctypes.data) for channel in (scaled[0], scaled[-1]))
    frames = ctypes.create_string_buffer(num_samples * 5 // 4 + 2 * FLUSH_BYTES)  # lame.h: 1.25 bytes a sample
    written = library.lame_encode_buffer_float(encoder, left, right, num_samples, frames, len(frames))
    _succeed(written, "encode_buffer_float")
    last = library.lame_encode_flush(encoder, ctypes.byref(frames, written), len(frames) - written)
    _succeed(last, "encode_flush")
    return frames.raw[: written + last]


def _succeed(status: int, what: str) -> None:
    if status < 0:
        raise RuntimeError(f"LAME failed in {what} (status {status})")


def decode_frames(frames: bytes, num_samples: int) -> np.ndarray:
    """Bare MP3 frames -> `[C, num_samples]` without the delay, by FFmpeg's decoder."""
    decoder = av.CodecContext.create("mp3float", "r")
    assert isinstance(decoder, av.AudioCodecContext)
    packets = decoder.parse(frames) + decoder.parse(b"")
    decoded = [frame.to_ndarray() for packet in [*packets, None] for frame in decoder.decode(packet)]
    length = sum(part.shape[1] for part in decoded) - DELAY
    if length < num_samples:
        raise RuntimeError(f"LAME returned {max(0, length)} samples of {num_samples}")
    return np.concatenate(decoded, axis=1)[:, DELAY : DELAY + num_samples]
