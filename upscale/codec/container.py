"""Encoding and decoding through FFmpeg (PyAV), as a complete file in memory."""

import io
from collections.abc import Mapping

import av
import numpy as np


def encode_file(
    wav: np.ndarray,
    sample_rate: int,
    *,
    encoder: str,
    container: str,
    sample_format: str = "fltp",
    bitrate: int | None = None,
    options: Mapping[str, str] | None = None,
) -> bytes:
    """`[C, T]` -> the bytes of a file. Names and options are FFmpeg's; `bitrate` in kbit/s, None where options say it.

    `sample_format` is what the encoder takes: "fltp" (a plane for each channel) or "flt" (samples interleaved).
    """
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as file:
        layout = "mono" if wav.shape[0] == 1 else "stereo"
        stream = file.add_stream(encoder, rate=sample_rate, options=dict(options or {}))
        assert isinstance(stream, av.AudioStream)
        stream.codec_context.layout = layout
        stream.codec_context.format = sample_format
        if bitrate is not None:
            stream.bit_rate = bitrate * 1000
        samples = wav if sample_format == "fltp" else wav.T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples, dtype=np.float32), format=stream.codec_context.format.name, layout=layout
        )
        frame.sample_rate, frame.pts = sample_rate, 0
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return buffer.getvalue()


def decode_file(data: bytes) -> np.ndarray:
    """The bytes of a file -> `[C, T]` at the file's own rate, trimmed as its header says."""
    with av.open(io.BytesIO(data), "r") as container:
        resampler = av.AudioResampler(format="fltp")
        decoded = [
            converted.to_ndarray() for frame in container.decode(audio=0) for converted in resampler.resample(frame)
        ]
    return np.concatenate(decoded, axis=1)
