"""`upscale restore`: files and folders in, restored files out."""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from upscale.cli.view import View
from upscale.errors import UserError
from upscale.restore import Restorer
from upscale.restore.batch import BatchRestorer, Outcome, write_report
from upscale.restore.files import FileOptions, deprecated_name
from upscale.restore.library import FORMATS, SAME, Job, find_files, plan, read_list
from upscale.restore.pictures import draw_before_after

DEVICES = ("auto", "cpu", "cuda", "mps")
EXAMPLES = """examples:
  upscale restore song.mp3                       writes song.restored.flac beside it
  upscale restore Music/ --out Restored/         the whole folder, its tree kept
  upscale restore 'Music/**/*.mp3' --out Restored/ --format wav24
  find . -name '*.mp3' | upscale restore --list - --out Restored/
"""


def main(argv: Sequence[str]) -> int:
    """Restore what is named; 0 when nothing failed, 1 otherwise."""
    options = parser().parse_args(argv)
    inputs = [*options.inputs, *_listed(options.list)]
    if not inputs:
        raise UserError("which files? name songs or folders, or --list FILE (`upscale restore -h` shows examples)")
    if options.match_level:
        print(deprecated_name("--match-level", "--restore-level"), file=sys.stderr)
    jobs = plan(find_files(inputs), out=options.out, format=options.format)
    if not jobs:
        raise UserError(f"no audio files in {', '.join(inputs[:3])}")
    started = time.monotonic()
    batch = BatchRestorer(
        restorer=Restorer.load(options.model, device=options.device),
        options=FileOptions(
            mix=options.mix,
            restore_level=options.restore_level or options.match_level,
            ceiling_db=options.ceiling,
            bitrate=options.bitrate,
        ),
        force=options.force,
        overwrite=options.overwrite,
        jobs=options.jobs,
        after=draw_before_after if options.pictures else None,
    )
    outcomes: list[Outcome] = []
    try:
        if options.engine == "ray":
            _run_on_ray(batch, options, jobs, outcomes)
        else:
            _run(batch, jobs, outcomes)
    finally:
        if options.report is not None:
            write_report(options.report, outcomes, batch.restorer, started)
    return _conclude(outcomes, time.monotonic() - started)


def _run(batch: BatchRestorer, jobs: list[Job], outcomes: list[Outcome]) -> None:
    with View(len(jobs)) as view, closing(batch.run(jobs, view)) as finished:
        outcomes.extend(finished)


def _run_on_ray(batch: BatchRestorer, options: argparse.Namespace, jobs: list[Job], outcomes: list[Outcome]) -> None:
    from upscale.restore.on_ray import RayBatchRestorer

    remote = RayBatchRestorer(options.model, options.device, batch.options, batch.force, batch.overwrite, batch.after)
    with View(len(jobs)) as view, closing(remote.run(jobs, options.jobs)) as finished:
        for outcome in finished:
            view.finished(outcome)
            outcomes.append(outcome)


def _conclude(outcomes: list[Outcome], elapsed_seconds: float) -> int:
    counts = {status: sum(outcome.status == status for outcome in outcomes) for status in ("restored", "skipped")}
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    print(
        f"{counts['restored']} restored, {counts['skipped']} skipped, {len(failed)} failed in {elapsed_seconds:.0f} s"
    )
    return 1 if failed else 0


def _listed(source: str | None) -> list[str]:
    """File names from a file, or from stdin for `-`. Bytes that are not UTF-8 are kept."""
    if source is None:
        return []
    if source == "-":
        data = sys.stdin.buffer.read()
    else:
        try:
            data = Path(source).read_bytes()
        except OSError as error:
            raise UserError(f"--list {source}: {error.strerror}") from error
    return read_list(data.decode("utf-8", "surrogateescape").split("\n"))


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="upscale restore",
        description="Restore music that was compressed. Tags, cover art, file time, length, channels and level stay.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("inputs", nargs="*", metavar="INPUT", help="files, folders, or quoted patterns; any format that FFmpeg reads")
    add("--list", metavar="FILE", help="also take names from a file, one a line; - reads them from stdin")
    add("--out", type=Path, metavar="PATH", help="folder for the results, or a file name if there is one input")
    add(
        "--format",
        choices=[*FORMATS, SAME],
        default="flac",
        help="flac is 24 bit; 'same' keeps the input's container where that is lossless (default: flac)",
    )
    add("--model", metavar="NAME", help="a shipped model, a bundle, a .ckpt or an .onnx (default: fidelity)")
    add("--device", choices=DEVICES, default="auto")
    add("--jobs", type=_number(int, 1), default=1, metavar="N", help="files at a time (default: 1)")
    add("--engine", choices=("local", "ray"), default="local", help="ray: on the cluster of RAY_ADDRESS (extra `ray`)")
    add("--mix", type=_number(float, 0, 1), default=1.0, metavar="0..1", help="0 is the input, 1 the model's output")
    add(
        "--restore-level",
        action="store_true",
        help="keep the level that the model gives, which is the music's before it was encoded (up to half a decibel "
        "louder); without it, results are as loud (RMS) as their inputs",
    )
    add("--match-level", action="store_true", help="deprecated name of --restore-level")
    add(
        "--ceiling",
        type=_number(float, -60, 20),
        default=FileOptions.ceiling_db,
        metavar="DBTP",
        help=f"highest true peak; louder results are turned down as a whole (default: {FileOptions.ceiling_db})",
    )
    add(
        "--bitrate",
        type=_number(float, 1),
        metavar="KBIT",
        help="bitrate the file was encoded at (default: read from the file)",
    )
    add("--force", action="store_true", help="also restore files that are already good")
    add("--overwrite", action="store_true", help="replace results that exist instead of skipping them")
    add("--report", type=Path, metavar="JSON", help="write what was done with each file")
    add("--pictures", action="store_true", help="a spectrogram before and after, as NAME.png beside each result")
    return parser


def _number(kind: type[int] | type[float], low: float, high: float = float("inf")) -> Callable[[str], float]:
    """An argparse type: a number from `low` to `high`."""

    def convert(text: str) -> float:
        value = kind(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not between {low:g} and {high:g}")
        return value

    convert.__name__ = "number"
    return convert
