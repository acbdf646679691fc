"""What is rendered is bright, and rendered once."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mido")
from scripts.released.music import render_music


def test_dark_music_is_told_from_bright() -> None:
    noise = np.random.default_rng(0).standard_normal((44_100, 2))
    dark = np.cumsum(np.cumsum(noise, axis=0), axis=0)
    assert render_music.brightness_db(noise) == pytest.approx(0, abs=1)
    assert render_music.brightness_db(dark - dark.mean(axis=0)) < render_music.brightness_db(noise) - 6


def test_a_module_that_two_games_share_is_rendered_once(tmp_path: Path) -> None:
    contents = {
        "one/tune.xm": b"a" * 20_000,
        "other/tune.xm": b"a" * 20_000,
        "song.mod": b"b" * 20_000,
        "dtd.mod": b"c",
    }
    for name, content in contents.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    found = [path.relative_to(tmp_path).as_posix() for path in render_music.modules(tmp_path)]
    assert found == ["one/tune.xm", "song.mod"]
