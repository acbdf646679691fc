"""Any folder of lossless music: WAV, FLAC and AIFF files at any depth."""

import logging
from pathlib import Path

from upscale.corpus.track import FileTrack, split_name
from upscale.errors import UserError

LOSSLESS = {".wav", ".flac", ".aif", ".aiff"}
LOSSY = {".mp3", ".m4a", ".aac", ".ogg", ".opus", ".wma"}

logger = logging.getLogger(__name__)


def tracks(root: Path, group: str = "song") -> list[FileTrack]:
    """Every lossless file below `root`. `group="album"` keeps the songs of one folder in one split.

    Lossy files cannot be clean targets: they are left out with one line.
    """
    if group not in ("song", "album"):
        raise UserError(f"group={group} is unknown; use group=song or group=album")
    found, num_lossy = [], 0
    for path in sorted(root.rglob("*")):
        if path.name.startswith(".") or not path.is_file():
            continue
        num_lossy += path.suffix.lower() in LOSSY
        if path.suffix.lower() in LOSSLESS:
            found.append(_track(root, path, group))
    if num_lossy:
        logger.warning("%s: %d lossy files (MP3 and the like) left out: they are no clean targets", root, num_lossy)
    if not found:
        raise UserError(f"roots.folder={root} holds no WAV, FLAC or AIFF file")
    return found


def _track(root: Path, path: Path, group: str) -> FileTrack:
    artist, title = split_name(path.stem)
    relative = path.relative_to(root)
    # Without its ending, so that a song kept as WAV and as FLAC side by side is one song.
    together = relative.parent if group == "album" else relative.with_suffix("")
    return FileTrack(
        dataset="folder",
        name=relative.as_posix(),
        artist=artist,
        title=title,
        licence="unknown",
        group=together.as_posix(),
        path=path,
    )
