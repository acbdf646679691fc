"""How much music must the encoder hear before a clip? python -m scripts.benchmark margin [--music DIR]

A second of music is cut from an encoding that began `margin` earlier and, as the reference, from one that began four
seconds earlier, on the same grid of MP3 frames. `error` is how much more the codec got wrong than in the reference (dB,
mean over the songs), in the first tenth of the second and in the whole; `apart` is the power of the difference between
the two, against the reference's own error.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from upscale import audio
from upscale.codec import CodecSpec, roundtrip
from upscale.corpus.demo import compose
from upscale.datamodule.batches import SAMPLE_RATE
from upscale.datamodule.clips import MARGIN_AFTER

FRAME = 1_152
BEFORE = 4 * SAMPLE_RATE // FRAME * FRAME
TENTH = SAMPLE_RATE // 10
FRAMES = (0, 4, 8, 12, 16, 20, 24, 32)


def main(argv: list[str]) -> None:
    """Measure, print a table, and write the same figures as JSON where asked."""
    parser = argparse.ArgumentParser(prog="python -m scripts.benchmark margin", description=__doc__)
    parser.add_argument("--music", type=Path, help="a folder of lossless songs (default: songs of the composer)")
    parser.add_argument("--songs", type=int, default=12, help="(default 12)")
    parser.add_argument("--bitrate", type=int, default=128, help="kbit/s (default 128)")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    arguments = parser.parse_args(argv)
    length = BEFORE + SAMPLE_RATE + MARGIN_AFTER
    if arguments.music:
        paths = sorted(path for path in arguments.music.rglob("*") if path.suffix in (".wav", ".flac"))
        chosen = paths[:: max(1, len(paths) // arguments.songs)][: arguments.songs]
        songs = [audio.to_channels(audio.read(path, 0, length)[0], 2) for path in chosen]
    else:
        songs = [compose(seed, length / SAMPLE_RATE)[:, :length] for seed in range(arguments.songs)]
    rows = [
        measure([audio.to_channels(song, channels) for song in songs], frames, arguments.bitrate)
        for channels in (1, 2)
        for frames in FRAMES
    ]
    _print(rows, arguments.bitrate)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


def measure(songs: list[np.ndarray], frames: int, bitrate: int) -> dict[str, Any]:
    """One row; figures in dB, means over `songs`."""
    errors, firsts, aparts = [], [], []
    first = BEFORE - frames * FRAME
    for song in songs:
        clean = song[:, BEFORE : BEFORE + SAMPLE_RATE]
        reference = roundtrip(song, CodecSpec(bitrate=bitrate))[:, BEFORE : BEFORE + SAMPLE_RATE]
        degraded = roundtrip(song[:, first:], CodecSpec(bitrate=bitrate))[:, frames * FRAME :][:, :SAMPLE_RATE]
        errors.append(_db(degraded - clean, reference - clean))
        firsts.append(_db((degraded - clean)[:, :TENTH], (reference - clean)[:, :TENTH]))
        aparts.append(_db(degraded - reference, reference - clean))
    row = {"channels": songs[0].shape[0], "margin_seconds": frames * FRAME / SAMPLE_RATE}
    return row | {name: float(np.mean(v)) for name, v in (("first", firsts), ("error", errors), ("apart", aparts))}


def _db(signal: np.ndarray, other: np.ndarray) -> float:
    power, base = (float(np.sum(np.square(wav, dtype=np.float64))) + 1e-12 for wav in (signal, other))
    return 10 * float(np.log10(power / base))


def _print(rows: list[dict[str, Any]], bitrate: int) -> None:
    table = Table(title=f"MP3 {bitrate} kbit/s, dB", caption="against an encoding that began 4 s before the clip")
    for heading in ("", "margin", "error, first 0.1 s", "error, whole second", "apart"):
        table.add_column(heading, justify="right")
    for row in rows:
        values = [f"{row[name]:+.2f}" for name in ("first", "error", "apart")]
        table.add_row("mono" if row["channels"] == 1 else "stereo", f"{row['margin_seconds']:.2f} s", *values)
    Console(width=120).print(table)
