"""Render free MIDI files and tracker modules to FLAC, for the training of the released models.

    python -m scripts.released.music.render_music --unpacked FOLDER --out FOLDER [--arrangements 3] [--workers 2]

`--unpacked` holds what `fetch_packages` unpacked: MIDI files, soundfonts, tracker modules; beside them what
`vary_soundfont` and `vary_module` made. Each MIDI file is rendered as it is on two soundfonts, and `--arrangements`
times with other instruments (`arrange_midi`) on a soundfont that is drawn: from the second time on, one of the varied
ones. Needs the programs `fluidsynth` and `openmpt123`, and the package `mido`. A file that exists is kept.
"""

import argparse
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import welch

from scripts.released.music.arrange_midi import arrange
from upscale import atomic
from upscale.seeds import derive_seed

SAMPLE_RATE = 44100
EXCERPT_SECONDS = 20
EXCERPTS_PER_SONG = 3
MODULE_SUFFIXES = {".xm", ".it", ".s3m", ".mod"}
SMALLEST_MODULE = 10_000  # bytes; jingles, and other files that end in .mod
DRY = 0.5  # how often other instruments play without reverberation and chorus, as trackers do
DARKEST_DB = -70  # 16-20 kHz against 8-12 kHz; darker, and the rounding to 16 bits is all that is up there
SOUNDFONTS = {  # how often an arrangement is played on each
    "MuseScore_General_Full.sf2": 0.3,
    "FluidR3_GM.sf2": 0.25,
    "GeneralUser-v1.47.sf2": 0.2,
    "A320U.sf2": 0.1,
    "TimGM6mb.sf2": 0.08,
    "OPL-3_FM_128M.sf2": 0.07,
}


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
        if {"doc", "mma"} & set(path.parts):  # a few notes each
            continue
        yield f"{path.parent.name}_{path.stem}".replace(" ", "-"), path
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


def render_songs(unpacked: Path, out: Path, arrangements: int, workers: int) -> None:
    """Every module, and every MIDI file on two fonts as it is and in other arrangements: OUT/NAME__0.flac, ..."""
    varied = sorted(unpacked.rglob("varied_*.sf2"))
    with tempfile.TemporaryDirectory() as name, ThreadPool(workers) as pool:
        songs = list(midi_files(unpacked, Path(name)))
        fonts = [next(unpacked.rglob(name)) for name in SOUNDFONTS] if songs else []
        jobs = [partial(render_module, module, out) for module in modules(unpacked)]
        for index, (song, midi) in enumerate(songs):
            jobs.append(partial(render_midi, midi, fonts[index % 2], out, f"midi_{song}"))
            jobs.append(partial(render_midi, midi, fonts[1 - index % 2], out, f"midi_{song}_other"))
        for number in range(arrangements):
            others = varied if number else []
            for song, midi in songs:
                rng = np.random.default_rng(derive_seed("arrange", song, number))
                jobs.append(partial(render_arrangement, midi, rng, out, f"midi_{song}_arranged{number}", fonts, others))
        for _ in pool.imap_unordered(partial.__call__, jobs):
            pass


def render_arrangement(
    midi: Path, rng: np.random.Generator, out: Path, song: str, fonts: list[Path], varied: list[Path]
) -> None:
    """Other instruments on a font that is drawn: one of `varied`, sometimes dry, or if there are none, of `fonts`."""
    with tempfile.TemporaryDirectory() as scratch:
        arranged = Path(scratch) / "arranged.mid"
        try:
            arrange(midi, arranged, rng)
        except (OSError, ValueError, EOFError, KeyError) as error:
            print(f"not arranged: {song}: {error}", flush=True)
            return
        options: list[str] = []
        if varied:
            font = varied[rng.integers(len(varied))]
            if rng.random() < DRY:
                options = ["-R", "no", "-C", "no"]
        else:
            font = fonts[rng.choice(len(fonts), p=list(SOUNDFONTS.values()))]
        render_midi(arranged, font, out, song, options)


def modules(unpacked: Path) -> Iterator[Path]:
    """Tracker modules, each content once: games share theirs."""
    seen = set()
    for path in sorted(path for path in unpacked.rglob("*") if path.suffix in MODULE_SUFFIXES and path.is_file()):
        content = path.read_bytes()
        if len(content) >= SMALLEST_MODULE and content not in seen:
            seen.add(content)
            yield path


def render_midi(midi: Path, font: Path, out: Path, song: str, options: Sequence[str] = ()) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        rendered = Path(scratch) / "rendered.wav"
        command = ["fluidsynth", "-ni", "-q", "-r", str(SAMPLE_RATE), "-g", "0.4", "-T", "wav", "-O", "s16", *options]
        write_song(out, song, [*command, "-F", str(rendered), str(font), str(midi)], rendered)


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
        with atomic.replacing(out / f"{song}__{index}.flac") as temporary:
            soundfile.write(temporary, part, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    print(song, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unpacked", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--arrangements", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    render_songs(arguments.unpacked, arguments.out, arguments.arrangements, arguments.workers)


if __name__ == "__main__":
    main()
