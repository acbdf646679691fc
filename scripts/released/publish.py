"""Turn a trained model and the results of evaluate.py into a released bundle with its card.

    python -m scripts.released.publish CHECKPOINT --results DIR [DIR ...] --name NAME --out upscale/released/NAME

CHECKPOINT is a Lightning checkpoint of `train.py`, or a bundle or shipped model whose card is to be written again. Each
DIR is an output folder of `evaluate.py`. The bundle holds the weights in float16 and a `model.yaml` with the class, its
arguments, the measurements and the training runs; `card.md` is `scripts/released/cards/NAME.md` with these filled in.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import nn

from scripts.released import card
from scripts.released.provenance import training_of
from scripts.released.results import read_results
from upscale import atomic
from upscale.codec import CodecSpec, roundtrip
from upscale.corpus import demo
from upscale.entrypoint import run
from upscale.metrics import lsd, sdr, si_sdr
from upscale.restore import Restorer
from upscale.restore.bundle import load_bundle, save_bundle
from upscale.restore.restorer import find_model

COMPOSED_SEED, COMPOSED_SECONDS, COMPOSED_BITRATES = 1, 8.0, (64, 96)
METRICS = {"sdr": sdr, "si_sdr": si_sdr, "lsd": lsd}


def main() -> None:
    arguments = parser().parse_args()
    folder = publish(arguments.checkpoint, arguments.results, arguments.name, arguments.out, arguments.bitrates)
    print(f"wrote {folder}; its card is {folder / 'card.md'}")


def publish(checkpoint: str, results: list[Path], name: str, out: Path, bitrates: list[int] | None = None) -> Path:
    """Write the bundle and its card to `out`; `bitrates` (kbit/s) default to those that the checkpoint names."""
    template, path = card.template(name), find_model(checkpoint)
    model, description = load_bundle(path)
    round_to_float16(model)
    metrics = {
        "results": [read_results(folder, name) for folder in results],
        "composed": measure_composed_song(Restorer.from_module(model)),
        "context_seconds": round(int(model.context) / description.sample_rate, 2),  # type: ignore[arg-type]
        "training": training_of(path, description.metrics),
    }
    save_bundle(
        out,
        model,
        arguments=description.arguments,
        bitrates=bitrates or description.bitrates,
        metrics=metrics,
        dtype=torch.float16,
    )
    atomic.write_text(out / "card.md", card.fill(template, out / "model.yaml"))
    return out


def round_to_float16(model: nn.Module) -> None:
    """What is measured is what the bundle will hold."""
    state = model.state_dict()
    model.load_state_dict({key: value.half() if value.is_floating_point() else value for key, value in state.items()})


def measure_composed_song(restorer: Restorer) -> dict[int, dict[str, float]]:
    """What tests/restore/test_released.py finds again: the metrics on a song that this repository composes itself."""
    clean = demo.compose(seed=COMPOSED_SEED, seconds=COMPOSED_SECONDS)
    measured = {}
    for bitrate in COMPOSED_BITRATES:
        degraded = roundtrip(clean, CodecSpec(bitrate=bitrate), demo.SAMPLE_RATE)
        wavs: dict[str, Any] = {"degraded": degraded, "restored": restorer(degraded, demo.SAMPLE_RATE)}
        measured[bitrate] = {
            f"{system}_{name}": round(float(metric(clean, wav)), 3)
            for system, wav in wavs.items()
            for name, metric in METRICS.items()
        }
    return measured


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("checkpoint", help="a .ckpt of train.py, a bundle's folder or a shipped model's name")
    options.add_argument("--results", type=Path, nargs="+", required=True, help="output folders of evaluate.py")
    options.add_argument("--name", required=True, help="of the card's template in scripts/released/cards")
    options.add_argument("--out", type=Path, required=True, help="the bundle's folder")
    options.add_argument("--bitrates", type=int, nargs="+", help="kbit/s that the model is for (default: as stored)")
    return options


if __name__ == "__main__":
    run(main)
