"""`upscale listen`: restore while playing. Without a sound card: how fast and how late it would be."""

import argparse
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from upscale import audio
from upscale.restore import Restorer
from upscale.restore.inspect_file import inspect_file
from upscale.restore.prefetch import prefetch
from upscale.restore.stream import Stream

BLOCK_SAMPLES = 1024


@dataclass(frozen=True)
class Speed:
    """`latency_seconds`: from a sample in to the same sample out; `factor`: seconds of sound per second of work."""

    latency_seconds: float
    factor: float
    slowest_seconds: float
    audio_seconds: float

    def __str__(self) -> str:
        real_time = "real time" if self.factor >= 1 else "SLOWER than real time"
        return (
            f"{self.audio_seconds:.1f} s of sound at {self.factor:.1f}x: {real_time}; "
            f"latency {self.latency_seconds * 1000:.0f} ms, of which the slowest block took "
            f"{self.slowest_seconds * 1000:.0f} ms to compute"
        )


def main(argv: Sequence[str]) -> int:
    options = _parser().parse_args(argv)
    whole = Restorer.load(options.model, device=options.device)
    restorer = whole.low_latency()
    found = inspect_file(options.input)
    stream = restorer.stream(
        found.sample_rate, bitrate=found.effective_bitrate, mix=options.mix, chunk_seconds=options.chunk_seconds
    )
    latency = stream.latency / found.sample_rate
    without = "" if restorer is whole else ", without the parts that look seconds ahead"
    print(f"{restorer.traits.name} on {restorer.backend.device}{without}: latency {latency * 1000:.0f} ms")
    sound_card = None if options.benchmark else _open_sound_card(found.sample_rate, found.channels)
    if sound_card is None:
        print(measure(stream, options.input, found.sample_rate, max_seconds=options.seconds))
        return 0
    with sound_card, closing(prefetch(_restored(stream, options.input), depth=64)) as blocks:
        for block in blocks:
            sound_card.write(np.ascontiguousarray(block.T))
    return 0


def measure(stream: Stream, path: Path, sample_rate: int, max_seconds: float) -> Speed:
    """Push the file through in small blocks, as a player would, and time the restoring alone."""
    busy = slowest = 0.0
    num_samples = 0
    for block in audio.blocks(path, BLOCK_SAMPLES):
        started = time.perf_counter()
        stream.push(block)
        elapsed = time.perf_counter() - started
        busy += elapsed
        slowest = max(slowest, elapsed)
        num_samples += block.shape[-1]
        if num_samples >= max_seconds * sample_rate:
            break
    # A block is heard once its chunk is complete and computed: both belong to the latency.
    latency = stream.latency / sample_rate + slowest
    seconds = num_samples / sample_rate
    return Speed(latency, seconds / max(busy, 1e-9), slowest, seconds)


def _restored(stream: Stream, path: Path) -> Iterator[np.ndarray]:
    for block in audio.blocks(path, BLOCK_SAMPLES):
        yield stream.push(block)
    yield stream.flush()


def _open_sound_card(sample_rate: int, channels: int) -> Any:
    """An output of `sounddevice`, or None with the reason on the terminal."""
    try:
        import sounddevice

        return sounddevice.OutputStream(samplerate=sample_rate, channels=channels, dtype="float32")
    except (ImportError, OSError) as error:
        print(
            f"no sound card ({error}; playing needs pip install 'upscalemp3[listen]' and PortAudio): measuring instead"
        )
    except Exception as error:  # PortAudio's own error class may not be importable
        print(f"no sound card ({error}): measuring instead")
    return None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="upscale listen", description="Restore a file while playing it.")
    parser.add_argument("input", type=Path, metavar="INPUT")
    parser.add_argument(
        "--model", metavar="NAME", help="a shipped model, a bundle, a .ckpt or an .onnx (default: fidelity)"
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--mix", type=float, default=1.0, metavar="0..1", help="0 is the input, 1 the model's output")
    parser.add_argument(
        "--chunk-seconds", type=float, help="length of a chunk; shorter ones mean less latency and more work"
    )
    parser.add_argument("--benchmark", action="store_true", help="measure, even where there is a sound card")
    parser.add_argument("--seconds", type=float, default=60.0, help="how much sound to measure (default: 60)")
    return parser
