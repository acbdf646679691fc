"""What the frame network of `perceptual` sees of the pieces of a pool and what it should say, computed once.

    python -m scripts.released.cache_frames --pool FOLDER [FOLDER ...] --out FOLDER [--workers 2]

Of every piece of `scripts/released/music/augment_music.py`, at a gain and with an order of channels that are drawn from its name:
OUT/NAME@VARIANT.npy, float16 [N, inputs + 3 * bands], the network's inputs, not told the bitrate, then of each band of
the clean piece the mean log10 power, left and right, above the level around that frame, and their correlation; not a
number in bands of which the clean piece knows nothing (`scripts/released/music/decode_vorbis.py`), and for all of the correlation of
such a piece: Vorbis makes left and right alike where that is not heard. The stages `bands` and
`correlation` of `scripts/released/train_released.py` read it: with that done once, a step takes a third of the time. A file
that exists is kept. 1.5 MB a piece.
"""

import argparse
import re
from functools import partial
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import torch

from scripts.released.clips import AUDIBLE, random_gain
from scripts.released.music.augment_music import SAMPLE_RATE
from scripts.released.music.degrade_music import CLEAN_SCALE, DEGRADED_SCALE, write_array
from upscale.models.spectral.log_magnitude import LogMagnitudePredictor
from upscale.seeds import derive_seed


@torch.no_grad()
def frames_of(model: LogMagnitudePredictor, clean: np.ndarray, degraded: np.ndarray, known_hz: float) -> np.ndarray:
    """Two sounds [T, 2], the clean one known up to there, to [N, inputs + 3 * bands]."""
    clean_wav, wav = (torch.tensor(sound.T[None], dtype=torch.float32) for sound in (clean, degraded))
    relative, level = model.relative(model.stft.analyse(wav))
    clean_spectrum = model.stft.analyse(clean_wav)
    bands = model.band_mean(model.log_power(clean_spectrum) - level)
    target = torch.cat([bands, model.correlation(clean_spectrum)[:, None]], dim=1)
    if known_hz < SAMPLE_RATE / 2:
        target[:, :, int(known_hz / (SAMPLE_RATE / 2) * model.num_bands) :] = float("nan")
        target[:, 2] = float("nan")
    frames = torch.cat([model.inputs(wav, relative, level, None), target.flatten(1, 2)], dim=1)
    return frames[0].T.to(torch.float16).numpy()


def known_hz(piece: Path) -> float:
    """Up to where its clean side is known, by its name."""
    name = re.fullmatch(r"mix_\d+_(\d+)@.+", piece.stem)
    if name is None:
        raise SystemExit(
            f"error: {piece}: not a piece of scripts/released/music/augment_music.py, mix_NUMBER_HZ@VARIANT.npy"
        )
    return float(name[1])


def write_frames(piece: Path, out: Path, model: LogMagnitudePredictor) -> None:
    """`piece` is the MP3's side; the clean one lies beside it."""
    torch.set_num_threads(1)
    path = out / piece.name
    if path.exists():
        return
    clean_piece = piece.with_name(f"{piece.stem.rsplit('@', 1)[0]}@clean.npy")
    clean = np.load(clean_piece).astype(np.float32) / CLEAN_SCALE
    if np.mean(clean**2) < AUDIBLE:
        return
    rng = np.random.default_rng(derive_seed("frames", piece.name))
    gain = random_gain(rng, quietest_db=36, loudness=3)
    order = rng.permutation(2)
    degraded = np.load(piece).astype(np.float32) / DEGRADED_SCALE
    write_array(path, frames_of(model, gain * clean[:, order], gain * degraded[:, order], known_hz(piece)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    pieces = sorted(path for pool in arguments.pool for path in pool.glob("*.npy") if not path.stem.endswith("@clean"))
    for piece in pieces:
        known_hz(piece)  # nothing is written where one is not understood
    write = partial(write_frames, out=arguments.out, model=LogMagnitudePredictor().eval())
    with Pool(arguments.workers) as pool:
        for _ in pool.imap_unordered(write, pieces, chunksize=16):
            pass


if __name__ == "__main__":
    main()
