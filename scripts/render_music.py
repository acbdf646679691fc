"""Render free MIDI files and tracker modules to FLAC, and mix them, for the training of the released models.

    python scripts/render_music.py --unpacked FOLDER --out FOLDER [--music FOLDER] [--mixes 150] [--arrangements 3]

`--unpacked` holds Debian packages taken apart with `dpkg -x`: openttd-openmsx and freedoom (MIDI), fluid-soundfont-gm
and musescore-general-soundfont-lossless (soundfonts; the plain musescore package is Ogg inside, so not that one),
pekka-kana-2-data, rafkill-data, biniax2-data, heroes-sound-tracks, ceferino-data, tecnoballz-data (modules). `--music`
is a folder of further lossless FLAC files to mix. `--arrangements`: how often each MIDI file is rendered with other
instruments (`scripts/arrange_midi.py`). Needs the programs `fluidsynth` and `openmpt123`, and the package `mido`. A
file that exists is kept.
"""

import argparse
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
from arrange_midi import arrange
from scipy.signal import fftconvolve, lfilter, welch

from upscale.seeds import derive_seed

SAMPLE_RATE = 44100
EXCERPT_SECONDS = 20
EXCERPTS_PER_SONG = 2
MODULE_SUFFIXES = {".xm", ".it", ".s3m", ".mod"}
DARKEST_DB = -20  # 16-20 kHz against 8-12 kHz; many .mod files roll off before that
SOUNDFONTS = ("FluidR3_GM.sf2", "MuseScore_General_Full.sf2")


