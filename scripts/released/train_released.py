r"""Train the released models, stage by stage, on the folders that `scripts/released/music/degrade_music.py` and, from `bands` on,
`scripts/released/music/augment_music.py` made.

    python -m scripts.released.train_released coarse --cache FOLDER [FOLDER ...] --out coarse.pt --minutes 45
    python -m scripts.released.train_released fine --cache ... --filter coarse.pt --out fine.pt --minutes 25
    python -m scripts.released.train_released fidelity --cache ... --filter fine.pt --out fidelity.pt --minutes 12 --rate 8e-4
    python -m scripts.released.train_released repeat --cache REPEATS --filter fidelity.pt --out repeat.pt --minutes 62
    python -m scripts.released.train_released bands --cache FRAMES --out bands.pt --minutes 55 --rate 1e-3
    python -m scripts.released.train_released correlation --cache FRAMES --levels bands.pt --out correlation.pt --minutes 8
    python -m scripts.released.train_released levels --cache ... --filter repeat.pt --levels correlation.pt --out levels.pt \
        --minutes 65 --rate 1e-3

`coarse` is the first filter of `SpectralCascade`, `fine` puts the second behind it, `fidelity` adds the third and
trains all together, `repeat` adds what mixes a passage with its repetitions, on what `scripts/released/cache_repeats.py` wrote,
and alone. `bands` is the frame network of `LogMagnitudePredictor` alone, on what `scripts/released/cache_frames.py` wrote;
`correlation` its layer that says how alike left and right are, on the same and alone; `levels` the rest of that
network, behind the filters, on spectra.
`--filter` and `--levels` also take a released bundle's `weights.safetensors`.

A trainer of its own beside `train.py`, because it reads songs that were encoded whole and once, so that two CPU cores
do nothing but train. `--device cuda` trains on a GPU, with the songs of `coarse`, `fine`, `fidelity` and `levels` in
its memory. `--out` is written every minute and taken up again when it exists. The weights that ship are
the moving average in it (`scripts/released/release.py`).
"""

import argparse
import copy
import math
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from scripts.released.clips import (
    Batch,
    Clips,
    FrameBatch,
    FrameClips,
    RepeatBatch,
    RepeatClips,
    ResidentClips,
)
from upscale.losses.neurogram import VISQOL_SLOPES, NeurogramSimilarity, gammatone_weights
from upscale.models import SpectralCascade, SpectralFill, SpectralFilter
from upscale.models.spectral.log_magnitude import FrameBlock, LogMagnitudePredictor
from upscale.seeds import derive_seed

CHOSEN = {"brief_window_size": 256}  # where the released models differ from their classes' defaults
STAGES = ("coarse", "fine", "fidelity", "repeat", "bands", "correlation", "levels")
NEEDED = {"correlation": ("levels",), "levels": ("filter", "levels")}  # what came before
NEEDED |= dict.fromkeys(("fine", "fidelity", "repeat"), ("filter",))
NUM_MATCHES = 4  # of `fidelity` for each passage
REPEAT_BLOCKS = 20  # of a clip of `repeat`: 1.9 s
EDGE = 4096  # samples at both ends of a clip that no loss looks at: there the windows see zeros
INNER_FRAMES = slice(6, -6)  # of a short-time spectrum, likewise
BANDS = (
    "frame_network.",
    "band_tail.",
    "band_bias",
)  # what the stage `bands` trains, and it alone
CORRELATION = "correlation_tail."  # what the stage of that name trains, and it alone
LEAST_MIDDLE = 0.05  # beside the power of a channel: what of both together is quieter need not be known
NUM_FRAMES = 96  # of a clip of `bands`: 1.1 s, as the frame network's reach
NOISE_POWER = 1e-10
# How often each constant bitrate is drawn. From 192 kbit/s on nearly every file is left alone (`QualityBypass`).
FIDELITY_WEIGHTS = {32: 0.8, 40: 0.5, 48: 1, 56: 0.7, 64: 1.2, 80: 1, 96: 1.2, 112: 1, 128: 1.3}
FIDELITY_WEIGHTS |= {160: 0.7, 192: 0.2, 256: 0.05}
PERCEPTUAL_WEIGHTS = {32: 0.5, 40: 0.4, 48: 1, 56: 1, 64: 4, 80: 1.5, 96: 4, 112: 0.8, 128: 0.8, 160: 0.3}
HIGHEST_BAND_HZ = 24_000  # of what ViSQOL hears
NEUROGRAM = NeurogramSimilarity(highest_hz=HIGHEST_BAND_HZ, band_slopes=VISQOL_SLOPES)
# What 1 - NSIM counts beside the distance: less where the encoder left something at these frequencies (from 80 kbit/s
# on), for what ViSQOL hears is near enough there.
DULL_HZ, DULL_LOG_POWER = (12_000, 13_000), -9.9
UNLIKE_WEIGHTS = {True: 1.0, False: 0.25}
CPU = torch.device("cpu")


