"""MP3 through lameenc: LAME alone, without a container. The fast path of the data pipeline."""

import av
import lameenc
import numpy as np

from upscale.codec.spec import VBR_BITRATES, CodecSpec

# Where the first input sample comes out: LAME starts 576 samples early, any decoder is 528 + 1 samples late.
DELAY = 576 + 529
VBR_ABR, VBR_MTRH = 3, 4


def encode_frames(wav: np.ndarray, spec: CodecSpec, sample_rate: int) -> bytes:
    """`[C, T]` within ±1 -> bare MP3 frames."""
    encoder = lameenc.Encoder()
    encoder.silence()
    encoder.set_channels(wav.shape[0])
    encoder.set_in_sample_rate(sample_rate)
    encoder.set_out_sample_rate(sample_rate)  # otherwise LAME resamples by itself at low bitrates
    encoder.set_quality(spec.quality)
    if spec.mode == "cbr":
        encoder.set_bit_rate(spec.bitrate)
    elif spec.mode == "abr":
        encoder.set_vbr(VBR_ABR)
        encoder.set_vbr_mean_bitrate_kbps(spec.bitrate)
    else:
        encoder.set_vbr(VBR_MTRH)
        encoder.set_vbr_quality(VBR_BITRATES[spec.bitrate])
    steps = np.clip(np.rint(wav.T * 32768.0), -32768, 32767).astype("<i2")
    return bytes(encoder.encode(steps.tobytes())) + bytes(encoder.flush())


def decode_frames(frames: bytes, num_samples: int) -> np.ndarray:
    """Bare MP3 frames -> `[C, num_samples]` without the delay, by FFmpeg's decoder."""
    decoder = av.CodecContext.create("mp3float", "r")
    assert isinstance(decoder, av.AudioCodecContext)
    packets = decoder.parse(frames) + decoder.parse(b"")
    decoded = [frame.to_ndarray() for packet in [*packets, None] for frame in decoder.decode(packet)]
    wav = np.concatenate(decoded, axis=1)[:, DELAY : DELAY + num_samples]
    if wav.shape[1] != num_samples:
        raise RuntimeError(f"LAME returned {wav.shape[1]} samples of {num_samples}")
    return wav
