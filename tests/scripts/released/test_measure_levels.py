"""What `scripts/released/measure_levels.py` prints is taken up to where a song is known."""

from importlib import import_module
from types import ModuleType

import pytest
import torch


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return import_module("scripts.released.measure_levels")


def test_what_is_not_known_is_not_measured(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Right below 11 kHz, one too bright up to 16.5 kHz, and not a number from there on."""
    wanted = torch.zeros(1, 2, 64, 5), torch.zeros(1, 2, 1024, 5)
    answer = tuple(part.clone() for part in wanted)
    for part in answer:
        part[:, :, part.shape[2] // 2 :] = 1
        part[:, :, part.shape[2] * 3 // 4 :] = torch.nan
    monkeypatch.setattr(script, "TREBLE_HZ", 11_025)
    bands, bins, bright = script.figures(answer, wanted, 0.75 * 22_050)
    assert bands == pytest.approx(3**-0.5) and bins == pytest.approx(3**-0.5), "one in three is wrong by one"
    assert bright == pytest.approx(1)
    assert script.figures(wanted, wanted, 22_050) == [pytest.approx(0, abs=1e-3)] * 3
