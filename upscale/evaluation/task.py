"""What `evaluate.py` does with its config."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from upscale.codec import CodecSpec
from upscale.errors import UserError
from upscale.evaluation.pictures import draw_improvement, draw_spectrograms
from upscale.evaluation.report import print_table, write_json, write_report
from upscale.evaluation.results import Row, read_csv, write_csv
from upscale.evaluation.run import evaluate_clips
from upscale.evaluation.scores import VisqolScope, check_metrics
from upscale.evaluation.settings import write_settings
from upscale.evaluation.statistics import Summary, summarise, summarise_kinds
from upscale.evaluation.systems import System, make_system
from upscale.evaluation.testset import load_test_set
from upscale.metrics.opinion_score import SHORTEST_SECONDS


def evaluate(config: DictConfig) -> None:
    """Measure, print the table, and write results.csv, report.md and the pictures to `config.output`."""
    output = Path(config.output)
    if config.redraw is not None:
        rows = read_csv(Path(config.redraw))
        first = rows[0]
        system = make_system(first.system, first.model, first.model, config.device, first.bitrate_known)
    else:
        started = time.monotonic()
        system = make_system(config.system, config.ckpt, config.root, config.device, config.bitrate_known)
        rows = _measure(system, config)
        write_settings(config, seconds=time.monotonic() - started, path=output / "settings.yaml")
    write_csv(rows, output / "results.csv")
    summaries, kinds = summarise(rows, seed=config.seed), summarise_kinds(rows, seed=config.seed)
    print_table(summaries, rows)
    if config.json is not None:
        write_json(summaries, kinds, rows, seed=config.seed, path=Path(config.json))
    pictures = _pictures(summaries, rows, system, output, config) if config.pictures else []
    write_report(summaries, kinds, rows, [path.name for path in pictures], output / "report.md")
    Console().print(f"results.csv, report.md{' and pictures' if pictures else ''} are in {output}", soft_wrap=True)


def _measure(system: System, config: DictConfig) -> list[Row]:
    metrics, specs = _listed(config.metrics), codec_settings(config)
    check_metrics(metrics)
    clips = load_test_set(
        Path(config.data), split=config.split, excerpt_seconds=config.excerpt_seconds, max_songs=config.max_songs
    )
    degraded = None if config.write_degraded is None else Path(config.write_degraded)
    visqol = _visqol_scope(config, [spec.bitrate for spec in specs])
    return evaluate_clips(clips, system, specs, metrics, jobs=config.jobs, write_degraded=degraded, visqol=visqol)


def _visqol_scope(config: DictConfig, bitrates: Sequence[int]) -> VisqolScope:
    chosen = None if config.visqol_bitrates is None else tuple(_listed(config.visqol_bitrates))
    if chosen is not None and not set(chosen) <= set(bitrates):
        raise UserError(f"visqol_bitrates={list(chosen)} must be among bitrates={list(bitrates)}")
    if config.visqol_seconds is not None and config.visqol_seconds < SHORTEST_SECONDS:
        raise UserError(f"visqol_seconds={config.visqol_seconds}: ViSQOL needs {SHORTEST_SECONDS:g} s at least")
    return VisqolScope(seconds=config.visqol_seconds, bitrates=chosen)


def codec_settings(config: DictConfig) -> list[CodecSpec]:
    """Every listed codec at every listed bitrate."""
    codecs, bitrates = _listed(config.codec), _listed(config.bitrates)
    if not codecs or not bitrates:
        raise UserError("codec= and bitrates= must name one each at least")
    mp3_only = {"mode": config.mode, "quality": config.quality, "stereo": config.stereo}
    return [
        CodecSpec(codec, bitrate, **(mp3_only if codec == "mp3" else {})) for codec in codecs for bitrate in bitrates
    ]


def _listed(value: Any) -> list[Any]:
    """`metrics=lsd` means `metrics=[lsd]`."""
    return list(value) if OmegaConf.is_list(value) else [value]


def _pictures(
    summaries: Sequence[Summary], rows: Sequence[Row], system: System, output: Path, config: DictConfig
) -> list[Path]:
    improvement = output / "improvement.png"
    draw_improvement(summaries, improvement)
    return [improvement, *draw_spectrograms(rows, system, output, bitrate=config.picture_bitrate)]
