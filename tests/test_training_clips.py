"""Frames that are computed once are what the network sees, whatever it is told of the bitrate."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from upscale.models.spectral_level import SpectralLevel

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    yield {name: import_module(name) for name in ("clips", "cache_frames")}


@pytest.fixture(scope="module")
def model() -> SpectralLevel:
    torch.manual_seed(0)
    model = SpectralLevel(width=8, num_blocks=1, frame_width=16).eval()
    torch.nn.init.normal_(model.band_tail.weight, std=0.3)
    return model


def sounds(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    clean = 0.1 * rng.standard_normal((88_200, 2)).astype(np.float32)
    return clean, clean + 0.01 * rng.standard_normal((88_200, 2)).astype(np.float32)


def test_cached_frames_give_the_networks_answer(scripts: dict[str, ModuleType], model: SpectralLevel) -> None:
    clean, degraded = sounds(np.random.default_rng(0))
    frames = torch.tensor(scripts["cache_frames"].frames_of(model, clean, degraded).astype(np.float32)).T[None]
    inputs, target = frames[:, :-128], frames[:, -128:].unflatten(1, (2, 64))
    wav, clean_wav = torch.tensor(degraded.T[None]), torch.tensor(clean.T[None])
    level = model.relative(model.stft.analyse(wav))[1]
    with torch.no_grad():
        assert (level + model.relative_bands(inputs) - model.bands(wav)).abs().max() < 0.02  # stored in half precision
    wanted = model.band_mean(model.log_power(model.stft.analyse(clean_wav)))
    assert (level + target - wanted).abs().max() < 0.01


def test_a_clip_of_frames_is_told_the_bitrate_or_not(
    scripts: dict[str, ModuleType], model: SpectralLevel, tmp_path: Path
) -> None:
    pool, out = tmp_path / "pool", tmp_path / "frames"
    pool.mkdir()
    out.mkdir()
    clean, degraded = sounds(np.random.default_rng(1))
    for name, sound, scale in (("clean", clean, 32768), ("v5", degraded, 16384), ("silence", 0 * clean, 1)):
        np.save(pool / f"mix_1@{name}.npy", np.round(sound * scale).astype(np.int16))
    np.save(pool / "mix_2@clean.npy", np.zeros((88_200, 2), np.int16))
    (pool / "mix_1@silence.npy").rename(pool / "mix_2@64.npy")
    for piece in (pool / "mix_1@v5.npy", pool / "mix_2@64.npy"):
        scripts["cache_frames"].write_frames(piece, out, model)
    assert [path.name for path in out.iterdir()] == ["mix_1@v5.npy"], "silence teaches nothing"

    def batch() -> object:
        return scripts["clips"].FrameClips([out], num_bands=64, num_frames=50, seed=3).batch(24)

    once, again = batch(), batch()
    assert torch.equal(once.inputs, again.inputs) and torch.equal(once.target, again.target)
    assert set(once.bitrate.tolist()) == {0, 130}
    assert 4 < (once.bitrate > 0).sum() < 20
    wav = torch.tensor(degraded.T[None])
    relative, level = model.relative(model.stft.analyse(wav))
    silent = model.inputs(wav, relative, level, None)
    assert torch.equal(once.inputs[:, model.told], silent[:, model.told, :50].expand(24, -1, -1))
    for bitrate in (0.0, 130.0):
        told = model.inputs(wav, relative, level, torch.tensor([bitrate]))
        assert torch.equal(model.tell(silent, torch.tensor([bitrate])), told)
        assert torch.equal(told, silent) == (bitrate == 0)
