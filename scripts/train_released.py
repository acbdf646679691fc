"""Train the released models on the folders that `scripts/degrade_music.py` made.

    python scripts/train_released.py fidelity --cache FOLDER [FOLDER ...] --out fidelity.pt --minutes 62
    python scripts/train_released.py perceptual --cache FOLDER ... --filter fidelity.pt --out perceptual.pt --minutes 25

A trainer of its own beside `train.py`, because it reads songs that were encoded whole and once, so that two CPU cores
do nothing but train. `--out` is written every minute and taken up again when it exists. The weights that ship are the
moving average in it (`scripts/release.py`).
"""

import argparse
import copy
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from upscale.models import SpectralFill, SpectralFilter
from upscale.seeds import derive_seed

CLIP, EDGE = 40_960, 2048  # samples of a clip, and at both ends those that no loss looks at
NOISE_POWER = 1e-10
FIDELITY_WEIGHTS = {32: 1, 40: 0.7, 48: 1, 56: 0.7, 64: 1.2, 80: 1, 96: 1.2, 112: 1, 128: 1.2}
FIDELITY_WEIGHTS |= {160: 0.7, 192: 0.6, 256: 0.4, 320: 0.4}
PERCEPTUAL_WEIGHTS = {**FIDELITY_WEIGHTS, 32: 0.8, 48: 1.2, 64: 2, 80: 1.4, 96: 2, 112: 1.2, 128: 1.5, 160: 0.8}
OTHER_WEIGHT = 0.8  # variable and average bitrates, other LAME settings
NOMINAL = {"v2": 190, "v5": 130, "abr112": 112, "l48": 48, "l64": 64, "l96": 96, "l128": 128, "s128": 128}


@dataclass(frozen=True)
class Batch:
    clean: Tensor
    degraded: Tensor
    bitrate: Tensor  # kbit/s, 0 where the network is not told


class Clips:
    """Random clips of random songs, gain and channel order; the same seed gives the same sequence."""

    def __init__(self, folders: list[Path], weights: dict[int, float], quietest_db: float, seed: int) -> None:
        self.songs: dict[str, dict[str, np.ndarray]] = {}
        for path in sorted(path for folder in folders for path in folder.glob("*.npy")):
            song, variant = path.stem.rsplit("@", 1)
            self.songs.setdefault(f"{path.parent.name}/{song}", {})[variant] = np.load(path, mmap_mode="r")
        self.songs = {name: song for name, song in self.songs.items() if len(song) > 1 and len(song["clean"]) > CLIP}
        self.names = sorted(self.songs)
        self.weights, self.quietest_db = weights, quietest_db
        self.rng = np.random.default_rng(seed)

    def clip(self) -> tuple[np.ndarray, np.ndarray, float]:
        rng = self.rng
        while True:
            song = self.songs[self.names[rng.integers(len(self.names))]]
            variants = sorted(set(song) - {"clean"})
            weights = np.array([self.weights[int(v)] if v.isdigit() else OTHER_WEIGHT for v in variants])
            variant = variants[rng.choice(len(variants), p=weights / weights.sum())]
            start = rng.integers(0, len(song["clean"]) - CLIP)
            clean = song["clean"][start : start + CLIP].T.astype(np.float32) / 32768
            degraded = song[variant][start : start + CLIP].T.astype(np.float32) / 16384
            if np.mean(clean**2) > 1e-7:
                break
        if rng.random() < 0.5:
            clean, degraded = clean[::-1], degraded[::-1]
        gain = 10 ** (-rng.uniform(0, self.quietest_db) / 20) * rng.choice([-1, 1])
        bitrate = NOMINAL.get(variant) or int(variant)
        return clean * gain, degraded * gain, bitrate if rng.random() < 0.5 else 0

    def batch(self, size: int) -> Batch:
        clean, degraded, bitrate = zip(*[self.clip() for _ in range(size)], strict=True)
        return Batch(
            clean=torch.tensor(np.stack(clean), dtype=torch.float32),
            degraded=torch.tensor(np.stack(degraded), dtype=torch.float32),
            bitrate=torch.tensor(bitrate, dtype=torch.float32),
        )


def scaled_error(wav: Tensor, clean: Tensor) -> Tensor:
    """1 / SI-SDR as a power ratio, per clip: [B, C, T] -> [B]."""
    wav, clean = wav.flatten(1), clean.flatten(1)
    power = clean.square().sum(dim=1) + NOISE_POWER
    target = ((wav * clean).sum(dim=1) / power)[:, None] * clean
    return ((wav - target).square().sum(dim=1) + NOISE_POWER) / (target.square().sum(dim=1) + NOISE_POWER)


