"""The evaluation itself: degrade each clip, restore it, measure both and the trivial rival; one clip at a time.

The trivial rival is the input level-matched: one gain per codec setting, the least-squares gain over the whole test
set, <clean, degraded> / <degraded, degraded>. It is fitted in a first pass, on at most 30 seconds from the
middle of each clip.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from math import log10
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from upscale.audio import write
from upscale.codec import CodecSpec, roundtrip
from upscale.errors import UserError
from upscale.evaluation.results import Row
from upscale.evaluation.scores import EVERYWHERE, METRICS, Context, VisqolScope, score
from upscale.evaluation.systems import Output, System, label
from upscale.evaluation.testset import Clip
from upscale.metrics import codec_cutoff
from upscale.progress import with_progress

GAIN_SECONDS = 30
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Plan:
    """All that a worker needs to evaluate a clip."""

    system: System
    specs: tuple[CodecSpec, ...]
    metrics: tuple[str, ...]
    gains: tuple[float, ...] = ()  # linear, one per spec
    write_degraded: Path | None = None
    visqol: VisqolScope = EVERYWHERE

    def metrics_at(self, spec: CodecSpec) -> list[str]:
        return [name for name in self.metrics if name != "visqol" or self.visqol.includes(spec.bitrate)]


def evaluate_clips(
    clips: Sequence[Clip],
    system: System,
    specs: Sequence[CodecSpec],
    metrics: Sequence[str],
    jobs: int = 1,
    write_degraded: Path | None = None,
    visqol: VisqolScope = EVERYWHERE,
) -> list[Row]:
    """A row per clip, codec setting and metric, in that order whatever `jobs` (processes) is."""
    if jobs < 1:
        raise UserError(f"jobs={jobs}: use 1 or more processes")
    system.check(clips, specs)
    plan = Plan(system, tuple(specs), tuple(metrics), write_degraded=write_degraded, visqol=visqol)
    products = np.sum(list(_map(partial(_level_products, plan), clips, jobs, "levels")), axis=0)
    plan = replace(plan, gains=tuple(_gain(*pair) for pair in products))
    return [row for rows in _map(partial(_evaluate_clip, plan), clips, jobs, "songs") for row in rows]


def _map(task: Callable[[Clip], Answer], clips: Sequence[Clip], jobs: int, title: str) -> Iterator[Answer]:
    """The answers in the clips' order, with their progress, from this process or from `jobs` others."""
    if jobs == 1:
        yield from with_progress(map(task, clips), title, len(clips))
        return
    threads = max(1, (os.cpu_count() or 1) // jobs)
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), initializer=torch.set_num_threads, initargs=(threads,))
    with pool:
        try:
            yield from with_progress(pool.map(task, clips), title, len(clips))
        finally:
            pool.shutdown(cancel_futures=True)


def _level_products(plan: Plan, clip: Clip) -> np.ndarray:
    """<clean, degraded> and <degraded, degraded> for every codec setting: `[S, 2]`."""
    with _named(clip):
        clean, sample_rate = clip.load()
        num_samples = min(clean.shape[1], GAIN_SECONDS * sample_rate)
        start = (clean.shape[1] - num_samples) // 2
        middle = clean[:, start : start + num_samples]
        return np.array([_products(middle, roundtrip(middle, spec, sample_rate)) for spec in plan.specs])


def _products(clean: np.ndarray, degraded: np.ndarray) -> tuple[float, float]:
    x, y = clean.astype(np.float64).ravel(), degraded.astype(np.float64).ravel()
    return float(x @ y), float(y @ y)


def _gain(clean_degraded: float, degraded_degraded: float) -> float:
    """1 where the least-squares gain has no meaning: silence, or a codec that turned everything round."""
    return clean_degraded / degraded_degraded if clean_degraded > 0 else 1.0


def _evaluate_clip(plan: Plan, clip: Clip) -> list[Row]:
    with _named(clip):
        clean, sample_rate = clip.load()
        return [
            row
            for spec, gain in zip(plan.specs, plan.gains, strict=True)
            for row in _evaluate_one(plan, clip, clean, sample_rate, spec, gain)
        ]


def _evaluate_one(
    plan: Plan, clip: Clip, clean: np.ndarray, sample_rate: int, spec: CodecSpec, gain: float
) -> list[Row]:
    degraded = roundtrip(clean, spec, sample_rate)
    if plan.write_degraded is not None:
        path = plan.write_degraded / label(spec) / f"{clip.name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, degraded, sample_rate, subtype="FLOAT")
    output = plan.system(clip, degraded, sample_rate, spec)
    context = Context(sample_rate, codec_cutoff(clean, degraded, sample_rate), plan.visqol.seconds)
    metrics = plan.metrics_at(spec)
    do_nothing = score(clean, degraded, metrics, context)
    level = score(clean, degraded * np.float32(gain), metrics, context)
    unchanged = np.array_equal(output.wav, degraded)
    restored = do_nothing if unchanged else score(clean, output.wav, metrics, context)
    row = partial(_row, clip=clip, spec=spec, system=plan.system, output=output, context=context, gain=gain)
    return [row(name, do_nothing[name], level[name], restored[name], channels=len(clean)) for name in metrics]


def _row(
    name: str,
    do_nothing: float,
    level: float,
    restored: float,
    *,
    clip: Clip,
    spec: CodecSpec,
    system: System,
    output: Output,
    context: Context,
    gain: float,
    channels: int,
) -> Row:
    metric = METRICS[name]
    return Row(
        song=clip.song,
        clip=clip.name,
        codec=spec.codec,
        bitrate=spec.bitrate,
        metric=name,
        unit=metric.unit,
        better=metric.better,
        do_nothing=do_nothing,
        level=level,
        restored=restored,
        improvement=metric.improvement(restored, do_nothing),
        level_improvement=metric.improvement(level, do_nothing),
        cutoff_hz=context.cutoff_hz,
        level_gain_db=20 * log10(gain),
        length_difference=output.length_difference,
        output_channels=output.channels,
        channels=channels,
        sample_rate=context.sample_rate,
        path=str(clip.path),
        start=clip.start,
        num_samples=clip.num_samples,
        mode=spec.mode,
        quality=spec.quality,
        stereo=spec.stereo,
        system=system.kind,
        model=system.model,
        bitrate_known=system.bitrate_known,
        kind=clip.kind,
    )


class _named:
    """Put the clip's name before a user's mistake."""

    def __init__(self, clip: Clip) -> None:
        self.clip = clip

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, UserError) and self.clip.name not in str(error):
            raise UserError(f"{self.clip.name}: {error}") from error
