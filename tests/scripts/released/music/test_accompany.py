"""Accompaniments are pieces that MMA can read."""

import numpy as np

from scripts.released.music import accompany


def test_an_accompaniment_has_its_measures_in_order_and_replays() -> None:
    grooves = ["Waltz", "WaltzFill", "WaltzEnd", "WaltzIntro"]
    text = accompany.piece(grooves, np.random.default_rng(0))
    assert (
        text == accompany.piece(grooves, np.random.default_rng(0)) != accompany.piece(grooves, np.random.default_rng(1))
    )
    measures = [int(line.split()[0]) for line in text.splitlines() if line[0].isdigit()]
    used = [line.split()[1] for line in text.splitlines() if line.startswith("Groove")]
    assert measures == list(range(1, accompany.MEASURES_PER_GROOVE * len(used) + 1))
    assert len(set(used)) == len(used) >= 2
