"""`resume=PATH`: go on with an interrupted run, in its own folder and with its own overrides."""

import sys
import zipfile
from pathlib import Path

import torch
import yaml

from upscale.errors import UserError

LAST_NAME, PREVIOUS_NAME = "last.ckpt", "previous.ckpt"


def with_resume(arguments: list[str]) -> list[str]:
    """Command-line arguments in which `resume=RUN` (a run's folder or one of its checkpoints) is spelt out.

    The run's own overrides come first, unless the command line gives the same key again, and Hydra's folder becomes
    the run's: the config, the checkpoints and the TensorBoard curve stay in one place. Without `resume=`, unchanged.
    """
    given = {_key(argument): argument for argument in arguments}
    path = given.get("resume", "resume=").partition("=")[2].strip("'\"")
    if path in ("", "null"):
        return arguments
    run, checkpoint = _locate(Path(path))
    restart = [f'resume="{checkpoint}"'] if checkpoint else []
    saved = yaml.safe_load((run / ".hydra" / "overrides.yaml").read_text(encoding="utf-8"))
    kept = [override for override in saved if _key(override) not in given]
    added = [argument for argument in arguments if _key(argument) not in ("resume", "hydra.run.dir")]
    return [*kept, *added, f'hydra.run.dir="{run}"', *restart]


def _locate(path: Path) -> tuple[Path, Path | None]:
    """The run's folder and the checkpoint to load; none where the run ended before it wrote its first."""
    if not path.exists():
        raise UserError(f"nothing to resume at {path}: give a run's folder or its checkpoints/{LAST_NAME}")
    run = next((folder for folder in (path, *path.parents) if (folder / ".hydra" / "overrides.yaml").is_file()), None)
    if run is None:
        raise UserError(f"{path} is not in the folder of a training run: there is no .hydra/overrides.yaml above it")
    if path.is_file():
        return run, path
    folder = run / "checkpoints"
    found = [folder / name for name in (LAST_NAME, PREVIOUS_NAME) if (folder / name).is_file()]
    if not found:
        print(f"{run} has no {LAST_NAME} in checkpoints/ yet: it starts from the beginning", file=sys.stderr)
        return run, None
    for checkpoint in found:
        if _readable(checkpoint):
            return run, checkpoint
        print(f"warning: {checkpoint} is damaged and passed over", file=sys.stderr)
    raise UserError(f"no checkpoint in {folder} can be read: start again with ckpt={folder / 'best.ckpt'}")


def _readable(checkpoint: Path) -> bool:
    """By the checksums in the file as well: torch does not look at those of tensors."""
    try:
        with zipfile.ZipFile(checkpoint) as file:
            if file.testzip() is not None:
                return False
        torch.load(checkpoint, map_location="meta", weights_only=True)
    except Exception:  # torch raises a different type for each kind of damage
        return False
    return True


def _key(argument: str) -> str:
    return argument.lstrip("+~").partition("=")[0]
