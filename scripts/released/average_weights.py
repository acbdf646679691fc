"""The weighted mean of two checkpoints of `scripts/released/train_released.py`, the second trained on from the first.

    python -m scripts.released.average_weights before.pt after.pt --share 0.75 --out mean.pt
    python -m scripts.released.average_weights before.pt bands.pt --share 0.75 --rest perceptual.pt --out levels.pt

Wortsman et al. (2022): between the weights before and after training on a narrower choice of music lie some that are
nearly as good on that and keep more of what they knew. `--share` is that of the second. With `--rest` only what the
stage `bands` trains is the mean of the two, and all else in the level network is that checkpoint's: where a network
that was trained to its end goes on learning bands. Each may then be of any stage from `bands` on, or a bundle's
`weights.safetensors`.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from scripts.released.train_released import BANDS, level_weights_of, save

Weights = dict[str, Tensor]


def mean(before: Weights, after: Weights, share: float) -> Weights:
    assert before.keys() == after.keys(), "two checkpoints of one stage"
    return {name: value.lerp(after[name], share) for name, value in before.items()}


def with_bands(rest: Weights, before: Weights, after: Weights, share: float) -> Weights:
    """Those of a level network, with the mean of two others' bands."""
    averaged = mean(before, after, share)
    return {name: averaged[name] if name.startswith(BANDS) else value for name, value in rest.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--share", type=float, default=0.75)
    parser.add_argument("--rest", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.rest:
        rest, before, after = (level_weights_of(path) for path in (arguments.rest, arguments.before, arguments.after))
        save({"ema": with_bands(rest, before, after, arguments.share)}, arguments.out)
        return
    first, second = (torch.load(path, weights_only=True) for path in (arguments.before, arguments.after))
    save({"ema": mean(first["ema"], second["ema"], arguments.share), "step": second["step"]}, arguments.out)


if __name__ == "__main__":
    main()
