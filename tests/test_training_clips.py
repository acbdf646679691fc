"""What is computed once, frames or repetitions, is what the networks see."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from upscale.models import SpectralCascade, SpectralFill
from upscale.models.repeats import HOP, find_repeats, num_blocks
from upscale.models.spectral_level import SpectralLevel

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    yield {
        name: import_module(name) for name in ("clips", "patches", "cache_frames", "cache_repeats", "train_released")
    }


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


TINY_CASCADE = {"width": 8, "num_blocks": 1, "num_bands": 16, "frame_width": 16, "average_frames": 3}


def test_a_clip_of_a_song_comes_with_its_own_repetitions(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    wav = (0.1 * rng.standard_normal((2, 300_000))).astype(np.float32)
    count = num_blocks(wav.shape[1])
    own = np.arange(count, dtype=np.int32) * HOP - HOP
    np.savez(
        tmp_path / "00000@64.npz",
        **{name: wav.astype(np.float16) for name in ("clean", "degraded", "filtered")},
        starts=np.stack([own, own + 7_000]),
        likeness=np.stack([own, own]).astype(np.float32),
    )

    def batch() -> object:
        return scripts["clips"].RepeatClips([tmp_path], num_blocks=5, seed=1).batch(6)

    once, again = batch(), batch()
    assert torch.equal(once.matches, again.matches) and torch.equal(once.clean, once.filtered)
    assert once.matches.shape == (6, 2, 2, 5 * HOP)
    assert torch.allclose(once.matches[:, 0], once.filtered, atol=1e-6), "every block is like itself"
    moved = once.matches[:, 1, :, HOP:-7_000]
    assert torch.allclose(moved, once.filtered[..., HOP + 7_000 :], atol=1e-6)
    levels = once.filtered.square().mean(dim=(1, 2)).sqrt()
    assert levels.max() / levels.min() > 2, "at different levels"
    begins = once.likeness[:, 0, 0]
    assert torch.equal(once.likeness[0, 0] - begins[0], torch.arange(6.0) * HOP)
    assert len(begins.unique()) > 2, "from different places"


def test_cached_repetitions_are_those_of_the_filtered_song(scripts: dict[str, ModuleType]) -> None:
    torch.manual_seed(0)
    model = SpectralCascade(**TINY_CASCADE, num_matches=4).eval()
    torch.nn.init.normal_(model.coarse.tail.bias, std=0.3)
    clean = np.tile(0.1 * np.random.default_rng(1).standard_normal((2, 50_000)), 3).astype(np.float32)
    found = scripts["cache_repeats"].repeats_of(model, clean, bitrate=96, told=True)
    filtered = torch.from_numpy(found["filtered"]).float()[None]
    degraded = torch.from_numpy(found["degraded"]).float()[None]
    with torch.no_grad():
        again = model.filtered(degraded, torch.tensor([96.0]))
    assert (again - filtered).abs().mean() < 3e-4, "stored in half precision"
    assert not torch.allclose(filtered, degraded, atol=1e-2)
    middle = slice(14, 20)
    starts, likeness = (torch.from_numpy(found[name])[None, ..., middle] for name in ("starts", "likeness"))
    places = starts[0, :2] - (torch.arange(14, 20) * HOP - HOP)
    assert set(places.flatten().tolist()) == {-50_000, 50_000}
    assert likeness[:, :2].min() > 0.3 > likeness[:, 2:].max()
    assert torch.equal(find_repeats(filtered, 2)[0][..., middle], starts[:, :2].long())


def write_song(folder: Path) -> None:
    """Noise with noise, as `scripts/cache_repeats.py` stores it; every block is its own match, twice."""
    wav = (0.1 * np.random.default_rng(0).standard_normal((2, 200_000))).astype(np.float32)
    noisy = wav + 0.03 * np.random.default_rng(1).standard_normal(wav.shape).astype(np.float32)
    own = np.arange(num_blocks(200_000), dtype=np.int32) * HOP - HOP
    sounds = {"clean": wav, "degraded": noisy, "filtered": noisy}
    np.savez(folder / "0@64.npz", **sounds, starts=np.stack([own, own]), likeness=np.ones((2, len(own)), np.float32))


def test_the_stage_trains_what_mixes_repetitions_alone(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    script = scripts["train_released"]
    torch.manual_seed(0)
    model = SpectralCascade(**TINY_CASCADE, num_matches=2)
    model.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    write_song(tmp_path)
    clips = scripts["clips"].RepeatClips([tmp_path], num_blocks=4, seed=0)
    options = {"minutes": 0.02, "learning_rate": 1e-3, "seed": 0}
    script.train_repeat(model, clips, tmp_path / "repeat.pt", options)
    after = torch.load(tmp_path / "repeat.pt", weights_only=True)["model"]
    changed = {name.split(".")[0] for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == {"repeat"}
    kept = script.filter_weights_of(tmp_path / "repeat.pt")
    assert kept.keys() == {name for name in before if not name.startswith("repeat.")}


TINY_LEVEL = {"level_width": 8, "num_level_blocks": 1, "level_frame_width": 16, "period": 8192}


def test_patches_are_cut_from_what_was_computed(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    patches = scripts["patches"]
    write_song(tmp_path)
    clips = scripts["clips"].RepeatClips([tmp_path], num_blocks=12, seed=0)

    def compute(batch: object) -> object:
        frames = torch.arange(100.0).expand(4, 2, 3, 100)
        several = frames[:, None].expand(-1, 2, -1, -1, -1).clone()
        left, right = (torch.full((4, 1, 3, 100), side) for side in (-1.0, 1.0))
        return patches.PatchBatch(
            frames, torch.cat([left, right], 1), frames, several, several, frames[:, :1, :1], frames, frames
        )

    found = patches.Patches(clips, compute, count=5, num_frames=10, seed=1)
    batches = [found.batch(6) for _ in range(40)]
    assert {len(part) for part in found.parts} == {8}, "whole fours of passages"
    swapped, silenced = 0, 0
    for batch in batches:
        first = batch.answer[..., 0]
        assert first.min() >= patches.EDGE_FRAMES and first.max() + 9 < 100 - patches.EDGE_FRAMES
        assert torch.equal(batch.answer - first[..., None], torch.arange(10.0).expand(6, 2, 3, 10))
        assert torch.equal(batch.level, batch.answer[:, :1, :1]) and torch.equal(batch.answer, batch.clean)
        swapped += int(batch.degraded[0, 0, 0, 0] == 1)
        quiet = batch.matches == patches.SILENCE
        silenced += int(quiet.any())
        assert torch.equal(batch.differences, batch.passage[:, None].expand_as(batch.differences))
        assert torch.equal(batch.matches[~quiet], batch.passage[:, None].expand_as(batch.matches)[~quiet])
    assert 10 < swapped < 30 and 0 < silenced < 12


def test_the_last_stage_trains_what_corrects_levels_alone(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    script = scripts["train_released"]
    torch.manual_seed(0)
    model = SpectralFill(**TINY_CASCADE, **TINY_LEVEL, num_matches=2, repeat_levels=True)
    model.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    write_song(tmp_path)
    clips = scripts["clips"].RepeatClips([tmp_path], num_blocks=14, seed=0)
    options = {"minutes": 0.03, "learning_rate": 1e-3, "seed": 0}
    script.train_repeat_levels(model, clips, tmp_path / "out.pt", options, count=4)
    after = torch.load(tmp_path / "out.pt", weights_only=True)["model"]
    changed = {name.split(".")[0] for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == {"repeat"}
    again = SpectralFill(**TINY_CASCADE, **TINY_LEVEL, num_matches=2, repeat_levels=True)
    script.load_before(again, tmp_path / "out.pt")
    without = {name: value for name, value in before.items() if not name.startswith("repeat.")}
    torch.save({"ema": without}, tmp_path / "before.pt")
    script.load_before(again, tmp_path / "before.pt")
    torch.save({"ema": without | {"more": torch.zeros(1)}}, tmp_path / "wrong.pt")
    with pytest.raises(AssertionError):
        script.load_before(again, tmp_path / "wrong.pt")


def test_the_error_of_levels_is_that_of_the_spectrum_with_them(scripts: dict[str, ModuleType]) -> None:
    script = scripts["train_released"]
    generator = torch.Generator().manual_seed(0)
    spectrum, clean = (torch.randn(3, 2, 5, 7, dtype=torch.complex64, generator=generator) for _ in range(2))
    levels = torch.randn(3, 2, 5, 7, generator=generator)
    levelled = spectrum / spectrum.abs() * 10 ** (0.5 * levels)
    agreement = script.phase_agreement((spectrum.real, spectrum.imag), (clean.real, clean.imag))
    error = script.error_of_levels(levels, 2 * torch.log10(clean.abs()), agreement)
    assert torch.allclose(error, (levelled - clean).abs().square().sum(dim=(1, 2, 3)), rtol=1e-4)
