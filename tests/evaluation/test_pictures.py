"""Pictures come from results.csv alone, and show the songs that they say they show."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest

from upscale.audio import read, write
from upscale.errors import UserError
from upscale.evaluation.pictures import _ranked_songs

RATE = 44_100
PICTURES = {"improvement.png", "spectrogram_best.png", "spectrogram_median.png", "spectrogram_worst.png"}


@pytest.mark.slow
def test_redrawing_from_the_csv_gives_the_same_pictures_and_report(run: Callable[..., Any], songs: Path):
    first = run(system="folder", root=str(songs), data=str(songs), pictures=True, metrics=["sdr", "lsd"])
    assert {path.name for path in first.folder.iterdir()} == PICTURES | {
        "results.csv",
        "settings.yaml",
        "report.md",
        "table.json",
    }
    for name in PICTURES:
        assert f"![{Path(name).stem}]({name})" in (first.folder / "report.md").read_text()
    again = run(redraw=str(first.folder / "results.csv"), pictures=True, data="unused")
    for name in PICTURES:
        pixels = [matplotlib.image.imread(result.folder / name) for result in (first, again)]
        assert np.array_equal(*pixels), name
    assert (first.folder / "report.md").read_text() == (again.folder / "report.md").read_text()
    assert again.rows == first.rows and again.table == first.table


def test_songs_are_ranked_by_their_improvement(run: Callable[..., Any], songs: Path, tmp_path: Path):
    for gain, name in ((1.0, "album/two"), (2.0, "one"), (3.0, "album/three (live) [x=1]")):
        target = tmp_path / "outputs" / f"{name}.wav"
        target.parent.mkdir(parents=True, exist_ok=True)
        write(target, gain * read(songs / f"{name}.wav")[0], RATE, subtype="FLOAT")
    rows = run(system="folder", root=str(tmp_path / "outputs"), data=str(songs), metrics=["sdr"]).rows
    assert [row.song for row in _ranked_songs(rows, 64)] == ["album/two", "one", "album/three (live) [x=1]"]
    assert {row.bitrate for row in _ranked_songs(rows, None)} == {128}
    with pytest.raises(UserError, match=r"picture_bitrate=96 was not evaluated; choose from \[64, 128\]"):
        _ranked_songs(rows, 96)
