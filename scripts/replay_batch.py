"""Make the batch that stopped a run again and look at it: python scripts/replay_batch.py RUN [batch.npz]"""

import sys
from pathlib import Path

import numpy as np

from upscale.entrypoint import run
from upscale.errors import UserError
from upscale.training.replay import replay


def main() -> None:
    """One line a clip: key, bitrate, peaks of clean and degraded; with a second word, all of it in a NumPy file."""
    if len(sys.argv) not in (2, 3):
        raise UserError("which run? python scripts/replay_batch.py outputs/NAME/RUN [batch.npz]")
    batch = replay(Path(sys.argv[1]))
    for key, bitrate, clean, degraded in zip(batch.key, batch.bitrate, batch.clean, batch.degraded, strict=True):
        print(f"{key}  {bitrate:.0f} kbit/s  peak {clean.abs().max():.4f} clean, {degraded.abs().max():.4f} degraded")
    if len(sys.argv) == 3:
        np.savez(sys.argv[2], degraded=batch.degraded, clean=batch.clean, bitrate=batch.bitrate, key=batch.key)


if __name__ == "__main__":
    run(main)
