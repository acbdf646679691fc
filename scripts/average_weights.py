"""The weighted mean of two checkpoints of `scripts/train_released.py`, the second trained on from the first.

    python scripts/average_weights.py before.pt after.pt --share 0.75 --out mean.pt

Wortsman et al. (2022): between the weights before and after training on a narrower choice of music lie some that are
nearly as good on that and keep more of what they knew. `--share` is that of the second.
"""

import argparse
from pathlib import Path

import torch
from train_released import save


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--share", type=float, default=0.75)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    before, after = (torch.load(path, weights_only=True) for path in (arguments.before, arguments.after))
    assert before["ema"].keys() == after["ema"].keys(), "two checkpoints of one stage"
    mean = {name: value.lerp(after["ema"][name], arguments.share) for name, value in before["ema"].items()}
    save({"ema": mean, "step": after["step"]}, arguments.out)


if __name__ == "__main__":
    main()