AnyBatch = TypeVar("AnyBatch", covariant=True)


class Source(Protocol[AnyBatch]):
    """Where batches come from; the same generator gives the same ones."""

    rng: np.random.Generator

    def batch(self, size: int) -> AnyBatch: ...


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


def inner(*wavs: Tensor) -> list[Tensor]:
    return [wav[..., EDGE:-EDGE] for wav in wavs]


def fidelity_loss(restored: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """dB of SI-SDR lost against the input; little for the level, and for spectra that shrink."""
    restored, clean, degraded = inner(restored, batch.clean, batch.degraded)
    given = scaled_error(degraded, clean)
    change = decibels(scaled_error(restored, clean) / given)
    level = decibels(plain_error(restored, clean) / given).clamp(max=6)
    spectra = [log_spectrum(wav, hop=1024) for wav in (restored, clean, degraded)]
    distance, before = (frame_distance(spectrum, spectra[1]).mean() for spectrum in (spectra[0], spectra[2]))
    objective = change + 0.1 * level
    return objective.mean() + (distance - before - 0.01).relu(), change.mean()


def log_spectrum(wav: Tensor, hop: int = 512) -> Tensor:
    """[B, C, T] -> [B C, F, N], the frames that see no edge."""
    window = torch.hann_window(2048, device=wav.device)
    spectrum = torch.stft(wav.flatten(0, 1), 2048, hop, window=window, return_complex=True, center=False)
    return torch.log10(torch.view_as_real(spectrum / window.sum()).square().sum(dim=-1) + 1e-10)


def frame_distance(log_power: Tensor, other: Tensor, dim: int = 1) -> Tensor:
    """Root mean square over the bins, which lie along `dim`."""
    return (log_power - other).square().mean(dim=dim).add(1e-8).sqrt()


class MatrixOptimizer:
    """Muon (Jordan et al., 2024) for the matrices of frame blocks, as large a step as AdamW has; AdamW for the rest."""

    def __init__(self, model: nn.Module) -> None:
        blocks = [block for block in model.modules() if isinstance(block, FrameBlock)]
        weights = [layer.weight for block in blocks for layer in (block.up, block.down)]
        matrices = [weight for weight in weights if weight.requires_grad]
        taken = set(map(id, matrices))
        rest = [weight for weight in model.parameters() if weight.requires_grad and id(weight) not in taken]
        self.parts: dict[str, torch.optim.Optimizer] = {
            "rest": torch.optim.AdamW(rest, weight_decay=0.01, betas=(0.9, 0.98))
        }
        if matrices:
            self.parts["matrices"] = torch.optim.Muon(matrices, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")

    def set_rate(self, rate: float) -> None:
        for part in self.parts.values():
            for group in part.param_groups:
                group["lr"] = rate

    def step(self) -> None:
        for part in self.parts.values():
            part.step()

    def state_dict(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, part in self.parts.items():
            part.load_state_dict(state[name])


def train(
    model: nn.Module,
    restore: Callable[[AnyBatch], Tensor],
    loss: Callable[[Tensor, AnyBatch], tuple[Tensor, Tensor]],
    clips: Source[AnyBatch],
    out: Path,
    *,
    minutes: float,
    learning_rate: float,
    batch_size: int = 4,
    seed: int = 0,
    device: torch.device = CPU,
) -> None:
    """A rate that falls linearly over `minutes` of wall time; moving average of the weights as `ema`."""
    average = copy.deepcopy(model.to(device))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = MatrixOptimizer(model)
    state: dict[str, Any] = {"step": 0, "seconds": 0.0}
    if device != CPU:
        model.to(memory_format=torch.channels_last)
    if out.exists():
        state = torch.load(out, weights_only=True, map_location=device)
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
            shown_mean = float(torch.stack(values).mean()) if values else math.nan
            print(f"{seconds / 60:.1f} min, step {step}: {shown_mean:+.4f}", flush=True)
            saved, values = time.monotonic(), []
        if progress >= 1:
            return
        optimizer.set_rate(learning_rate * min(1, (step + 1) / 50) * (1 - progress))
        batch = moved(clips.batch(batch_size), device)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            restored = restore(batch)
        objective, shown = loss(restored.float(), batch)
        model.zero_grad()
        objective.backward()
        step += 1
        if not torch.isfinite(nn.utils.clip_grad_norm_(trained, 1.0)):
            print(f"step {step} left out: its gradient is not finite", flush=True)
            continue
        optimizer.step()
        values.append(shown.detach())
        blend(average, model, keep=min(0.998, (1 + step) / (10 + step)))


def moved(batch: AnyBatch, device: torch.device) -> AnyBatch:
    return type(batch)(**{name: value.to(device) for name, value in vars(batch).items()})


@torch.no_grad()
def blend(average: nn.Module, model: nn.Module, keep: float) -> None:
    pairs = zip(average.parameters(), model.parameters(), strict=True)
    means, current = zip(*[pair for pair in pairs if pair[1].requires_grad], strict=True)
    torch._foreach_lerp_(means, current, 1 - keep)


def weights_of(path: Path) -> dict[str, Tensor]:
    """The averaged weights of a checkpoint of this script, or those of a bundle."""
    return load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)["ema"]


def filter_weights_of(path: Path) -> dict[str, Tensor]:
    """Those of the filters of `fidelity`, without what follows them."""
    return {name: value.float() for name, value in weights_of(path).items() if not name.startswith("repeat.")}


def level_weights_of(path: Path) -> dict[str, Tensor]:
    """The level network's, of `bands` or `correlation`, or from within `levels`."""
    weights = weights_of(path)
    inside = {
        name.removeprefix("level."): value.float() for name, value in weights.items() if name.startswith("level.")
    }
    return inside or weights


def load_before(model: nn.Module, path: Path) -> None:
    """The weights of the stage before, into a model that has `repeat` beside; or those of that stage, to go on."""
    found = model.load_state_dict(weights_of(path), strict=False)
    assert not found.unexpected_keys and all(name.startswith("repeat.") for name in found.missing_keys), found


def save(contents: dict[str, Any], path: Path) -> None:
    temporary = path.with_suffix(".part")
    torch.save(contents, temporary)
    os.replace(temporary, path)


def known_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Their difference, and none where the target is not a number."""
    return torch.where(target.isfinite(), predicted - target, 0)


def train_bands(model: LogMagnitudePredictor, clips: FrameClips, out: Path, options: dict[str, Any]) -> None:
    """The frame network alone: cheap, and most of what is to be learned. Many short clips: frames of one are alike."""

    def distance(predicted: Tensor, batch: FrameBatch) -> tuple[Tensor, Tensor]:
        known = batch.target[:, :2].isfinite()
        error = known_error(predicted[:, :2], batch.target[:, :2]).square().sum(dim=2) / known.sum(dim=2)
        value = error.add(1e-8).sqrt().mean()
        return value, value

    train_frames(model, BANDS, distance, clips, out, options)


def train_correlation(model: LogMagnitudePredictor, clips: FrameClips, out: Path, options: dict[str, Any]) -> None:
    """How alike left and right are, by what the frame network knows: log10 power of their sum at equal levels."""

    def apart(predicted: Tensor, batch: FrameBatch) -> tuple[Tensor, Tensor]:
        middles = [torch.log10(1 + LEAST_MIDDLE + bands[:, 2]) for bands in (predicted, batch.target)]
        value = known_error(*middles).square().sum() / middles[1].isfinite().sum().clamp(min=1)
        return value, value

    model.eval()
    train_frames(model, (CORRELATION,), apart, clips, out, options)


def train_frames(
    model: LogMagnitudePredictor,
    trained: tuple[str, ...],
    loss: Callable[[Tensor, FrameBatch], tuple[Tensor, Tensor]],
    clips: FrameClips,
    out: Path,
    options: dict[str, Any],
) -> None:
    """Those parameters of the level network whose names begin so, by what it says of bands."""

    def predict(batch: FrameBatch) -> Tensor:
        return model.relative_bands(model.with_bitrate(batch.inputs, batch.bitrate))

    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(trained))
    train(model, predict, loss, clips, out, **{"batch_size": 32, **options})


def keep_bands(model: LogMagnitudePredictor) -> None:
    """What `bands` taught stays: trained along, it is forgotten (band means at 96 kbit/s 0.29 -> 0.32)."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith((*BANDS, CORRELATION)))
    model.frame_network.eval()


class LevelLoss:
    """Log-spectral distance and some of 1 - NSIM of log10 powers [B, 2, F, N]; and the distance alone.

    The bands of NSIM count as they do in ViSQOL.
    """

    def __init__(self, num_bins: int, device: torch.device) -> None:
        frequencies = torch.linspace(0, 22_050, num_bins + 1)[:-1]
        self.weights = gammatone_weights(frequencies, num_bands=32, highest_hz=HIGHEST_BAND_HZ).to(device)
        self.treble = slice(*(int((frequencies < edge).sum()) for edge in DULL_HZ))

    def __call__(self, predicted: Tensor, clean: Tensor, degraded: Tensor) -> tuple[Tensor, Tensor]:
        value = frame_distance(predicted, clean, dim=2).mean()
        unlike = 1 - NEUROGRAM.similarity(self.heard(predicted), self.heard(clean))
        dull = degraded[:, :, self.treble].mean(dim=(1, 2, 3)) < DULL_LOG_POWER
        weight = torch.where(dull, UNLIKE_WEIGHTS[True], UNLIKE_WEIGHTS[False])
        return value + (weight * unlike).mean(), value

    def heard(self, log_power: Tensor) -> Tensor:
        """Frames of 12 ms to what an auditory spectrogram sees in 80 ms, every 23 ms."""
        return F.avg_pool1d(self.weights @ (10**log_power).mean(dim=1), kernel_size=5, stride=2)


def train_levels(model: SpectralFill, clips: Clips, out: Path, options: dict[str, Any]) -> None:
    """What the level network says bin by bin, behind filters that stay as they are, against the clean clip's spectrum.

    Clips of two seconds have no repetitions: they are left out, and come in again in what is released.
    """
    level, stft = model.level, model.stft
    loss = LevelLoss(level.num_bins, options["device"])

    def distance(predicted: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        powers = [level.log_power(stft.analyse(wav)) for wav in (batch.clean, batch.degraded)]
        return loss(*(power[..., INNER_FRAMES] for power in (predicted, *powers)))

    def predict(batch: Batch) -> Tensor:
        with torch.no_grad():
            filtered = model.filter.filtered(batch.degraded, batch.bitrate).float()
        return level(batch.degraded, stft.analyse(batch.degraded), stft.analyse(filtered), batch.bitrate)

    model.filter.requires_grad_(False)
    keep_bands(level)
    # With the channels innermost a step takes a fifth less on a processor with bfloat16 tiles (AMX).
    train(model.to(memory_format=torch.channels_last), predict, distance, clips, out, **{"batch_size": 5, **options})


def train_repeat(model: SpectralCascade, clips: RepeatClips, out: Path, options: dict[str, Any]) -> None:
    """What mixes a passage with its repetitions, behind filters that stay as they are."""
    repeat = model.repeat
    assert repeat is not None
    repeat.requires_grad_(True)

    def restore(batch: RepeatBatch) -> Tensor:
        return repeat.combine(batch.degraded, batch.filtered, batch.matches, batch.likeness)

    train(model.to(memory_format=torch.channels_last), restore, fidelity_loss, clips, out, **options)


def restorer(model: SpectralCascade) -> Callable[[Batch], Tensor]:
    return lambda batch: model.filtered(batch.degraded, batch.bitrate)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=STAGES)
    parser.add_argument("--cache", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--filter", type=Path, help="the checkpoint of the stage before")
    parser.add_argument("--levels", type=Path, help="the checkpoint of the level network so far")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, help="clips a step, if not as many as suit a CPU")
    parser.add_argument(
        "--device", type=torch.device, default=CPU, help="cuda: songs stay in its memory, 0.35 MB a second"
    )
    arguments = parser.parse_args()
    for option in NEEDED.get(arguments.name, ()):
        if getattr(arguments, option) is None:
            parser.error(f"{arguments.name} goes on from the stage before: name its checkpoint with --{option}")
    if arguments.device.type == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: PyTorch sees no CUDA device here; leave it out to train on the CPU")
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(arguments.threads)
    options: dict[str, Any] = {
        "minutes": arguments.minutes,
        "seed": arguments.seed,
        "learning_rate": arguments.rate,
        "device": arguments.device,
    }
    if arguments.batch:
        options["batch_size"] = arguments.batch
    NEUROGRAM.to(arguments.device)
    make_clips: Callable[..., Clips] = Clips
    if arguments.device != CPU:
        make_clips = partial(ResidentClips, device=arguments.device)
    if arguments.name in ("bands", "correlation"):
        level = LogMagnitudePredictor()
        if arguments.levels:
            level.load_state_dict(level_weights_of(arguments.levels))
        frames = FrameClips(arguments.cache, num_bands=level.num_bands, num_frames=NUM_FRAMES, seed=arguments.seed)
        train_stage = train_bands if arguments.name == "bands" else train_correlation
        train_stage(level, frames, arguments.out, options)
    elif arguments.name == "levels":
        clips = make_clips(
            arguments.cache,
            PERCEPTUAL_WEIGHTS,
            length=67_584,
            quietest_db=36,
            loudness=3,
            seed=arguments.seed,
        )
        model = SpectralFill(**CHOSEN, num_matches=NUM_MATCHES)
        model.filter.load_state_dict(weights_of(arguments.filter))
        model.level.load_state_dict(level_weights_of(arguments.levels))
        train_levels(model, clips, arguments.out, options)
    elif arguments.name == "repeat":
        cascade = SpectralCascade(**CHOSEN, num_matches=NUM_MATCHES)
        cascade.requires_grad_(False)
        load_before(cascade, arguments.filter)
        train_repeat(
            cascade, RepeatClips(arguments.cache, num_blocks=REPEAT_BLOCKS, seed=arguments.seed), arguments.out, options
        )
    elif arguments.name in ("fine", "fidelity"):
        clips = make_clips(arguments.cache, FIDELITY_WEIGHTS, length=98_304, quietest_db=30, seed=arguments.seed)
        before = filter_weights_of(arguments.filter)
        if arguments.name == "fine":
            model = SpectralCascade()
            model.coarse.load_state_dict(before)
            model.coarse.requires_grad_(False)
        else:
            model = SpectralCascade(**CHOSEN)
            missing, unexpected = model.load_state_dict(before, strict=False)
            assert not unexpected and all(name.startswith("brief.") for name in missing), (missing, unexpected)
        train(model, restorer(model), fidelity_loss, clips, arguments.out, **{"batch_size": 2, **options})
    else:
        clips = make_clips(arguments.cache, FIDELITY_WEIGHTS, length=45_056, quietest_db=30, seed=arguments.seed)
        filter_ = SpectralFilter()
        train(
            filter_,
            lambda batch: filter_(batch.degraded, batch.bitrate),
            fidelity_loss,
            clips,
            arguments.out,
            **options,
        )


if __name__ == "__main__":
    main()
