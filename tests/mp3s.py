"""Real MP3 files by three encoders: FFmpeg's libmp3lame (with a LAME tag), LAME alone (bare frames), and Shine.

Shine shares no code with LAME. PyAV does not carry it, so its file is stored; it was made from `music(1.2)` by
ffmpeg -i music.wav -c:a libshine -b:a 96k -write_xing 0 -id3v2_version 0 -bitexact tests/data/shine.mp3
"""

import io
from pathlib import Path

import av
import numpy as np

from upscale.codec import CodecSpec
from upscale.codec.lame import encode_frames

RATE = 44_100
SHINE = Path(__file__).parent / "data" / "shine.mp3"
LAMBDA = 118  # FFmpeg's unit of quality (FF_QP2LAMBDA)


def music(seconds: float = 2.0, channels: int = 2, sample_rate: int = RATE) -> np.ndarray:
    """Tones, noise to the top of the spectrum and a beat, [C, T]; the same every time."""
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    noise = np.random.default_rng(7).standard_normal((channels, len(time)))
    beat = np.exp(-8 * (time % 0.25))
    wav = 0.2 * np.sin(2 * np.pi * 440 * time) + 0.1 * np.sin(2 * np.pi * 1_760 * time) + 0.08 * noise * beat
    return wav.astype(np.float32)


def by_ffmpeg(
    wav: np.ndarray,
    *,
    mode: str = "cbr",
    bitrate: int = 128,
    joint: bool = True,
    xing: bool = True,
    sample_rate: int = RATE,
) -> bytes:
    """With FFmpeg's Info or Xing tag, as most people's tools write it. In mode `vbr`, `bitrate` is LAME's -V."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp3", options={"write_xing": str(int(xing)), "id3v2_version": "0"}) as container:
        options = {"joint_stereo": str(int(joint)), "compression_level": "7"}
        if mode == "vbr":
            options |= {"flags": "+qscale", "global_quality": str(bitrate * LAMBDA)}
        stream = container.add_stream(
            "libmp3lame", rate=sample_rate, options=options | {"abr": str(int(mode == "abr"))}
        )
        stream.layout = "mono" if len(wav) == 1 else "stereo"
        if mode != "vbr":
            stream.bit_rate = bitrate * 1000
        frame = av.AudioFrame.from_ndarray(wav, format="fltp", layout=stream.layout.name)
        frame.sample_rate = sample_rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return file.getvalue()


def by_lame(
    wav: np.ndarray, *, mode: str = "cbr", bitrate: int = 128, stereo: str = "joint", sample_rate: int = RATE
) -> bytes:
    """Bare frames without any header: CBR, ABR or VBR (`bitrate` is then what that level averages: 190 is V2)."""
    return encode_frames(wav, CodecSpec(bitrate=bitrate, mode=mode, quality=7, stereo=stereo), sample_rate)


def save(path: Path, data: bytes) -> Path:
    """Write and give the path back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
