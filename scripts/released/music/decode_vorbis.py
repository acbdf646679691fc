"""Music that games ship as Ogg Vorbis alone, decoded to FLAC, for the band envelopes of the released `perceptual`.

    python -m scripts.released.music.decode_vorbis --unpacked FOLDER --out FOLDER [--workers 2]

`--unpacked` has a folder for each Debian package (`fetch_packages`). Lossy music is no target for single bins. Up to
its own low-pass it has each band as loud as it was: at quality 5 the log10 power of a band and frame is within 0.19 of
the original's, where the network is wrong by 0.41 in songs that it does not know. OUT/ogg_PACKAGE__SONG.flac, 44.1 kHz
stereo, says in its comment up to where it can be believed; `augment_music` puts that into the names of its pieces. The
longest songs of each package are taken, five minutes from the middle of each. A file that exists is kept.
"""

import argparse
import re
from collections.abc import Iterator
from functools import partial
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from mutagen import MutagenError
from mutagen.oggvorbis import OggVorbis
from scipy.signal import resample_poly

from upscale import atomic
from upscale.audio.cutoff import CutoffMeter

SAMPLE_RATE = 44_100
SHORTEST_SECONDS, LONGEST_SECONDS, MOST_SONGS = 30, 300, 40
# libvorbis: nominal kbit/s of a stereo stream, and above which frequency it codes nothing (its psych_44.h).
LOW_PASS_HZ = {96: 16_500, 112: 17_200, 128: 18_900, 160: 20_100, 192: 22_050}
MARGIN_HZ, MEASURED_MARGIN_HZ = 500, 600  # below a low-pass, where it begins to fall; below one that is only measured
LOWEST_KNOWN_HZ = 14_000  # what ends below says too little of what MP3 takes away
KNOWN = re.compile(r"known up to (\d+) Hz")


def known_hz(song: Path) -> float:
    """Up to where this FLAC is what the music was: half the sample rate, or what this script wrote into it."""
    with soundfile.SoundFile(song) as file:
        found = KNOWN.search(file.comment)
        return float(found[1]) if found else file.samplerate / 2


def highest_known_hz(path: Path) -> float | None:
    """By the encoder's nominal bitrate, and by what is heard of one before it; None if it coded too coarsely."""
    info: Any = OggVorbis(path).info
    kbps = info.bitrate / info.channels * 2 / 1000
    rates = [rate for rate in LOW_PASS_HZ if rate <= kbps + 4]
    if not rates or info.sample_rate < SAMPLE_RATE:
        return None
    meter = CutoffMeter(info.sample_rate)
    for block in soundfile.blocks(path, blocksize=1 << 20, dtype="float32", always_2d=True):
        meter.add(block.T)
    cutoff = meter.cutoff_hz() or SAMPLE_RATE
    return min(LOW_PASS_HZ[max(rates)] - MARGIN_HZ, cutoff - MEASURED_MARGIN_HZ)


def songs_in(unpacked: Path) -> Iterator[tuple[str, Path]]:
    """What to call a song, and its file."""
    for package in sorted(path for path in unpacked.iterdir() if path.is_dir()):
        found: dict[tuple[float, str], Path] = {}  # the same song often lies in several folders
        for path in sorted(package.rglob("*.ogg")):
            try:
                info: Any = OggVorbis(path).info
            except MutagenError:  # Opus, Theora, a link to another package
                continue
            if info.length >= SHORTEST_SECONDS:
                found.setdefault((info.length, path.stem), path)
        songs = [found[song] for song in sorted(found, reverse=True)[:MOST_SONGS]]
        stems = [path.stem for path in songs]
        for path in songs:
            name = path.stem if stems.count(path.stem) == 1 else f"{path.parent.name}_{path.stem}"
            yield f"ogg_{package.name}__{re.sub(r'[^0-9A-Za-z]+', '_', name).strip('_')}", path


def decode(song: tuple[str, Path], out: Path) -> None:
    name, path = song
    target = out / f"{name}.flac"
    known = None if target.exists() else highest_known_hz(path)
    if known is None or known < LOWEST_KNOWN_HZ:
        return
    info = soundfile.info(path)
    frames = min(info.frames, LONGEST_SECONDS * info.samplerate)
    wav = soundfile.read(path, start=(info.frames - frames) // 2, frames=frames, dtype="float32", always_2d=True)[0]
    wav = np.repeat(wav, 2, axis=1) if wav.shape[1] == 1 else wav[:, :2]
    if info.samplerate != SAMPLE_RATE:
        wav = resample_poly(wav, SAMPLE_RATE, info.samplerate, axis=0)
    wav = wav / max(1.0, float(np.abs(wav).max()))
    with (
        atomic.replacing(target) as temporary,
        soundfile.SoundFile(temporary, "w", SAMPLE_RATE, 2, format="FLAC", subtype="PCM_16") as file,
    ):
        file.comment = f"known up to {known:.0f} Hz"
        file.write(wav)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unpacked", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with Pool(arguments.workers) as pool:
        for _ in pool.imap_unordered(partial(decode, out=arguments.out), songs_in(arguments.unpacked)):
            pass


if __name__ == "__main__":
    main()
