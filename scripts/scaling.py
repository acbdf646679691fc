"""What many hours of music cost, from measured rates: shards, bytes, and CPU hours of degradation for each GPU hour.

python scripts/scaling.py                      # with the rates written down below
python scripts/scaling.py --measure            # with this machine's, measured first (half a minute)
python scripts/scaling.py --hours 1000 --gpus 8 64 --gpu-clips 47 800
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

SAMPLE_RATE, CHANNELS, BYTES_PER_SAMPLE = 44_100, 2, 2
SEGMENT_SECONDS, CLIPS_PER_SHARD, JSON_BYTES = 6.0, 256, 1_536  # a tar header and a JSON of less than a kilobyte
CROP_SECONDS, MARGIN_SECONDS = 1.0, 0.5  # conf/data/shards.yaml: the margin is read and encoded as well
PHASE1_CLIPS = 100 * 3_600 * 16  # conf/experiment/phase1.yaml: epochs, batches, batch
PARAMETERS, GIGABYTE = 12_652_274, 1e9


@dataclass(frozen=True)
class Rates:
    """Per core: one-second mono clips degraded a second, and hours of music made into shards an hour."""

    codec_clips: float = 110.1  # docs/benchmarks.md, `python -m scripts.benchmark codec --clock cpu`
    pipeline_share: float = (
        0.9  # of workers times codec that the data module delivers: `python -m scripts.benchmark data`
    )
    shard_hours: float = 234.0  # `scripts/scaling.py --measure`, stereo at 44.1 kHz


@dataclass(frozen=True)
class Site:
    """What a cluster gives, in bytes a second: shared storage for all of it, and the network of one GPU."""

    storage: float = 10 * GIGABYTE
    network: float = 12.5 * GIGABYTE
    cores_per_gpu: int = 16


def corpus(hours: float, rates: Rates) -> list[tuple[str, str]]:
    clips = hours * 3600 / SEGMENT_SECONDS
    pcm = hours * 3600 * SAMPLE_RATE * CHANNELS * BYTES_PER_SAMPLE
    return [
        ("clips of 6 s", f"{clips:,.0f}"),
        ("shards of 256 clips", f"{-(-clips // CLIPS_PER_SHARD):,.0f}"),
        ("bytes, 16-bit WAV", f"{(pcm + clips * JSON_BYTES) / GIGABYTE:,.0f} GB"),
        ("bytes, FLAC (about half)", f"{(0.55 * pcm + clips * JSON_BYTES) / GIGABYTE:,.0f} GB"),
        ("CPU hours to prepare", f"{hours / rates.shard_hours:,.1f}"),
        ("CPU hours to degrade once, all of it", f"{hours * 3600 / rates.codec_clips / 3600:,.1f}"),
    ]


def training(gpus: int, gpu_clips: float, rates: Rates, site: Site) -> dict[str, str]:
    """One row: phase 1 on `gpus` that each train `gpu_clips` one-second clips a second when they never wait."""
    worker_clips = rates.codec_clips * rates.pipeline_share / (CROP_SECONDS + MARGIN_SECONDS)
    cores_per_gpu = gpu_clips / worker_clips
    read = gpu_clips * (CROP_SECONDS + MARGIN_SECONDS) * SAMPLE_RATE * CHANNELS * BYTES_PER_SAMPLE
    gradients = 2 * (gpus - 1) / gpus * PARAMETERS * 4 * gpu_clips / 16  # ring all-reduce, fp32, each step of 16 clips
    limits = {
        "codec": site.cores_per_gpu * worker_clips / gpu_clips,
        "storage": site.storage / (read * gpus),
        "network": site.network / gradients if gradients else float("inf"),
    }
    name, share = min(limits.items(), key=lambda item: item[1])
    return {
        "GPUs": f"{gpus}",
        "clips/s a GPU": f"{gpu_clips:g}",
        "CPU h per GPU h": f"{cores_per_gpu:.1f}",
        "cores": f"{ceil(cores_per_gpu * gpus):,}",
        "reads": f"{read * gpus / GIGABYTE:.2f} GB/s",
        "gradients a GPU": f"{gradients / GIGABYTE:.2f} GB/s",
        "phase 1": f"{PHASE1_CLIPS / (gpus * gpu_clips * min(1.0, share)) / 3600:.2f} h",
        "limit": f"{name}, {share:.0%} of the GPUs" if share < 1 else f"GPUs ({name} next, at {share:.1f} times)",
    }


def table(rows: Sequence[dict[str, str]]) -> str:
    """Markdown."""
    names = list(rows[0])
    body = ["| " + " | ".join(row[name] for name in names) + " |" for row in rows]
    return "\n".join(["| " + " | ".join(names) + " |", "|" + "---|" * len(names), *body])


def measured(rates: Rates) -> Rates:
    """The codec's and the shard writer's rates on one core of this machine, in CPU time."""
    from upscale import audio
    from upscale.codec import CodecSampler, roundtrip
    from upscale.corpus.demo import compose
    from upscale.shards.prepare import prepare

    song = compose(seed=1, seconds=30.0)
    sampler = CodecSampler(bitrates=[64, 96, 128, 160, 192, 256])
    clip = song[:1, :SAMPLE_RATE]
    roundtrip(clip, sampler.draw(0), SAMPLE_RATE)
    start, count = time.process_time(), 200
    for number in range(count):
        roundtrip(clip, sampler.draw(number), SAMPLE_RATE)
    codec_clips = count / (time.process_time() - start)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(4):
            audio.write(Path(folder, f"{number}.wav"), song, SAMPLE_RATE, subtype="PCM_16")
        start = time.process_time()
        prepare(Path(folder, "out"), sources=["folder"], roots={"folder": folder}, workers=1)
        shard_hours = 4 * 30.0 / (time.process_time() - start)
    print(
        f"measured on one core: {codec_clips:.0f} clips/s degraded, {shard_hours:.0f} h of music an hour into shards\n"
    )
    return replace(rates, codec_clips=codec_clips, shard_hours=shard_hours)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=1000.0)
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--gpu-clips", type=float, nargs="+", default=[47.0, 800.0], help="clips/s that one GPU trains")
    parser.add_argument("--measure", action="store_true")
    options = parser.parse_args()
    rates, site = Rates(), Site()
    if options.measure:
        rates = measured(rates)
    print(f"{options.hours:g} hours of stereo music\n")
    print(table([{"": name, " ": value} for name, value in corpus(options.hours, rates)]))
    print(f"\nPhase 1, {PHASE1_CLIPS:,} clips, with {site.cores_per_gpu} cores a GPU\n")
    print(table([training(gpus, clips, rates, site) for clips in options.gpu_clips for gpus in options.gpus]))


if __name__ == "__main__":
    main()
