"""The names that `sources=[...]` understands."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from upscale.corpus import demo, folder, medleydb, musdb18hq
from upscale.corpus.track import Track
from upscale.errors import UserError

SOURCES = ("demo", "folder", "musdb18hq", "medleydb")


def find_tracks(
    sources: Sequence[str],
    roots: Mapping[str, str | None],
    group: str,
    num_demo_songs: int,
    demo_seconds: float,
    seed: int,
) -> list[Track]:
    """All tracks of `sources`, each read from `roots[source]` (the demo songs need none)."""
    found: list[Track] = []
    for source in dict.fromkeys(sources):
        if source not in SOURCES:
            raise UserError(f"sources={list(sources)}: '{source}' is unknown; use some of {', '.join(SOURCES)}")
        if source == "demo":
            found += demo.tracks(num_demo_songs, demo_seconds, seed)
            continue
        root = _root(source, roots.get(source))
        if source == "folder":
            found += folder.tracks(root, group)
        elif source == "musdb18hq":
            found += musdb18hq.tracks(root)
        else:
            found += medleydb.tracks(root)
    if not found:
        raise UserError("no song to prepare: give sources=[demo], or sources=[folder] with roots.folder=DIR")
    return found


def _root(source: str, root: str | None) -> Path:
    if not root:
        raise UserError(f"sources=[{source}] needs its folder: add roots.{source}=DIR")
    if not Path(root).is_dir():
        raise UserError(f"roots.{source}={root}: no such folder")
    return Path(root)
