"""Compute once what a part of the released models trains on, where that takes longer than its training steps.

    python -m scripts.released.precompute frames --pairs FOLDER [FOLDER ...] --out FOLDER [--workers 2]
    python -m scripts.released.precompute repetitions --pairs FOLDER --model CHECKPOINT --out FOLDER [--count 600]

Clips are drawn from `--pairs` as `data=pairs` draws them: gain, order of channels, version and place depend on the
seed and the song's name; songs of val/ stay in val/. OUT/{train,val}/NAME.safetensors are read by `data=precomputed`.

`frames`: one clip of eight seconds of every song (or piece), as the frame network of the log-magnitude predictor sees
it, and what that should say, for the stages `band_envelope` and `stereo_correlation`: with that done once, a step takes
a third of the time. A name that ends in _HZ says up to where the clean side is known (`scripts/released/music/
decode_vorbis.py`): bands above are not a number, nor is any correlation of such a song, because Vorbis makes left and
right alike where that is not heard. 1.5 MB a clip.

`repetitions`: `--count` excerpts of 26 s through the filters of CHECKPOINT (the stage `filters`), and passages of each
with the places where it plays them again, for the stage `repetition_mixer`. 5 MB a passage.

A file that exists is kept.
"""

import argparse
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from upscale.datamodule import Batch, PairDataModule
from upscale.datamodule.batches import SAMPLE_RATE
from upscale.datamodule.pairs.clips import AUDIBLE
from upscale.datamodule.precomputed import SUFFIX, write_piece
from upscale.errors import UserError
from upscale.models import SpectralFill
from upscale.models.spectral.log_magnitude import LogMagnitudePredictor
from upscale.models.spectral.repetition_search import HOP, find_repetitions, gather_repetitions
from upscale.restore.bundle import load_bundle
from upscale.seeds import derive_seed
from upscale.shards.jobs import run_jobs

FRAME_SECONDS = 8.0
NUM_MATCHES = 4
PASSAGE_BLOCKS = 40  # 3.7 s, twice as long as a training clip
NUM_PASSAGES = 2  # of each excerpt
SPLITS = ("train", "val")
FIDELITY_WEIGHTS = {32: 0.8, 40: 0.5, 48: 1, 56: 0.7, 64: 1.2, 80: 1, 96: 1.2, 112: 1, 128: 1.3, 160: 0.7}
SHARE_KNOWN = 0.3  # of excerpts, the bitrate

Write = Callable[[Batch, Path], None]
Job = tuple[str, int]  # split and number of a clip


