"""Short pieces of music that nobody wrote, before and after MP3: pairs to train on, mixed from the songs at hand.

    python -m scripts.released.music.augment_music --music FOLDER [FOLDER ...] --out POOL --count 8000 [--workers 2]

A piece is eight seconds of `--music` (FLAC, 44.1 kHz): an excerpt of one song as it is, or up to three excerpts on top
of each other, each at another speed, equalised, narrower or wider, in a room. Some mixes are driven into a limiter,
some are mono. LAME encodes each piece in one variant. Everything is drawn from the piece's number and the songs at
hand. A network that hears the same songs again and again learns them by heart; it hears each piece once.

POOL is as `data=pairs` reads it: SPLIT/clean/mix_NUMBER_HZ.wav and SPLIT/degraded/VARIANT/mix_NUMBER_HZ.wav, the splits
`train` and `val`. Below HZ the clean piece can be believed (`decode_vorbis`). No song is heard in both splits. A piece
that exists is kept.
"""

import argparse
from collections.abc import Iterable
from functools import cache, partial
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import soundfile
import yaml
from numpy.random import Generator
from scipy.signal import fftconvolve, resample_poly

from scripts.released.music.decode_vorbis import known_hz
from scripts.released.music.genre_sampling import by_kind, draw
from upscale import audio
from upscale.atomic import write_text
from upscale.codec import CodecSpec, roundtrip
from upscale.entrypoint import run
from upscale.errors import UserError
from upscale.seeds import derive_seed

SAMPLE_RATE = 44_100
SECONDS, WARM_UP_SECONDS = 8, 0.5  # what is kept, and how much is encoded before it
NUM_SONGS = (0.75, 0.2, 0.05)  # one, two, three at a time
OTHER_SPEED, EQUALISED, IN_A_ROOM, LIMITED, MONO = 0.6, 0.7, 0.4, 0.4, 0.06
VAL_SHARE = 0.05  # of the songs
VAL_EVERY = 20  # pieces, the first of them among the songs to validate with: a small pool has one too
LOUDEST = 0.999  # of full scale: LAME may overshoot it; then both sides are turned down
# How often each variant is drawn: constant bitrates, then what else people's files were made with.
SHARES = {"32": 0.4, "40": 0.3, "48": 1.4, "56": 0.8, "64": 4, "80": 1, "96": 4, "112": 0.8, "128": 1.2, "160": 0.6}
SHARES |= {"l64": 0.6, "l96": 0.6, "l128": 0.2, "s128": 0.2, "abr112": 0.2, "v5": 0.3, "v2": 0.2}
MAKE_PAIRS = Path(__file__).parents[3] / "conf" / "make_pairs.yaml"


@cache
def variants() -> dict[str, CodecSpec]:
    """The encoder settings by name, as `scripts/make_pairs.py` has them."""
    known = yaml.safe_load(MAKE_PAIRS.read_text(encoding="utf-8"))["variants"]
    return {name: CodecSpec(**known[name]) for name in SHARES}


def split_songs(songs: Iterable[Path]) -> dict[str, list[Path]]:
    """The songs of `train` and `val`, by a hash of the name; excerpts of one song (NAME__0, NAME__1) stay together."""
    chance = {song: derive_seed("split", song.stem.partition("__")[0]) / 2**63 for song in songs}
    if not chance:
        return {"train": [], "val": []}
    threshold = max(VAL_SHARE, min(chance.values()))
    val = sorted(song for song in chance if chance[song] <= threshold)
    return {"train": sorted(chance.keys() - set(val)), "val": val}


def songs_in(folders: Iterable[Path]) -> list[Path]:
    return [song for folder in folders for song in sorted(folder.glob("*.flac"))]


def kinds_of(songs: Iterable[Path]) -> dict[str, list[Path]]:
    return by_kind((song.stem, song) for song in songs)


def excerpt(song: Path, length: int, rng: Generator) -> np.ndarray:
    """`length` samples from anywhere in a song [length, 2]; a short one is repeated."""
    frames = soundfile.info(song).frames
    start = int(rng.integers(0, max(1, frames - length)))
    wav = soundfile.read(song, start=start, frames=length, dtype="float32", always_2d=True)[0]
    wav = np.repeat(wav, 2, axis=1) if wav.shape[1] == 1 else wav
    return np.resize(wav, (length, 2))


