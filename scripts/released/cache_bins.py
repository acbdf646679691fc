"""What `RepetitionLevel` sees of single bins and what it should add to the answer there, computed once.

    python -m scripts.released.cache_bins --repeats FOLDER [FOLDER ...] --model WEIGHTS --out FOLDER [--workers 2]

Of every song of `scripts/released/cache_repeats.py` up to two passages of eight seconds, at a gain that is drawn from its name,
as `levels` (or the bundle of `perceptual`) answers them; of each passage 36,000 bins that are heard.
OUT/NAME.npy, float16 [bins, features + 2]: the features, then how far the clean sound is above the answer, then the
distance of that frame. The stage `repeat-levels` of `scripts/released/train_released.py` reads it. 12 MB and four seconds of a
thread a song. A file that exists is kept.
"""

import argparse
from functools import partial
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from scripts.released.clips import AUDIBLE, cut_passage, random_gain
from scripts.released.music.degrade_music import write_array
from scripts.released.train_released import CHOSEN, NUM_MATCHES, filter_weights_of, frame_distance
from upscale.models import SpectralFill
from upscale.models.spectral.bin_features import bin_features
from upscale.models.spectral.repetition_level import match_confidence
from upscale.models.spectral.repetition_search import HOP
from upscale.seeds import derive_seed

NUM_BLOCKS = 84  # of `upscale.models.spectral.repetition_search`, of a passage: 7.8 s
PASSAGES, BINS = 2, 36_000
EDGE_FRAMES = 14  # at both ends of a passage, where answers are not those within a song
SHARE_SILENCED = 0.07  # of passages, in which some matches are silence, as where a song is short


@torch.no_grad()
def bins_of(
    model: SpectralFill,
    clean_wav: Tensor,
    wav: Tensor,
    filtered_wav: Tensor,
    matches: Tensor,
    likeness: Tensor,
    rng: np.random.Generator,
) -> Tensor:
    """[bins, features + 2] of a passage: wavs [1, 2, T], `matches` [1, K, 2, T]."""
    mixer = model.filter.repeat
    assert mixer is not None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = mixer.combine(wav, filtered_wav, matches, likeness).float()
        degraded, filtered, clean = map(model.stft.analyse, (wav, mixed, clean_wav))
        answer = model.level(wav, degraded, filtered).float()
    seen = answer, *model.of_matches(degraded, filtered, matches)
    wanted = model.level.log_power(clean)
    heard = match_confidence(*seen[2:4]) == 1
    heard[..., :EDGE_FRAMES], heard[..., -EDGE_FRAMES:] = False, False
    places = heard.flatten().nonzero()[:, 0]
    if len(places) == 0:
        return torch.zeros(0)
    places = places[torch.from_numpy(rng.integers(len(places), size=BINS))]
    distance = frame_distance(answer, wanted, dim=2)[:, :, None].expand_as(answer)
    said = [part.flatten()[places] for part in (wanted - answer, distance)]
    return torch.stack([*bin_features(places, *seen), *said], dim=1)


def write_bins(song: Path, out: Path, model: SpectralFill) -> None:
    torch.set_num_threads(1)
    path = out / f"{song.stem}.npy"
    if path.exists():
        return
    rng = np.random.default_rng(derive_seed("bins", song.stem))
    stored = dict(np.load(song))
    total = stored["filtered"].shape[1] // HOP
    num_blocks = min(NUM_BLOCKS, total)
    found = []
    for first in rng.integers(total - num_blocks + 1, size=min(PASSAGES, max(total // NUM_BLOCKS, 1))):
        wavs, likeness = cut_passage(stored, first, num_blocks)
        if rng.random() < SHARE_SILENCED:
            wavs[3][int(rng.integers(len(wavs[3]))) :] = 0
        if wavs[0].square().mean() > AUDIBLE:
            gain = random_gain(rng, quietest_db=15, loudness=3)
            found.append(bins_of(model, *(gain * wav[None] for wav in wavs), likeness[None], rng))
    found = [bins for bins in found if len(bins)]
    if found:
        write_array(path, torch.cat(found).to(torch.float16).numpy())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=Path, nargs="+", required=True)
    parser.add_argument("--model", type=Path, required=True, help="a checkpoint of `levels`, or a bundle's weights")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    model = SpectralFill(**CHOSEN, num_matches=NUM_MATCHES).eval()
    model.load_state_dict(filter_weights_of(arguments.model))
    model.to(memory_format=torch.channels_last)
    songs = sorted(path for folder in arguments.repeats for path in folder.glob("*.npz"))
    with Pool(arguments.workers) as pool:
        write = partial(write_bins, out=arguments.out, model=model)
        for _ in tqdm(pool.imap_unordered(write, songs), total=len(songs), unit="song"):
            pass


if __name__ == "__main__":
    main()
