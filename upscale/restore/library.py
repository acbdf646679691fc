"""Many files: find those that a command line names, and plan where each restored file goes."""

import glob
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import soundfile

from upscale.errors import UserError

AUDIO_SUFFIXES = (
    *(".aac", ".ac3", ".aif", ".aiff", ".amr", ".ape", ".au", ".caf", ".dsf", ".eac3", ".flac", ".m4a", ".m4b"),
    *(".mka", ".mp1", ".mp2", ".mp3", ".mp4", ".mpc", ".mpga", ".oga", ".ogg", ".opus", ".spx", ".tak", ".tta"),
    *(".w64", ".wav", ".webm", ".wma", ".wv"),
)
RESTORED = ".restored"
# The values of `--format`: suffix and sample format.
FORMATS = {
    "flac": (".flac", "PCM_24"),
    "flac16": (".flac", "PCM_16"),
    "wav16": (".wav", "PCM_16"),
    "wav24": (".wav", "PCM_24"),
    "wav-float": (".wav", "FLOAT"),
}
SAME = "same"
OWN_CONTAINERS = (".flac", ".wav", ".aiff", ".aif")
OWN_SUBTYPES = ("PCM_16", "PCM_24", "FLOAT")


@dataclass(frozen=True)
class Job:
    """One file to restore. `subtype`: sample format of the output; `clash`: another file that has the same output."""

    source: Path
    target: Path
    subtype: str
    clash: Path | None = None


def find_files(inputs: Iterable[str]) -> list[tuple[Path, Path]]:
    """(file, its path inside the folder that was named), in order, each file once.

    An input is a file, a folder (searched to the bottom for audio, hidden and already restored files left out)
    or a pattern like `Music/**/*.mp3`.
    """
    found: dict[Path, Path] = {}
    for name in inputs:
        for path, inside in _find(name):
            found.setdefault(path, inside)
    return list(found.items())


def plan(
    files: Sequence[tuple[Path, Path]], *, out: Path | None = None, format: str = "flac", suffix: str = RESTORED
) -> list[Job]:
    """Where each file goes: into `out` with the folders kept, or beside the original as `NAME.restored.flac`.

    Two originals of one name (`a.mp3` and `a.ogg`) keep their own endings: `a.mp3.flac` and `a.ogg.flac`.
    """
    if out is not None and out.suffix.lower() in OWN_CONTAINERS and not out.is_dir():
        return [_single_job(files, out, format)]
    targets = []
    for source, inside in files:
        ending, subtype = _output_format(source, format)
        name = inside.stem + ("" if out is not None else suffix) + ending
        folder = source.parent if out is None else out / inside.parent
        targets.append((folder / name, ending, subtype))
    counts = Counter(target for target, _, _ in targets)
    jobs: dict[Path, Job] = {}
    clashes = []
    for (source, _), (target, ending, subtype) in zip(files, targets, strict=True):
        if counts[target] > 1:
            own_name = source.name + ("" if out is not None else suffix) + ending
            target = target.with_name(own_name)
        other = jobs.get(target)
        job = Job(source, target, subtype, clash=other.source if other else None)
        if other:
            clashes.append(job)
        else:
            jobs[target] = job
    return [*jobs.values(), *clashes]


def read_list(lines: Iterable[str]) -> list[str]:
    """The file names in a list, one a line; empty lines are left out, everything else is a name, `#` included."""
    return [name for line in lines if (name := line.rstrip("\r\n"))]


def _find(name: str) -> list[tuple[Path, Path]]:
    path = Path(name).expanduser()
    if path.is_dir():
        return [(file, file.relative_to(path)) for file in sorted(_audio_files(path))]
    if path.exists():
        return [(path, Path(path.name))]
    # Patterns come last: people's songs have brackets in their names.
    matches = sorted(glob.glob(os.fspath(path), recursive=True))
    if not matches:
        raise UserError(f"{name}: no such file or folder")
    root = Path(os.path.commonpath([Path(match).parent for match in matches]))
    files: list[tuple[Path, Path]] = []
    for match in map(Path, matches):
        if match.is_dir():
            files += [(file, file.relative_to(root)) for file in sorted(_audio_files(match))]
        elif match.suffix.lower() in AUDIO_SUFFIXES:
            files.append((match, match.relative_to(root)))
    return files


def _audio_files(folder: Path) -> Iterable[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            path = Path(parent, name)
            is_ours = RESTORED in path.suffixes
            if path.suffix.lower() in AUDIO_SUFFIXES and not name.startswith(".") and not is_ours:
                yield path


def _output_format(source: Path, format: str) -> tuple[str, str]:
    """Suffix and sample format; `same` keeps a lossless file's own, and anything else becomes FLAC."""
    if format != SAME:
        return FORMATS[format]
    if source.suffix.lower() in OWN_CONTAINERS:
        try:
            subtype = soundfile.info(os.fspath(source)).subtype
        except soundfile.LibsndfileError:
            subtype = ""
        if subtype in OWN_SUBTYPES:
            return source.suffix.lower(), subtype
    return FORMATS["flac"]


def _single_job(files: Sequence[tuple[Path, Path]], out: Path, format: str) -> Job:
    if len(files) != 1:
        raise UserError(f"--out {out} is one file, but {len(files)} files are to be restored: give a folder")
    (source, _) = files[0]
    ending = out.suffix.lower()
    wanted_ending, subtype = _output_format(source, format)
    if wanted_ending != ending:
        subtype = {".flac": "PCM_24"}.get(ending, "FLOAT")
    return Job(source, out, subtype)
