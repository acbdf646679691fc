"""Songs a second time, faster and higher, as if their instruments were smaller: more music to train on.

    python scripts/speed_up_music.py --music FOLDER [FOLDER ...] --out FOLDER [--kinds lmms mod] [--count 2]

SONG.flac becomes OUT/SONG_faster0.flac and so on, 5 % to 26 % faster, drawn from the name. Never slower: that would
leave the top of the spectrum empty. `--kinds`: what names begin with. A file that exists is kept.
"""

import argparse
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import resample_poly

from upscale.seeds import derive_seed

SAMPLE_RATE = 44_100


def speed_up(source: Path, target: Path) -> None:
    percent = int(np.random.default_rng(derive_seed("faster", target.stem)).integers(105, 127))
    wav = resample_poly(soundfile.read(source, dtype="float32", always_2d=True)[0], 100, percent, axis=0)
    soundfile.write(target, wav * min(1, 0.999 / np.abs(wav).max()), SAMPLE_RATE, subtype="PCM_16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--music", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kinds", nargs="+", default=["lmms", "mod"])
    parser.add_argument("--count", type=int, default=2)
    arguments = parser.parse_args()
    songs = sorted(song for folder in arguments.music for kind in arguments.kinds for song in folder.glob(f"{kind}_*"))
    for song in (song for song in songs if "_faster" not in song.stem):
        for index in range(arguments.count):
            target = arguments.out / f"{song.stem}_faster{index}.flac"
            if not target.exists():
                speed_up(song, target)


if __name__ == "__main__":
    main()
