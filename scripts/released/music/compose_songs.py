"""Songs that the program composes itself, as FLAC: enough to see that the pipeline runs, where there is no music.

python -m scripts.released.music.compose_songs --out FOLDER --count 6 --seconds 30 [--first 0]
"""

import argparse
from pathlib import Path

from upscale import audio
from upscale.corpus import demo
from upscale.seeds import derive_seed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--first", type=int, default=0, help="number of the first song")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for number in range(arguments.first, arguments.first + arguments.count):
        path = arguments.out / f"composed_{number:03d}.flac"
        if not path.exists():
            wav = demo.compose(derive_seed("pipeline", number), arguments.seconds)
            audio.write(path, wav, demo.SAMPLE_RATE, subtype="PCM_16")


if __name__ == "__main__":
    main()
