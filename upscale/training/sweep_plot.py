"""The picture of a sweep: one line per run."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

NAME_WIDTH = 40  # a longer name leaves the curves no room


def draw_sweep(names: Sequence[str], gains: Sequence[Mapping[int, float]], path: Path) -> None:
    """SI-SDR gain in dB against bitrate in kbit/s, a line per run; runs without figures are only named."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axis = figure.subplots()
    axis.axhline(0, color="black", linewidth=1, label="do nothing")
    bitrates = sorted({bitrate for run in gains for bitrate in run})
    colours = colormaps["viridis"](np.linspace(0, 0.9, max(len(names), 1)))
    for name, run, colour in zip(names, gains, colours, strict=True):
        places = [bitrates.index(bitrate) for bitrate in run]
        short = name if len(name) <= NAME_WIDTH else f"{name[: NAME_WIDTH - 1]}…"
        text = short if run else f"{short} (no figures)"
        axis.plot(places, list(run.values()), marker="o", color=colour, label=text)
    axis.set_xticks(range(len(bitrates)), [str(bitrate) for bitrate in bitrates])
    axis.set_xlabel("kbit/s")
    axis.set_ylabel("SI-SDR gain over doing nothing (dB)")
    axis.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize="small")
    figure.savefig(path, dpi=110)
