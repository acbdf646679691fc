"""MUSDB18-HQ: `{train,test}/<Artist - Title>/mixture.wav`, 100 songs to train on and 50 to test on.

Source: Rafii et al., MUSDB18-HQ, https://doi.org/10.5281/zenodo.3338373; the 14 validation songs are those of the
`musdb` package (mus.yaml), and https://sigsep.github.io/datasets/musdb.html lists which songs came from MedleyDB.
"""

from pathlib import Path

from upscale.corpus.musdb18_songs import MEDLEYDB_SONGS, TEST_SONGS, VALIDATION_SONGS
from upscale.corpus.track import FileTrack, identity, split_name
from upscale.errors import UserError


def tracks(root: Path) -> list[FileTrack]:
    """Every mixture below `root` (which may be a parent folder), with MUSDB18's own splits."""
    found = []
    for path in sorted(root.rglob("mixture.wav")):
        subset, song = path.parent.parent.name, path.parent.name
        if subset not in ("train", "test") or song.startswith("."):
            continue
        artist, title = split_name(song)
        split = "test" if subset == "test" else official_splits().get(identity(artist, title), "train")
        found.append(
            FileTrack(
                dataset="musdb18hq",
                name=f"{subset}/{song}",
                artist=artist,
                title=title,
                licence="MUSDB18: for academic use; CC BY-NC-SA where the song is from MedleyDB",
                group=song,
                split=split,
                path=path,
            )
        )
    if not found:
        raise UserError(f"roots.musdb18hq={root} holds no train/<song>/mixture.wav or test/<song>/mixture.wav")
    return found


def official_splits() -> dict[str, str]:
    """Song identity -> split, for the songs that another data set may hold as well."""
    named = {"train": MEDLEYDB_SONGS, "val": VALIDATION_SONGS, "test": TEST_SONGS}
    return {identity(*split_name(song)): split for split, songs in named.items() for song in songs}
