"""What the last stage of `fidelity` sees: songs after MP3, after its filters, and where they repeat themselves.

    python -m scripts.released.cache_repeats --music FOLDER [FOLDER ...] --filter WEIGHTS --out FOLDER --count 600 [--first N]

Song number N of `--count` is drawn from the FLAC files by a seed made from N, as is its bitrate; its first 26 s are
encoded whole by LAME. OUT/N@BITRATE.npz holds clean, degraded and filtered sound as float16 [2, T] and the matches of
`upscale.models.spectral.repetition_search` [K, M]; the stage `repeat` of `scripts/released/train_released.py` reads it. 6 MB a song, two or three
seconds each on two threads. A file that exists is kept.
"""

import argparse
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.random import Generator

from scripts.released.clips import AUDIBLE
from scripts.released.music.genre_sampling import by_kind, draw
from scripts.released.train_released import CHOSEN, FIDELITY_WEIGHTS, NUM_MATCHES, filter_weights_of
from upscale import atomic
from upscale.codec import CodecSpec, roundtrip
from upscale.models import SpectralCascade
from upscale.models.spectral.bypass import GOOD_BITRATE
from upscale.models.spectral.repetition_search import find_repetitions
from upscale.seeds import derive_seed

SAMPLE_RATE = 44_100
SECONDS, SHORTEST = 26, 6
SHARE_TOLD = 0.3  # of songs, the bitrate


def sound(path: Path) -> np.ndarray:
    """[2, T] of the first seconds of a song."""
    wav = soundfile.read(path, frames=SECONDS * SAMPLE_RATE, dtype="float32", always_2d=True)[0].T
    return np.ascontiguousarray(np.repeat(wav, 2, axis=0) if len(wav) == 1 else wav[:2])


@torch.no_grad()
def repeats_of(model: SpectralCascade, clean: np.ndarray, bitrate: int, told: bool) -> dict[str, np.ndarray]:
    degraded = torch.from_numpy(roundtrip(clean, CodecSpec(bitrate=bitrate), SAMPLE_RATE))[None]
    filtered = model.filtered(degraded, torch.tensor([float(bitrate)]) if told else None)
    starts, likeness = find_repetitions(filtered, NUM_MATCHES)
    wavs = {"clean": clean, "degraded": degraded[0].numpy(), "filtered": filtered[0].numpy()}
    found = {name: wav.astype(np.float16) for name, wav in wavs.items()}
    return found | {"starts": starts[0].to(torch.int32).numpy(), "likeness": likeness[0].numpy()}


def drawn(kinds: dict[str, list[Path]], rng: Generator) -> tuple[Path, int, bool]:
    bitrates = [bitrate for bitrate in FIDELITY_WEIGHTS if bitrate < GOOD_BITRATE]
    weights = np.array([FIDELITY_WEIGHTS[bitrate] for bitrate in bitrates])
    return draw(kinds, rng), int(rng.choice(bitrates, p=weights / weights.sum())), bool(rng.random() < SHARE_TOLD)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--music", type=Path, nargs="+", required=True)
    parser.add_argument(
        "--filter", type=Path, required=True, help="a checkpoint of `fidelity`, or its bundle's weights"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--first", type=int, default=0)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    model = SpectralCascade(**CHOSEN).eval()
    model.load_state_dict(filter_weights_of(arguments.filter))
    kinds = by_kind((path.stem, path) for folder in arguments.music for path in folder.glob("*.flac"))
    for number in range(arguments.first, arguments.first + arguments.count):
        rng = np.random.default_rng(derive_seed("repeats", number))
        song, bitrate, told = drawn(kinds, rng)
        path = arguments.out / f"{number:05d}@{bitrate}.npz"
        if path.exists():
            continue
        clean = sound(song)
        if clean.shape[1] < SHORTEST * SAMPLE_RATE or np.mean(clean**2) < AUDIBLE:
            continue
        with atomic.replacing(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, **repeats_of(model, clean, bitrate, told))
        print(f"{path.name}: {song.stem}", flush=True)


if __name__ == "__main__":
    main()