@torch.no_grad()
def inputs_and_target(predictor: LogMagnitudePredictor, degraded: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
    """Two sounds [B, 2, T] to the inputs [B, inputs, N], without the bitrate, and the target [B, 3, K, N]."""
    relative, level = predictor.relative(predictor.stft.analyse(degraded))
    spectrum = predictor.stft.analyse(clean)
    bands = predictor.band_mean(predictor.log_power(spectrum) - level)
    target = torch.cat([bands, predictor.correlation(spectrum)[:, None]], dim=1)
    return predictor.inputs(degraded, relative, level, None), target


def known_hz(key: str) -> float:
    """Up to where the clean side is known, by the name of the song: `mix_000123_15000@64+0` to 15,000 Hz."""
    name = re.search(r"_(\d{4,5})$", key.split("@")[0])
    return min(float(name[1]), SAMPLE_RATE / 2) if name else SAMPLE_RATE / 2


def write_frames(batch: Batch, path: Path, predictor: LogMagnitudePredictor) -> None:
    inputs, target = inputs_and_target(predictor, batch.degraded, batch.clean)
    hz = known_hz(batch.key[0])
    if hz < SAMPLE_RATE / 2:
        target[:, :, int(hz / (SAMPLE_RATE / 2) * predictor.num_bands) :] = float("nan")
        target[:, 2] = float("nan")
    arrays = {"inputs": inputs[0].T, "target": target[0].movedim(-1, 0)}
    write_piece(path, arrays, kind="frames", num_frames=inputs.shape[-1], bitrate=float(batch.bitrate))


@torch.no_grad()
def write_repetitions(batch: Batch, path: Path, network: Any) -> None:
    """Passages of an excerpt through the filters of a `SpectralCascade`: PATH with -0, -1 and so on behind its name."""
    filtered = network.filtered(batch.degraded, batch.bitrate)
    starts, similarity = find_repetitions(filtered, NUM_MATCHES)
    room = filtered.shape[-1] // HOP - PASSAGE_BLOCKS
    for number in range(NUM_PASSAGES):
        first = derive_seed("passage", path.stem, number) % (room + 1)
        blocks, samples = slice(first, first + PASSAGE_BLOCKS + 1), slice(first * HOP, (first + PASSAGE_BLOCKS) * HOP)
        matches = gather_repetitions(filtered, starts[..., blocks])[..., : PASSAGE_BLOCKS * HOP]
        sounds = {"clean": batch.clean, "degraded": batch.degraded, "filtered": filtered}
        arrays = {name: wav[0, :, samples] for name, wav in sounds.items()}
        arrays |= {"matches": matches[0], "similarity": similarity[0, :, blocks]}
        write_piece(
            path.with_name(f"{path.stem}-{number}{SUFFIX}"),
            {name: value.movedim(-1, 0) for name, value in arrays.items()},
            kind="repetitions",
            num_frames=PASSAGE_BLOCKS,
            bitrate=float(batch.bitrate),
        )


def write_clip(job: Job, data: PairDataModule, folder: Path, write: Write) -> None:
    """Draw a clip and write what is computed of it; nothing of silence, nor where a file is there already."""
    split, number = job
    clips = data.clips[split]
    song, visit = number % len(clips), number // len(clips)
    name = clips.key(song).replace("/", "__").replace("#", "_")
    path = folder / split / f"{name}_{visit}{SUFFIX}"
    if any(path.parent.glob(f"{path.stem.replace('[', '[[]')}*{SUFFIX}")):
        return
    batch = clips[[(song, 0, visit)]]
    if batch.clean.square().mean() > AUDIBLE:
        write(batch, path)


def precompute(data: PairDataModule, folder: Path, write: Write, count: int | None, workers: int) -> None:
    """`count` clips of `train`, one of each song if not said, and a tenth as many of `val`, at least one."""
    data.setup("fit")
    jobs: list[Job] = []
    for split in SPLITS:
        (folder / split).mkdir(parents=True, exist_ok=True)
        wanted = count if split == "train" else count and max(1, count // 10)
        jobs += [(split, number) for number in range(wanted or len(data.clips[split]))]
    for _ in run_jobs(partial(write_clip, data=data, folder=folder, write=write), jobs, workers, "precomputing"):
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("frames", "repetitions"))
    parser.add_argument("--pairs", nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", help="a checkpoint of the stage `filters`, for `repetitions`")
    parser.add_argument("--count", type=int, help="clips of each folder; without it one of every song")
    parser.add_argument("--seconds", type=float, default=26.0, help="of an excerpt that is looked through")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.what == "repetitions" and not arguments.model:
        parser.error("repetitions are looked for behind the filters: name their checkpoint with --model")
    try:
        run(arguments)
    except UserError as error:
        sys.exit(f"error: {error}")


def run(arguments: argparse.Namespace) -> None:
    options: dict[str, Any] = {"batch_size": 1, "channels": 2, "num_workers": arguments.workers}
    write: Write
    if arguments.what == "frames":
        write = partial(write_frames, predictor=SpectralFill().level.eval())
        options |= {"clip_seconds": FRAME_SECONDS, "gain_db": (-36, 0), "loudness": 3.0, "bitrate_known": 1.0}
    else:
        network: Any = load_bundle(arguments.model)[0]
        write = partial(write_repetitions, network=network)
        options |= {"clip_seconds": arguments.seconds, "bitrate_known": SHARE_KNOWN}
        options |= {"bitrate_weights": FIDELITY_WEIGHTS}
    for root in arguments.pairs:
        precompute(PairDataModule(root, **options), arguments.out, write, arguments.count, arguments.workers)


if __name__ == "__main__":
    main()