def plain_error(wav: Tensor, clean: Tensor) -> Tensor:
    """1 / SDR as a power ratio, per clip."""
    error, power = (wav - clean).square().flatten(1).sum(dim=1), clean.square().flatten(1).sum(dim=1)
    return (error + NOISE_POWER) / (power + NOISE_POWER)


def decibels(ratio: Tensor) -> Tensor:
    return 10 * torch.log10(ratio)


def fidelity_loss(restored: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """dB of SI-SDR lost against the input, and a tenth of the same with the level counted."""
    restored, clean, degraded = (wav[..., EDGE:-EDGE] for wav in (restored, batch.clean, batch.degraded))
    given = scaled_error(degraded, clean)
    change = decibels(scaled_error(restored, clean) / given)
    level = decibels(plain_error(restored, clean) / given).clamp(max=6)
    return (change + 0.1 * level).mean(), change.mean()


def perceptual_loss(restored: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Log-spectral distance (the definition that we publish), and 0.15 for each dB of SI-SDR under the input."""
    restored, clean, degraded = (wav[..., EDGE:-EDGE] for wav in (restored, batch.clean, batch.degraded))
    change = decibels(scaled_error(restored, clean) / scaled_error(degraded, clean))
    distance = (log_spectrum(restored) - log_spectrum(clean)).square().mean(dim=1).add(1e-8).sqrt().mean()
    return distance + 0.15 * change.relu().mean(), distance


def log_spectrum(wav: Tensor) -> Tensor:
    window = torch.hann_window(2048)
    spectrum = torch.stft(wav.flatten(0, 1), 2048, 512, window=window, return_complex=True, pad_mode="constant")
    return torch.log10(torch.view_as_real(spectrum / window.sum()).square().sum(dim=-1) + 1e-10)[..., 4:-4]


def train(
    model: nn.Module,
    loss: Callable[[Tensor, Batch], tuple[Tensor, Tensor]],
    clips: Clips,
    out: Path,
    *,
    minutes: float,
    learning_rate: float,
    batch_size: int = 4,
    seed: int = 0,
) -> None:
    """AdamW with a rate that falls linearly over `minutes` of wall time; moving average of the weights as `ema`."""
    average = copy.deepcopy(model)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=learning_rate, weight_decay=0.01, betas=(0.9, 0.98))
    state: dict[str, Any] = {"step": 0, "seconds": 0.0}
    if out.exists():
        state = torch.load(out, weights_only=True)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["ema"])
        optimizer.load_state_dict(state["optimizer"])
        clips.rng = np.random.default_rng(derive_seed(seed, state["step"]))
    step, begin, saved, values = state["step"], time.monotonic() - state["seconds"], time.monotonic(), []
    while True:
        seconds = time.monotonic() - begin
        progress = seconds / (60 * minutes)
        if progress >= 1 or time.monotonic() - saved > 60:
            contents = {"model": model, "ema": average, "optimizer": optimizer}
            states = {name: part.state_dict() for name, part in contents.items()}
            save({**states, "step": step, "seconds": seconds}, out)
            print(f"{seconds / 60:.1f} min, step {step}: {np.mean(values):+.4f}", flush=True)
            saved, values = time.monotonic(), []
        if progress >= 1:
            return
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * min(1, (step + 1) / 50) * (1 - progress)
        batch = clips.batch(batch_size)
        objective, shown = loss(model(batch.degraded, batch.bitrate), batch)
        optimizer.zero_grad()
        objective.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        step += 1
        values.append(float(shown.detach()))
        blend(average, model, keep=min(0.99, (1 + step) / (10 + step)))


@torch.no_grad()
def blend(average: nn.Module, model: nn.Module, keep: float) -> None:
    for mean, current in zip(average.parameters(), model.parameters(), strict=True):
        mean.lerp_(current, 1 - keep)


def save(contents: dict[str, Any], path: Path) -> None:
    temporary = path.with_suffix(".part")
    torch.save(contents, temporary)
    os.replace(temporary, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=["fidelity", "perceptual"])
    parser.add_argument("--cache", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--filter", type=Path, help="a fidelity checkpoint, for perceptual")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    options: dict[str, Any] = {"minutes": arguments.minutes, "seed": arguments.seed}
    if arguments.name == "fidelity":
        clips = Clips(arguments.cache, FIDELITY_WEIGHTS, quietest_db=30, seed=arguments.seed)
        train(SpectralFilter(), fidelity_loss, clips, arguments.out, learning_rate=2e-3, **options)
    else:
        clips = Clips(arguments.cache, PERCEPTUAL_WEIGHTS, quietest_db=8, seed=arguments.seed)
        model = SpectralFill()
        model.filter.load_state_dict(torch.load(arguments.filter, weights_only=True)["ema"])
        model.filter.requires_grad_(False)
        train(model, perceptual_loss, clips, arguments.out, learning_rate=3e-3, **options)


if __name__ == "__main__":
    main()
