"""Real MP3 files by two encoders: FFmpeg's libmp3lame through PyAV (with a LAME tag) and lameenc (bare frames)."""

import io
from pathlib import Path

import av
import lameenc
import numpy as np

RATE = 44_100


def music(seconds: float = 2.0, channels: int = 2, sample_rate: int = RATE) -> np.ndarray:
    """Tones, noise to the top of the spectrum and a beat, [C, T]; the same every time."""
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    noise = np.random.default_rng(7).standard_normal((channels, len(time)))
    beat = np.exp(-8 * (time % 0.25))
    wav = 0.2 * np.sin(2 * np.pi * 440 * time) + 0.1 * np.sin(2 * np.pi * 1_760 * time) + 0.08 * noise * beat
    return wav.astype(np.float32)


def by_ffmpeg(
    wav: np.ndarray, *, bitrate: int = 128, joint: bool = True, xing: bool = True, sample_rate: int = RATE
) -> bytes:
    """CBR with FFmpeg's Info tag, as most people's tools write it."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp3", options={"write_xing": str(int(xing)), "id3v2_version": "0"}) as container:
        options = {"joint_stereo": str(int(joint)), "compression_level": "7"}
        stream = container.add_stream("libmp3lame", rate=sample_rate, options=options)
        stream.layout = "mono" if len(wav) == 1 else "stereo"
        stream.bit_rate = bitrate * 1000
        frame = av.AudioFrame.from_ndarray(wav, format="fltp", layout=stream.layout.name)
        frame.sample_rate = sample_rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return file.getvalue()


def by_lame(wav: np.ndarray, *, mode: str = "cbr", bitrate: int = 128, sample_rate: int = RATE) -> bytes:
    """Bare frames without any header: CBR, ABR or VBR (`bitrate` is then LAME's -V)."""
    encoder = lameenc.Encoder()
    encoder.silence()
    encoder.set_channels(len(wav))
    encoder.set_in_sample_rate(sample_rate)
    encoder.set_out_sample_rate(sample_rate)
    encoder.set_quality(7)
    if mode == "cbr":
        encoder.set_bit_rate(bitrate)
    elif mode == "abr":
        encoder.set_vbr(3)
        encoder.set_vbr_mean_bitrate_kbps(bitrate)
    else:
        encoder.set_vbr(4)
        encoder.set_vbr_quality(bitrate)
    steps = np.clip(np.rint(wav.T * 32767), -32768, 32767).astype("<i2")
    return bytes(encoder.encode(steps.tobytes())) + bytes(encoder.flush())


def save(path: Path, data: bytes) -> Path:
    """Write and give the path back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
