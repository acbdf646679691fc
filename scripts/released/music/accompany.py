"""Accompaniments in every style that MMA knows, as MIDI files to render: drums, bass, chords and more.

    python -m scripts.released.music.accompany --out FOLDER [--count 300]

Each piece plays two to four grooves of one style file of the Debian package `mma` through chord progressions, all drawn
from a seed. Needs the program `mma`. A file that exists is kept.
"""

import argparse
import re
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from upscale.seeds import derive_seed

PROGRESSIONS = (
    "C Am F G",
    "Dm7 G7 CM7 Am7",
    "Am F C G",
    "C7 F7 C7 G7",
    "Em C G D",
    "Am Dm E7 Am",
    "F G Em Am",
    "C Eb F Bb",
    "Dm Bb F C",
    "Bm7b5 E7 Am7 D7",
)
MEASURES_PER_GROOVE = 8


def piece(grooves: list[str], rng: np.random.Generator) -> str:
    """The source text of one piece."""
    lines = [f"Tempo {rng.integers(80, 165)}", f"Transpose {rng.integers(-5, 7)}"]
    measure = 1
    for groove in rng.choice(grooves, size=min(len(grooves), int(rng.integers(2, 5))), replace=False):
        chords = str(rng.choice(PROGRESSIONS)).split()
        lines.append(f"Groove {groove}")
        for index in range(MEASURES_PER_GROOVE):
            lines.append(f"{measure} {chords[index % len(chords)]}")
            measure += 1
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", type=Path, default=Path("/usr/share/mma/lib"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=300)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    styles = sorted(arguments.library.glob("*/*.mma"))
    with tempfile.TemporaryDirectory() as scratch:
        for index in range(arguments.count):
            style = styles[index % len(styles)]
            name = f"{style.parent.name}_{style.stem}_{index // len(styles)}"
            target = arguments.out / f"{name}.mid"
            grooves = re.findall(r"^\s*DefGroove\s+(\S+)", style.read_text(errors="replace"), re.MULTILINE)
            if target.exists() or not grooves:
                continue
            source = Path(scratch) / "piece.mma"
            source.write_text(
                f"Use {style.parent.name}/{style.stem}\n"
                + piece(grooves, np.random.default_rng(derive_seed("accompany", name)))
            )
            made = subprocess.run(["mma", source, "-f", target], capture_output=True, text=True, timeout=60)
            if made.returncode or not target.exists():
                print(f"left out {name}: {made.stdout.strip()[-200:]}", flush=True)


if __name__ == "__main__":
    main()
