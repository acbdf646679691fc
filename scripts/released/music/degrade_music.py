"""Encode whole songs with LAME and keep clean and degraded samples side by side, for `train_released.py`.

    python -m scripts.released.music.degrade_music --music FOLDER --out FOLDER [--all] [--follow]

OUT/SONG@clean.npy holds int16 [T, 2]; OUT/SONG@VARIANT.npy the same samples after MP3 at half scale (an MP3 may
overshoot full scale). Whole songs are encoded, so that clips come from the middle of an encode, as users have them.
Every song is encoded at 64 and 96 kbit/s, for which there is most to learn, and in four variants drawn from its name
(`--all`: every constant bitrate); one song in ten is made mono first.
`--follow` waits for more songs until the folder holds a file named DONE. Needs `ffmpeg` with libmp3lame.
"""

import argparse
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from upscale import atomic, codec
from upscale.seeds import derive_seed

SAMPLE_RATE = 44100
CLEAN_SCALE, DEGRADED_SCALE = 32768, 16384  # of full scale, in int16
TAIL = 4096  # samples of silence appended before encoding: at some lengths FFmpeg's decoder drops the last few
BITRATES = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 256, 320)
ALWAYS = (64, 96)
OTHERS = {  # what else people's files were made with: variable and average bitrates, other qualities, no joint stereo
    "v2": ["-q:a", "2"],
    "v5": ["-q:a", "5"],
    "abr112": ["-b:a", "112k", "-abr", "1"],
    "l48": ["-b:a", "48k", "-compression_level", "3"],
    "l64": ["-b:a", "64k", "-compression_level", "2"],
    "l96": ["-b:a", "96k", "-compression_level", "7"],
    "l128": ["-b:a", "128k", "-compression_level", "2"],
    "s128": ["-b:a", "128k", "-joint_stereo", "0"],
}
VARIANTS = sorted([*map(str, BITRATES), *OTHERS])


def roundtrip(wav: np.ndarray, variant: str) -> np.ndarray:
    """Clean [T, 2] to degraded [T, 2], same length, lag 0 (the LAME tag in a real file makes FFmpeg trim both ends)."""
    if variant.isdigit():
        return codec.roundtrip(wav.T, codec.CodecSpec(bitrate=int(variant)), SAMPLE_RATE).T
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        clean, coded = f"{folder}/clean.wav", f"{folder}/coded.mp3"
        padded = np.concatenate([wav, np.zeros((TAIL, 2), dtype=wav.dtype)])
        soundfile.write(clean, padded, SAMPLE_RATE, subtype="PCM_16")
        ffmpeg = ["ffmpeg", "-v", "error", "-threads", "1"]
        subprocess.run([*ffmpeg, "-i", clean, "-c:a", "libmp3lame", *OTHERS[variant], coded], check=True)
        decode = [*ffmpeg, "-i", coded, "-f", "f32le", "-ac", "2", "-"]
        decoded = subprocess.run(decode, check=True, stdout=subprocess.PIPE).stdout
    degraded = np.frombuffer(decoded, np.float32).reshape(-1, 2)
    if not len(wav) <= len(degraded) <= len(padded):  # FFmpeg did not trim: then it lags, too
        raise ValueError(f"{len(degraded)} samples came back from {len(padded)}")
    return degraded[: len(wav)]


def store(path: Path, wav: np.ndarray, scale: float) -> None:
    write_array(path, np.round(wav * scale).clip(-32768, 32767).astype(np.int16))


def write_array(path: Path, array: np.ndarray) -> None:
    with atomic.replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, array)


def degrade_song(song: Path, out: Path, every_bitrate: bool) -> None:
    rng = np.random.default_rng(derive_seed("degrade", song.stem))
    drawn: Any = [] if every_bitrate else rng.choice(VARIANTS, size=4, replace=False)
    variants = sorted({*map(str, BITRATES if every_bitrate else ALWAYS), *map(str, drawn)})
    missing = [variant for variant in variants if not (out / f"{song.stem}@{variant}.npy").exists()]
    if not missing:
        return
    wav, sample_rate = soundfile.read(song, dtype="float32", always_2d=True)
    assert sample_rate == SAMPLE_RATE, (song, sample_rate)
    wav = np.repeat(wav, 2, axis=1) if wav.shape[1] == 1 else wav
    if not every_bitrate and rng.random() < 0.1:
        wav = np.repeat(wav.mean(axis=1, keepdims=True), 2, axis=1)
    store(out / f"{song.stem}@clean.npy", wav, CLEAN_SCALE)
    for variant in missing:
        try:
            store(out / f"{song.stem}@{variant}.npy", roundtrip(wav, variant), DEGRADED_SCALE)
        except ValueError as error:
            print(f"left out {song.stem} at {variant}: {error}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--music", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--follow", action="store_true")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    done: set[Path] = set()
    while True:
        last_round = not arguments.follow or (arguments.music / "DONE").exists()
        for song in sorted(set(arguments.music.glob("*.flac")) - done):
            degrade_song(song, arguments.out, every_bitrate=arguments.all)
            done.add(song)
        if last_round:
            return
        time.sleep(10)


if __name__ == "__main__":
    main()
