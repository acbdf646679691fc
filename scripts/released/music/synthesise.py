"""Songs on synthesisers that nobody patched, rendered to FLAC, for the band envelopes of the released `perceptual`.

    python -m scripts.released.music.synthesise --out FOLDER [--first 0] [--count 3000] [--workers 2]

A network that hears the presets and samples of a few hundred songs again and again knows them by heart, and is wrong
where a sound is new. Here no two songs share a sound: `upscale.corpus.score` writes the notes, and each part plays them
on a patch that is drawn (`synth_patches`). Some parts get an echo, a gate or distortion; some stay out, and most songs
are dry: electronic music is sparse, with nothing between its harmonics. Everything is drawn from the song's number. A
file that exists is kept.
"""

import argparse
from functools import partial
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import soundfile
from numpy.random import Generator

from scripts.released.music.augment_music import room
from scripts.released.music.synth_patches import log_uniform, patch, percussion
from upscale import atomic
from upscale.corpus import score, synth
from upscale.corpus.demo import add, echo, pan
from upscale.corpus.score import Hit, Note
from upscale.corpus.synth import SAMPLE_RATE, Wave
from upscale.seeds import derive_seed

SECONDS = 20
DRIVEN, GATED, ECHOED, DRY, MONO = 0.25, 0.2, 0.35, 0.6, 0.3  # how often
PART_SHARES = {"drums": 0.8, "bass": 0.7, "pluck": 0.6, "pad": 0.5, "lead": 0.7}  # how often a part plays


def play_part(notes: list[Note], num_samples: int, rng: Generator) -> np.ndarray:
    voice, track, width = patch(rng), np.zeros((2, num_samples), np.float32), rng.uniform(0, 0.9)
    octave = int(rng.choice([-1, 0, 0, 1]))
    for note in notes:
        wave = voice(synth.midi_to_hz(note.pitch + 12 * octave), note.seconds, rng)
        add(track, wave * note.velocity, int(note.start * SAMPLE_RATE), *pan(rng.uniform(-width, width)))
    return track


def play_drums(hits: list[Hit], num_samples: int, rng: Generator) -> np.ndarray:
    track = np.zeros((2, num_samples), np.float32)
    sounds = {drum: (percussion(drum, rng), pan(rng.uniform(-0.5, 0.5))) for drum in sorted({hit.drum for hit in hits})}
    for hit in hits:
        sound, gains = sounds[hit.drum]
        add(track, sound * hit.velocity, int(hit.start * SAMPLE_RATE), *gains)
    return track


def affected(track: np.ndarray, beat_seconds: float, rng: Generator) -> np.ndarray:
    track = track / (np.sqrt(np.mean(track**2)) + 1e-9)
    if rng.random() < DRIVEN:
        track = np.tanh(log_uniform(rng, 0.2, 3) * track)
    if rng.random() < GATED:
        track = track * gate(track.shape[1], beat_seconds / rng.choice([1, 2, 4]), rng)
    if rng.random() < ECHOED:
        delay, gain = int(rng.choice([0.5, 0.75, 1]) * beat_seconds * SAMPLE_RATE), rng.uniform(0.1, 0.5)
        echo(track, delay, gain)
    return track


def gate(num_samples: int, step_seconds: float, rng: Generator) -> Wave:
    """On or off from step to step, in a pattern of sixteen, with edges of 3 ms."""
    step, edge = int(step_seconds * SAMPLE_RATE), int(0.003 * SAMPLE_RATE)
    pattern = rng.random(16) < rng.uniform(0.4, 0.9)
    steps = np.resize(pattern, num_samples // step + 1).repeat(step)[:num_samples].astype(np.float32)
    return np.convolve(steps, np.full(edge, 1 / edge, np.float32), mode="same").astype(np.float32)


def song(number: int) -> np.ndarray:
    """float32 [2, T], within full scale."""
    rng = np.random.default_rng(derive_seed("synthesise", number))
    num_samples = SECONDS * SAMPLE_RATE
    written = score.write(rng, SECONDS)
    parts = {**written.notes, "drums": written.hits}
    playing = [part for part, share in PART_SHARES.items() if parts[part] and rng.random() < share]
    wav: np.ndarray = np.zeros((2, num_samples), np.float32)
    for part in playing or ["lead" if parts["lead"] else "pluck"]:
        if part == "drums":
            track = play_drums(written.hits, num_samples, rng)
        else:
            track = play_part(written.notes[part], num_samples, rng)
        wav += 10 ** (-rng.uniform(0, 15) / 20) * affected(track, written.beat_seconds, rng)
    if rng.random() > DRY:
        wav = wav + rng.uniform(0.02, 0.5) * room(wav.T, log_uniform(rng, 0.15, 2), rng).T
    if rng.random() < MONO:
        wav = wav.mean(axis=0, keepdims=True).repeat(2, axis=0)
    wav = wav / (np.abs(wav).max() + 1e-9)
    if rng.random() < DRIVEN:
        drive = log_uniform(rng, 1, 4)
        wav = np.tanh(drive * wav) / np.tanh(drive)
    return np.asarray(wav * rng.uniform(0.3, 0.98), np.float32)


def write_song(number: int, out: Path) -> None:
    path = out / f"synth_{number:05d}.flac"
    if not path.exists():
        with atomic.replacing(path) as temporary:
            soundfile.write(temporary, song(number).T, SAMPLE_RATE, subtype="PCM_16", format="FLAC")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--first", type=int, default=0, help="number of the first song")
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    numbers = range(arguments.first, arguments.first + arguments.count)
    with Pool(arguments.workers) as pool:
        for _ in pool.imap_unordered(partial(write_song, out=arguments.out), numbers):
            pass


if __name__ == "__main__":
    main()