def shaped(song: Path, length: int, rng: Generator) -> tuple[np.ndarray, float]:
    """What a studio does to a track, drawn at random: [length, 2], root mean square 1; and what Hz it is known to."""
    percent = int(rng.integers(92, 130)) if rng.random() < OTHER_SPEED else 100
    wav = excerpt(song, length * percent // 100 + 1, rng)
    if percent != 100:
        wav = resample_poly(wav, 100, percent, axis=0)
    wav = wav[:length]
    if rng.random() < EQUALISED:
        wav = equalised(wav, 4 * rng.standard_normal(7) + np.linspace(-1, 1, 7) * 3 * rng.standard_normal())
    mid, side = (wav[:, 0] + wav[:, 1]) / 2, (wav[:, 0] - wav[:, 1]) / 2
    side = side * rng.uniform(0.2, 1.6)
    pan = rng.uniform(-0.3, 0.3)
    wav = np.stack([(mid + side) * (1 + pan), (mid - side) * (1 - pan)], axis=1)
    if rng.random() < IN_A_ROOM:
        wav = wav + rng.uniform(0.05, 0.4) * room(wav, rng.uniform(0.2, 1.5), rng)
    wav = wav[::-1, ::-1] if rng.random() < 0.05 else wav
    return wav / (np.sqrt(np.mean(wav**2)) + 1e-9), known_hz(song) * percent / 100


def equalised(wav: np.ndarray, gains_db: np.ndarray) -> np.ndarray:
    """[T, 2] through a filter without phase, its gains evenly spread over the octaves from 86 Hz to 22 kHz."""
    spectrum = np.fft.rfft(wav, axis=0)
    octave = 8 + np.log2(np.linspace(0, 1, len(spectrum)).clip(min=2**-8))
    return np.fft.irfft(spectrum * equaliser(octave, gains_db)[:, None], n=len(wav), axis=0).astype(np.float32)


def equaliser(octave: np.ndarray, gains_db: np.ndarray) -> np.ndarray:
    """Factors at places in octaves, 0 to 8, from gains that are evenly spread over them."""
    return 10 ** (np.interp(octave, np.linspace(0, 8, len(gains_db)), gains_db) / 20)


def room(wav: np.ndarray, decay_seconds: float, rng: Generator) -> np.ndarray:
    """Decorrelated reverberation of [T, 2]: noise that decays by 60 dB, one for each channel."""
    time = np.arange(int(decay_seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tail = (rng.standard_normal((len(time), 2)) * np.exp(-6.9 * time / decay_seconds)[:, None]).astype(np.float32)
    return fftconvolve(wav, tail / np.sqrt((tail**2).sum(axis=0)), axes=0)[: len(wav)]


def mixed(kinds: dict[str, list[Path]], length: int, as_it_is: float, rng: Generator) -> tuple[np.ndarray, float]:
    """One piece: float32 [length, 2], within full scale; and what Hz it is known to."""
    if rng.random() < as_it_is:
        song = draw(kinds, rng)
        return excerpt(song, length, rng), known_hz(song)
    wav, known = np.zeros((length, 2), np.float32), SAMPLE_RATE / 2
    for _ in range(1 + rng.choice(len(NUM_SONGS), p=NUM_SONGS)):
        track, hz = shaped(draw(kinds, rng), length, rng)
        wav += track * 10 ** (-rng.uniform(0, 9) / 20)
        known = min(known, hz)
    wav /= np.abs(wav).max() + 1e-9
    if rng.random() < LIMITED:  # loudness war
        drive = rng.uniform(1.5, 4)
        wav = np.tanh(drive * wav) / np.tanh(drive)
    if rng.random() < MONO:
        wav = np.repeat(wav.mean(axis=1, keepdims=True), 2, axis=1)
    return wav * 10 ** (-rng.uniform(0.1, 8) / 20), known


def write_piece(number: int, kinds: dict[str, dict[str, list[Path]]], as_it_is: float, out: Path) -> None:
    """Both sides of a piece, the degraded one last: a piece that has it is whole."""
    rng = np.random.default_rng(derive_seed("augment", number))
    split = "val" if kinds["val"] and number % VAL_EVERY == 0 else "train"
    warm_up = int(WARM_UP_SECONDS * SAMPLE_RATE)
    mix, known = mixed(kinds[split], warm_up + SECONDS * SAMPLE_RATE, as_it_is, rng)
    shares = np.array(list(SHARES.values()))
    variant = list(SHARES)[rng.choice(len(shares), p=shares / shares.sum())]
    clean = np.ascontiguousarray(mix.T, dtype=np.float32)
    degraded = roundtrip(clean, variants()[variant], SAMPLE_RATE)
    gain = np.float32(min(1.0, LOUDEST / np.abs(degraded).max().clip(min=1e-9)))
    name = f"mix_{number:06d}_{known:.0f}.wav"
    sides = {out / split / "clean" / name: clean, out / split / "degraded" / variant / name: degraded}
    for path, wav in sides.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        audio.write(path, gain * wav[:, warm_up:], SAMPLE_RATE, subtype="PCM_16")


def missing_pieces(numbers: range, out: Path) -> list[int]:
    made = {int(path.stem.split("_")[1]) for path in out.glob("*/degraded/*/mix_*.wav")}
    return [number for number in numbers if number not in made]


def write_bitrates(out: Path) -> None:
    """pairs.yaml: the bitrate in kbit/s of each variant."""
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "pairs.yaml", yaml.safe_dump({name: spec.bitrate for name, spec in variants().items()}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--music", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=8000)
    parser.add_argument("--first", type=int, default=0, help="number of the first piece")
    parser.add_argument("--as-it-is", type=float, default=0.4, help="share of pieces that are an unchanged excerpt")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    songs = songs_in(arguments.music)
    if len(songs) < 2:
        raise UserError(f"two songs (.flac) are needed at least in {', '.join(map(str, arguments.music))}")
    kinds = {split: kinds_of(part) for split, part in split_songs(songs).items()}
    write_bitrates(arguments.out)
    numbers = missing_pieces(range(arguments.first, arguments.first + arguments.count), arguments.out)
    write = partial(write_piece, kinds=kinds, as_it_is=arguments.as_it_is, out=arguments.out)
    with Pool(arguments.workers) as pool:
        for _ in pool.imap_unordered(write, numbers):
            pass


if __name__ == "__main__":
    run(main)
