"""The state of a folder of shards between two runs: finished, interrupted, or made with other settings."""

import json
import shutil
from pathlib import Path
from typing import Any

from upscale.atomic import LEFTOVERS
from upscale.corpus.split import SPLITS
from upscale.errors import UserError
from upscale.shards.cutting import ShardJob
from upscale.shards.manifest import NAME, write_json

BUILD = ".build"  # the reports and entries of an unfinished run, for the next one
SUMMARY = "prepared.json"


def open_build(out: Path, settings: dict[str, Any], overwrite: bool) -> dict[str, Any] | None:
    """The summary of a finished run with the same settings, else None, with `out` ready to start or to resume.

    Raises UserError where `out` holds shards made with other settings, unless `overwrite` is set.
    """
    state = out / BUILD / "settings.json"
    finished = out / SUMMARY
    previous = finished if finished.exists() else state
    if previous.exists():
        content = json.loads(previous.read_bytes())
        old = content["settings"] if previous == finished else content
        if old == settings:
            return content if previous == finished else None
        changed = sorted(key for key in settings if old.get(key) != settings[key])
        if not overwrite:
            raise UserError(
                f"{out} holds shards made with another {', '.join(changed)}: "
                "choose another out=DIR or add overwrite=true"
            )
    elif any(out.glob("*/*.tar")) and not overwrite:
        raise UserError(f"{out} holds shards of unknown origin: choose another out=DIR or add overwrite=true")
    make_folder(out)
    _clear(out)
    make_folder(state.parent)
    write_json(state, settings)
    return None


def make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be made ({error.strerror}); choose another out=DIR or make room") from error


def _clear(out: Path) -> None:
    """Remove what an earlier run wrote, and nothing else."""
    shutil.rmtree(out / BUILD, ignore_errors=True)
    (out / SUMMARY).unlink(missing_ok=True)
    for split in SPLITS:
        for path in [*(out / split).glob("shard-*.tar"), out / split / NAME]:
            path.unlink(missing_ok=True)
    remove_leftovers(out)


def remove_leftovers(out: Path) -> None:
    """Remove the half-written shards of a run that was killed."""
    for split in SPLITS:
        for path in (out / split).glob(LEFTOVERS):
            path.unlink(missing_ok=True)


def note_of(out: Path, job: ShardJob) -> Path:
    """The file that holds the entry of a finished shard until all shards are finished."""
    return out / BUILD / f"{job.path.parent.name}-{job.path.stem}.json"
