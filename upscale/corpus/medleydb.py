"""MedleyDB: `V1|V2/<Artist_Title>/<Artist_Title>_MIX.wav`, also as `Audio/<Artist_Title>/...`.

Source: Bittner et al., MedleyDB (ISMIR 2014) and MedleyDB 2.0, https://medleydb.weebly.com.
"""

import os
from pathlib import Path

from upscale.corpus.track import FileTrack
from upscale.errors import UserError

ENDING = "_MIX.wav"


def tracks(root: Path) -> list[FileTrack]:
    """Every mix below `root`; stems and raw recordings are left out."""
    found = []
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if not name.endswith(("_STEMS", "_RAW")))
        for file in files:
            if file.endswith(ENDING) and not file.startswith("."):
                found.append(_track(Path(root), Path(folder) / file))
    if not found:
        raise UserError(f"roots.medleydb={root} holds no <Artist_Title>/<Artist_Title>{ENDING}")
    return sorted(found, key=lambda track: track.name)


def _track(root: Path, path: Path) -> FileTrack:
    song = path.name.removesuffix(ENDING)
    artist, _, title = song.partition("_")
    return FileTrack(
        dataset="medleydb",
        name=path.relative_to(root).as_posix(),
        artist=artist,
        title=title,
        licence="CC BY-NC-SA 4.0",
        group=song,
        path=path,
    )
