"""Measure a trained checkpoint against doing nothing and write it as a released bundle with its card.

    python -m scripts.released.release fidelity --checkpoint FILE --music FOLDER --minutes 60 --machine "..." --songs 90

`--music` holds the held-out songs (FLAC). Each is encoded whole at every bitrate; its middle `--seconds` are restored
and compared. The table tells the model no bitrate unless `--known`. Written to upscale/released/NAME.
"""

import argparse
import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from scripts.released.make_card import write_card
from scripts.released.train_released import CHOSEN, NUM_MATCHES
from upscale.codec import CodecSpec, roundtrip
from upscale.corpus import demo
from upscale.metrics import lsd, sdr, si_sdr, visqol
from upscale.models import SpectralCascade, SpectralFill
from upscale.restore import Restorer
from upscale.restore.bundle import save_bundle

RELEASED = Path(__file__).parents[2] / "upscale" / "released"
BITRATES = (32, 48, 64, 96, 128, 160, 192, 256, 320)
VISQOL_BITRATES = (64, 96)
VISQOL_SECONDS = 8.0  # of each song: it takes as long as it listens
COMPOSED_SEED, COMPOSED_SECONDS = 1, 8.0
CLASSES = {"fidelity": SpectralCascade, "perceptual": SpectralFill}
ARGUMENTS = {"fidelity": CHOSEN | {"num_matches": NUM_MATCHES}}
ARGUMENTS["perceptual"] = ARGUMENTS["fidelity"] | {"repeat_levels": True}
SAMPLE_RATE = 44_100


@dataclass(frozen=True)
class Case:
    """One song at one bitrate: clean, degraded and restored, [2, T]."""

    song: str
    bitrate: int
    clean: np.ndarray
    degraded: np.ndarray
    restored: np.ndarray

    def levelled(self) -> np.ndarray:
        """The degraded wav times the factor that brings it nearest to clean: what an honest SDR is held against."""
        return self.degraded * float((self.clean * self.degraded).sum() / (self.degraded**2).sum())

    def numbers(self, with_visqol: bool) -> dict[str, float]:
        systems = {"degraded": self.degraded, "levelled": self.levelled(), "restored": self.restored}
        metrics: dict[str, Any] = {"sdr": sdr, "si_sdr": si_sdr, "lsd": lsd}
        if with_visqol and self.bitrate in VISQOL_BITRATES:
            part = slice(int(VISQOL_SECONDS * SAMPLE_RATE))
            metrics["visqol"] = lambda clean, wav: visqol(clean[:, part], wav[:, part], SAMPLE_RATE)
        return {
            f"{system}_{name}": float(metric(self.clean, wav))
            for system, wav in systems.items()
            for name, metric in metrics.items()
            if (system, name) not in {("levelled", "lsd"), ("levelled", "visqol"), ("levelled", "si_sdr")}
        }


def cases(restorer: Restorer, music: Path, seconds: float, known: bool) -> list[Case]:
    found = []
    for path in sorted(music.glob("*.flac")):
        clean = soundfile.read(path, dtype="float32", always_2d=True)[0].T
        length = int(seconds * SAMPLE_RATE)
        start = max(0, clean.shape[1] - length) // 2
        for bitrate in BITRATES:
            degraded = roundtrip(clean, CodecSpec(bitrate=bitrate), SAMPLE_RATE)[:, start : start + length]
            restored = restorer(degraded, SAMPLE_RATE, bitrate=bitrate if known else None)
            found.append(Case(path.stem, bitrate, clean[:, start : start + length], degraded, restored))
    return found


def table(found: list[Case], with_visqol: bool) -> tuple[dict[int, dict[str, float]], dict[str, dict[int, float]]]:
    """Means per bitrate, and per song the improvement of SI-SDR in dB at each bitrate."""
    numbers = {(case.song, case.bitrate): case.numbers(with_visqol) for case in found}
    songs = sorted({song for song, _ in numbers})
    means, gains = {}, {song: {} for song in songs}
    for bitrate in BITRATES:
        rows = [numbers[song, bitrate] for song in songs]
        means[bitrate] = {name: round(float(np.mean([row[name] for row in rows])), 3) for name in rows[0]}
        for song, row in zip(songs, rows, strict=True):
            gains[song][bitrate] = round(row["restored_si_sdr"] - row["degraded_si_sdr"], 3)
    return means, gains


def composed_numbers(restorer: Restorer) -> dict[int, dict[str, float]]:
    """What tests/test_released.py finds again: the metrics on a song that this repository composes itself."""
    clean = demo.compose(seed=COMPOSED_SEED, seconds=COMPOSED_SECONDS)
    found = {}
    for bitrate in VISQOL_BITRATES:
        degraded = roundtrip(clean, CodecSpec(bitrate=bitrate), SAMPLE_RATE)
        case = Case("composed", bitrate, clean, degraded, restorer(degraded, SAMPLE_RATE))
        found[bitrate] = {name: round(value, 3) for name, value in case.numbers(with_visqol=False).items()}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(CLASSES))
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--music", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--known", action="store_true")
    parser.add_argument("--visqol", action="store_true")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--machine", required=True)
    parser.add_argument("--songs", type=int, required=True, help="songs trained on")
    parser.add_argument("--command", required=True, help="the command that trained it, for the card")
    parser.add_argument("--out", type=Path, help="the bundle's folder, instead of upscale/released/NAME")
    parser.add_argument("--note", default="", help="a sentence on how this training differed from the command")
    arguments = parser.parse_args()

    chosen = ARGUMENTS[arguments.name]
    model = CLASSES[arguments.name](**chosen)
    state = torch.load(arguments.checkpoint, weights_only=True)
    model.load_state_dict({name: tensor.half() for name, tensor in state["ema"].items()})
    model.eval()
    found = cases(Restorer.from_module(model), arguments.music, arguments.seconds, arguments.known)
    means, gains = table(found, arguments.visqol)
    composed = composed_numbers(Restorer.from_module(model))
    training = {
        "minutes": arguments.minutes,
        "machine": arguments.machine,
        "songs": arguments.songs,
        "steps": int(state["step"]),
        "command": arguments.command,
        "note": arguments.note,
    }
    folder = save_bundle(
        arguments.out or RELEASED / arguments.name,
        model,
        arguments={name: given.default for name, given in inspect.signature(type(model)).parameters.items()} | chosen,
        bitrates=BITRATES,
        dtype=torch.float16,
        metrics={
            "held_out": means,
            "si_sdr_improvement": gains,
            "composed": composed,
            "told_the_bitrate": arguments.known,
            "seconds_per_song": arguments.seconds,
            "context_seconds": round(int(model.context) / SAMPLE_RATE, 2),
            "training": training,
        },
    )
    write_card(folder)
    print((folder / "card.md").read_text())


if __name__ == "__main__":
    main()
