"""The names that `sources=[...]` takes. A new source is one file beside this one and one line in `SOURCES`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from upscale.corpus import demo, folder, medleydb, musdb18hq
from upscale.corpus.track import Track
from upscale.errors import UserError


@dataclass(frozen=True)
class Options:
    """The options of all sources. `group` is for `folder`; number of songs, length and seed are for `demo`."""

    roots: Mapping[str, str | None]
    group: str
    num_demo_songs: int
    demo_seconds: float
    seed: int

    def root(self, source: str) -> Path:
        """The folder of a source. Raises UserError where none is given or there is no such folder."""
        root = self.roots.get(source)
        if not root:
            raise UserError(f"sources=[{source}] needs its folder: add roots.{source}=DIR")
        if not Path(root).is_dir():
            raise UserError(f"roots.{source}={root}: no such folder")
        return Path(root)


SOURCES: dict[str, Callable[[Options], Sequence[Track]]] = {
    "demo": lambda options: demo.tracks(options.num_demo_songs, options.demo_seconds, options.seed),
    "folder": lambda options: folder.tracks(options.root("folder"), options.group),
    "musdb18hq": lambda options: musdb18hq.tracks(options.root("musdb18hq")),
    "medleydb": lambda options: medleydb.tracks(options.root("medleydb")),
}


def find_tracks(
    sources: Sequence[str],
    roots: Mapping[str, str | None],
    group: str,
    num_demo_songs: int,
    demo_seconds: float,
    seed: int,
) -> list[Track]:
    """All tracks of `sources`, each read from `roots[source]` (the demo songs need none)."""
    options = Options(roots, group, num_demo_songs, demo_seconds, seed)
    found: list[Track] = []
    for source in dict.fromkeys(sources):
        if source not in SOURCES:
            raise UserError(f"sources={list(sources)}: '{source}' is unknown; use some of {', '.join(SOURCES)}")
        found += SOURCES[source](options)
    if not found:
        raise UserError("no song to prepare: give sources=[demo], or sources=[folder] with roots.folder=DIR")
    return found