def lumps(wad: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of every entry of a Doom WAD archive (little-endian directory at the end)."""
    content = wad.read_bytes()
    _, count, directory = struct.unpack_from("<4sii", content, 0)
    for index in range(count):
        start, size, name = struct.unpack_from("<ii8s", content, directory + 16 * index)
        yield name.rstrip(b"\0").decode("ascii", "replace").lower(), content[start : start + size]


def midi_files(unpacked: Path, scratch: Path) -> Iterator[tuple[str, Path]]:
    """Song name and path of every MIDI file; those inside WAD archives are written to `scratch` first."""
    for path in sorted(unpacked.rglob("*.mid")):
        yield f"openmsx_{path.stem}", path
    for wad in sorted(unpacked.rglob("*.wad")):
        for name, content in lumps(wad):
            if name.startswith("d_") and content[:4] == b"MThd":
                path = scratch / f"{wad.stem}_{name}.mid"
                path.write_bytes(content)
                yield f"{wad.stem}_{name}", path


def render(command: list[str], rendered: Path) -> np.ndarray:
    """Run a renderer that writes the file `rendered` and read it: float32 [T, 2]."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=600)
    wav, sample_rate = soundfile.read(rendered, dtype="float32", always_2d=True)
    rendered.unlink()
    assert sample_rate == SAMPLE_RATE, (rendered, sample_rate)
    return wav if wav.shape[1] == 2 else np.repeat(wav, 2, axis=1)


def excerpts(wav: np.ndarray) -> list[np.ndarray]:
    """Parts of a song [T, 2] spread over its length, peak at -1 dBFS; silent parts are left out."""
    length = EXCERPT_SECONDS * SAMPLE_RATE
    starts = np.linspace(0.15, 0.7, EXCERPTS_PER_SONG) * len(wav)
    parts = [wav[int(start) : int(start) + length] for start in starts]
    loud = [part for part in parts if len(part) >= length // 2 and np.sqrt(np.mean(part**2)) > 1e-3]
    loud = [part for part in loud if brightness_db(part) > DARKEST_DB]
    return [part * (0.891 / np.abs(part).max()) for part in loud]


def brightness_db(wav: np.ndarray) -> float:
    """Mean power of [T, 2] per Hz at 16-20 kHz relative to 8-12 kHz."""
    frequencies, power = welch(wav, SAMPLE_RATE, nperseg=2048, axis=0)
    high, low = (power[(frequencies > f) & (frequencies < f + 4000)].mean() for f in (16_000, 8_000))
    return float(10 * np.log10((high + 1e-20) / (low + 1e-20)))


def render_songs(unpacked: Path, out: Path, arrangements: int) -> None:
    """Every module, and every MIDI file as it is and in other arrangements: OUT/NAME__0.flac, ..."""
    for module in sorted(path for path in unpacked.rglob("*") if path.suffix in MODULE_SUFFIXES):
        render_module(module, out)
    fonts = [next(unpacked.rglob(name)) for name in SOUNDFONTS]
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        songs = list(midi_files(unpacked, scratch))
        for index, (song, midi) in enumerate(songs):
            render_midi(midi, fonts[index % len(fonts)], out, f"midi_{song}")
        for number in range(arrangements):
            for index, (song, midi) in enumerate(songs):
                arranged = scratch / "arranged.mid"
                try:
                    arrange(midi, arranged, np.random.default_rng(derive_seed("arrange", song, number)))
                except (OSError, ValueError, EOFError, KeyError) as error:
                    print(f"not arranged: {song}: {error}", flush=True)
                    continue
                render_midi(arranged, fonts[(index + number + 1) % len(fonts)], out, f"midi_{song}_arranged{number}")


def render_midi(midi: Path, font: Path, out: Path, song: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        rendered = Path(scratch) / "rendered.wav"
        options = ["-ni", "-q", "-r", str(SAMPLE_RATE), "-g", "0.4", "-T", "wav", "-O", "s16"]
        write_song(out, song, ["fluidsynth", *options, "-F", str(rendered), str(font), str(midi)], rendered)


def render_module(module: Path, out: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        copied = Path(shutil.copy(module, scratch))  # what is rendered lies beside the module
        options = ["--quiet", "--samplerate", str(SAMPLE_RATE), "--channels", "2", "--no-float", "--end-time", "150"]
        rendered = copied.with_name(f"{copied.name}.wav")
        write_song(
            out, f"mod_{module.parts[-3]}_{module.stem}", ["openmpt123", *options, "--render", str(copied)], rendered
        )


def write_song(out: Path, song: str, command: list[str], rendered: Path) -> None:
    if list(out.glob(f"{song}__*.flac")):
        return
    try:
        wav = render(command, rendered)
    except (subprocess.SubprocessError, soundfile.LibsndfileError) as error:
        print(f"left out {song}: {error}", flush=True)
        return
    for index, part in enumerate(excerpts(wav)):
        soundfile.write(out / f"{song}__{index}.flac", part, SAMPLE_RATE, subtype="PCM_16")
    print(song, flush=True)


def shape(wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What a studio does to a track [T, 2], drawn at random: tilt, width, room, all seeded."""
    pole = rng.uniform(-0.3, 0.6)  # one-pole tilt: below zero brightens, above darkens
    wav = lfilter([1 - abs(pole)], [1, -pole], wav, axis=0)
    mid, side = (wav[:, 0] + wav[:, 1]) / 2, (wav[:, 0] - wav[:, 1]) / 2
    side = side * rng.uniform(0.2, 1.6)
    pan = rng.uniform(-0.3, 0.3)
    wav = np.stack([(mid + side) * (1 + pan), (mid - side) * (1 - pan)], axis=1)
    if rng.random() < 0.6:
        wav = wav + rng.uniform(0.05, 0.4) * room(wav, rng)
    return wav / (np.sqrt(np.mean(wav**2)) + 1e-9)


def room(wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Decorrelated reverberation: exponentially decaying noise of 0.2 s to 1.5 s, one per channel."""
    decay_seconds = rng.uniform(0.2, 1.5)
    time = np.arange(int(decay_seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tail = rng.standard_normal((len(time), 2)) * np.exp(-6.9 * time / decay_seconds)[:, None]
    tail = lfilter([0.4], [1, -0.6], tail / np.sqrt((tail**2).sum(axis=0)), axis=0)
    return fftconvolve(wav, tail, axes=0)[: len(wav)]


def mix_songs(sources: list[Path], out: Path, count: int) -> None:
    """`count` files of one to three shaped songs on top of each other, some driven into a soft limiter."""
    for index in range(count):
        target = out / f"mix_{index:04d}.flac"
        if target.exists():
            continue
        rng = np.random.default_rng(derive_seed("mix", index))
        chosen = rng.choice(len(sources), size=rng.integers(1, 4), replace=False)
        length = 16 * SAMPLE_RATE
        wav = np.zeros((length, 2))
        for source in chosen:
            part = soundfile.read(sources[source], dtype="float32", always_2d=True)[0]
            start = rng.integers(0, max(1, len(part) - length))
            part = np.resize(part[start:], (length, 2)) if len(part) - start < length else part[start : start + length]
            wav += shape(part, rng) * 10 ** (-rng.uniform(0, 9) / 20)
        wav /= np.abs(wav).max()
        if rng.random() < 0.4:  # loudness war
            drive = rng.uniform(1.5, 4)
            wav = np.tanh(drive * wav) / np.tanh(drive)
        wav *= 10 ** (-rng.uniform(0.1, 8) / 20)
        soundfile.write(target, wav, SAMPLE_RATE, subtype="PCM_16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unpacked", type=Path, required=True)
    parser.add_argument("--music", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--mixes", type=int, default=150)
    parser.add_argument("--arrangements", type=int, default=3)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    render_songs(arguments.unpacked, arguments.out, arguments.arrangements)
    sources = sorted(arguments.out.glob("m[io]d*.flac"))
    sources += sorted(arguments.music.glob("*.flac")) if arguments.music else []
    mix_songs(sources, arguments.out, arguments.mixes)


if __name__ == "__main__":
    main()
