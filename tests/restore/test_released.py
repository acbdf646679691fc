"""The shipped bundles do what their cards say, on a song that the repository composes itself."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import yaml

from upscale.codec import CodecSpec, roundtrip
from upscale.corpus import demo
from upscale.metrics import lsd, si_sdr
from upscale.restore import Restorer
from upscale.restore.restorer import RELEASED

BITRATES = (64, 96)
SECONDS = 8.0
TOLERANCE_DB, TOLERANCE_LSD = 0.15, 0.05  # other versions of LAME and torch


@cache
def clean() -> np.ndarray:
    return demo.compose(seed=1, seconds=SECONDS)


@cache
def degraded(bitrate: int) -> np.ndarray:
    return roundtrip(clean(), CodecSpec(bitrate=bitrate), 44_100)


@cache
def restored(name: str, bitrate: int) -> np.ndarray:
    return Restorer.load(name)(degraded(bitrate), 44_100)


@cache
def stated(name: str) -> dict[int, dict[str, float]]:
    return yaml.safe_load((RELEASED / name / "model.yaml").read_text())["metrics"]["composed"]


@pytest.mark.parametrize("bitrate", BITRATES)
@pytest.mark.parametrize("name", ["fidelity", "perceptual"])
def test_a_shipped_bundle_scores_what_its_card_states(name: str, bitrate: int) -> None:
    row = stated(name)[bitrate]
    gain = si_sdr(clean(), restored(name, bitrate)) - si_sdr(clean(), degraded(bitrate))
    assert gain == pytest.approx(row["restored_si_sdr"] - row["degraded_si_sdr"], abs=TOLERANCE_DB)
    assert lsd(clean(), restored(name, bitrate)) == pytest.approx(row["restored_lsd"], abs=TOLERANCE_LSD)


@pytest.mark.parametrize("bitrate", BITRATES)
def test_fidelity_raises_si_sdr_and_perceptual_lowers_lsd(bitrate: int) -> None:
    assert si_sdr(clean(), restored("fidelity", bitrate)) > si_sdr(clean(), degraded(bitrate)) + 0.1
    assert lsd(clean(), restored("perceptual", bitrate)) < 0.8 * lsd(clean(), degraded(bitrate))


@pytest.mark.parametrize("name", ["fidelity", "perceptual"])
def test_a_quiet_file_scores_like_a_loud_one(name: str) -> None:
    quiet = Restorer.load(name)(0.1 * degraded(64), 44_100) * 10
    assert si_sdr(clean(), quiet) > si_sdr(clean(), degraded(64)) - 0.3
    assert lsd(clean(), quiet) < lsd(clean(), restored(name, 64)) + 0.1


def test_fidelity_is_the_default() -> None:
    assert Restorer.load().traits.name == "fidelity"


@pytest.mark.parametrize("name", ["fidelity", "perceptual"])
def test_a_bundle_is_small_and_has_a_card(name: str) -> None:
    folder: Path = RELEASED / name
    assert sum(path.stat().st_size for path in folder.iterdir()) < 30e6
    assert "doing nothing" in (folder / "card.md").read_text()


@pytest.mark.parametrize("bitrate", [192, 320])
@pytest.mark.parametrize("name", ["fidelity", "perceptual"])
def test_a_good_file_is_unchanged_with_and_without_its_bitrate(name: str, bitrate: int) -> None:
    wav = roundtrip(clean(), CodecSpec(bitrate=bitrate), 44_100)
    restorer = Restorer.load(name)
    assert np.array_equal(restorer(wav, 44_100, bitrate=bitrate), wav)
    change = restorer(wav, 44_100) - wav
    assert np.sum(change**2) < 1e-5 * np.sum(wav**2)
