"""Any codec through FFmpeg (PyAV), as a complete file in memory."""

import io

import av
import numpy as np

from upscale.codec.spec import VBR_BITRATES, CodecSpec

ENCODERS = {"mp3": "libmp3lame", "aac": "aac", "opus": "libopus"}
CONTAINERS = {"mp3": "mp3", "aac": "ipod", "opus": "ogg"}
FF_QP2LAMBDA = 118


def encode_file(wav: np.ndarray, spec: CodecSpec, sample_rate: int) -> bytes:
    """`[C, T]` -> the bytes of an MP3, M4A or Ogg file."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=CONTAINERS[spec.codec]) as container:
        layout = "mono" if wav.shape[0] == 1 else "stereo"
        stream = container.add_stream(ENCODERS[spec.codec], rate=sample_rate, options=_options(spec))
        assert isinstance(stream, av.AudioStream)
        stream.codec_context.layout = layout
        stream.codec_context.format = "flt" if spec.codec == "opus" else "fltp"
        if spec.mode != "vbr":
            stream.bit_rate = spec.bitrate * 1000
        samples = wav.T.reshape(1, -1) if spec.codec == "opus" else wav
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples, dtype=np.float32), format=stream.codec_context.format.name, layout=layout
        )
        frame.sample_rate, frame.pts = sample_rate, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def _options(spec: CodecSpec) -> dict[str, str]:
    if spec.codec != "mp3":
        return {}
    options = {"compression_level": str(spec.quality), "joint_stereo": str(int(spec.stereo == "joint"))}
    if spec.mode == "abr":
        options["abr"] = "1"
    if spec.mode == "vbr":
        options |= {"flags": "+qscale", "global_quality": str(VBR_BITRATES[spec.bitrate] * FF_QP2LAMBDA)}
    return options


def decode_file(data: bytes) -> np.ndarray:
    """The bytes of a file -> `[C, T]` at the file's own rate, trimmed as its header says."""
    with av.open(io.BytesIO(data), "r") as container:
        resampler = av.AudioResampler(format="fltp")
        decoded = [
            converted.to_ndarray() for frame in container.decode(audio=0) for converted in resampler.resample(frame)
        ]
    return np.concatenate(decoded, axis=1)
