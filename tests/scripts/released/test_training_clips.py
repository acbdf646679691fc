"""What is computed once, frames or repetitions, is what the networks see."""

import copy
from collections.abc import Iterator
from importlib import import_module
from itertools import count
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from upscale.models import SpectralCascade, SpectralFill
from upscale.models.spectral.log_magnitude import LogMagnitudePredictor
from upscale.models.spectral.repetition_search import HOP, find_repetitions, num_blocks


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    yield {
        name: import_module(f"scripts.released.{name}")
        for name in ("clips", "cache_frames", "cache_repeats", "train_released")
    }


@pytest.fixture
def steady(scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch) -> None:
    """What `minutes` buys is the same on every machine: the clock goes on by 10 ms whenever it is asked."""
    monkeypatch.setattr(
        scripts["train_released"], "time", SimpleNamespace(monotonic=(tick / 100 for tick in count()).__next__)
    )


@pytest.fixture(scope="module")
def model() -> LogMagnitudePredictor:
    torch.manual_seed(0)
    model = LogMagnitudePredictor(width=8, num_blocks=1, frame_width=16).eval()
    torch.nn.init.normal_(model.band_tail.weight, std=0.3)
    return model


def sounds(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    clean = 0.1 * rng.standard_normal((88_200, 2)).astype(np.float32)
    return clean, clean + 0.01 * rng.standard_normal((88_200, 2)).astype(np.float32)


def test_cached_frames_give_the_networks_answer(scripts: dict[str, ModuleType], model: LogMagnitudePredictor) -> None:
    clean, degraded = sounds(np.random.default_rng(0))
    frames = torch.tensor(scripts["cache_frames"].frames_of(model, clean, degraded, 22_050).astype(np.float32)).T[None]
    inputs, target = frames[:, :-192], frames[:, -192:].unflatten(1, (3, 64))
    wav, clean_wav = torch.tensor(degraded.T[None]), torch.tensor(clean.T[None])
    level = model.relative(model.stft.analyse(wav))[1]
    with torch.no_grad():
        answer = model.relative_bands(inputs)[:, :2]
        assert (level + answer - model.bands(wav)).abs().max() < 0.02  # stored in half precision
    wanted = model.band_mean(model.log_power(model.stft.analyse(clean_wav)))
    assert (level + target[:, :2] - wanted).abs().max() < 0.01
    correlation = model.correlation(model.stft.analyse(clean_wav))
    assert torch.equal(target[:, 2], correlation.half().float())

    half = scripts["cache_frames"].frames_of(model, clean, degraded, 11_100).T[-192:].reshape(3, 64, -1)
    assert np.isfinite(half[:2, :32]).all() and np.isnan(half[:2, 32:]).all() and np.isnan(half[2]).all()


def test_a_clip_of_frames_is_told_the_bitrate_or_not(
    scripts: dict[str, ModuleType], model: LogMagnitudePredictor, tmp_path: Path
) -> None:
    pool, out = tmp_path / "pool", tmp_path / "frames"
    pool.mkdir()
    out.mkdir()
    clean, degraded = sounds(np.random.default_rng(1))
    for name, sound, scale in (("clean", clean, 32768), ("v5", degraded, 16384), ("silence", 0 * clean, 1)):
        np.save(pool / f"mix_1_16000@{name}.npy", np.round(sound * scale).astype(np.int16))
    np.save(pool / "mix_2_16000@clean.npy", np.zeros((88_200, 2), np.int16))
    (pool / "mix_1_16000@silence.npy").rename(pool / "mix_2_16000@64.npy")
    for piece in (pool / "mix_1_16000@v5.npy", pool / "mix_2_16000@64.npy"):
        scripts["cache_frames"].write_frames(piece, out, model)
    assert [path.name for path in out.iterdir()] == ["mix_1_16000@v5.npy"], "silence teaches nothing"
    with pytest.raises(SystemExit, match="HZ"):
        scripts["cache_frames"].known_hz(pool / "mix_000001@64.npy")

    def batch() -> object:
        return scripts["clips"].FrameClips([out], num_bands=64, num_frames=50, seed=3).batch(24)

    once, again = batch(), batch()
    assert torch.equal(once.inputs, again.inputs) and torch.equal(once.target.isnan(), again.target.isnan())
    assert once.target[:, :2, :46].isfinite().all() and once.target[:, :2, 46:].isnan().all()
    assert set(once.bitrate.tolist()) == {0, 130}
    assert 4 < (once.bitrate > 0).sum() < 20
    wav = torch.tensor(degraded.T[None])
    relative, level = model.relative(model.stft.analyse(wav))
    silent = model.inputs(wav, relative, level, None)
    assert torch.equal(once.inputs[:, model.told], silent[:, model.told, :50].expand(24, -1, -1))
    for bitrate in (0.0, 130.0):
        told = model.inputs(wav, relative, level, torch.tensor([bitrate]))
        assert torch.equal(model.with_bitrate(silent, torch.tensor([bitrate])), told)
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
    assert torch.equal(find_repetitions(filtered, 2)[0][..., middle], starts[:, :2].long())


def write_song(folder: Path) -> None:
    """Noise with noise, as `scripts/released/cache_repeats.py` stores it; every block is its own match, twice."""
    wav = (0.1 * np.random.default_rng(0).standard_normal((2, 200_000))).astype(np.float32)
    noisy = wav + 0.03 * np.random.default_rng(1).standard_normal(wav.shape).astype(np.float32)
    own = np.arange(num_blocks(200_000), dtype=np.int32) * HOP - HOP
    sounds = {"clean": wav, "degraded": noisy, "filtered": noisy}
    np.savez(folder / "0@64.npz", **sounds, starts=np.stack([own, own]), likeness=np.ones((2, len(own)), np.float32))


@pytest.mark.usefixtures("steady")
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


@pytest.mark.usefixtures("steady")
@pytest.mark.parametrize("stage", ["bands", "correlation"])
def test_each_stage_of_frames_trains_its_own_part(scripts: dict[str, ModuleType], tmp_path: Path, stage: str) -> None:
    """Left and right are nearly the same sound, and the treble is louder than what an encoder left of it."""
    script = scripts["train_released"]
    torch.manual_seed(0)
    level = LogMagnitudePredictor(width=8, num_blocks=1, frame_width=16)
    before = {name: value.clone() for name, value in level.state_dict().items()}
    middle, side = np.random.default_rng(0).standard_normal((2, 88_200, 1)).astype(np.float32)
    clean = 0.1 * np.concatenate([middle + 0.2 * side, middle - 0.2 * side], axis=1)
    degraded = 0.5 * (clean + np.roll(clean, 1, axis=0))
    for number, known in enumerate((22_050, 18_000)):
        frames = scripts["cache_frames"].frames_of(level.eval(), clean, degraded, known)
        np.save(tmp_path / f"mix_{number}_{known}@64.npy", frames)
    clips = scripts["clips"].FrameClips([tmp_path], num_bands=64, num_frames=50, seed=0)
    options = {"minutes": 0.05, "learning_rate": 2e-2, "seed": 0}
    getattr(script, f"train_{stage}")(level, clips, tmp_path / "out.pt", options)
    after = torch.load(tmp_path / "out.pt", weights_only=True)["model"]
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    own = {"bands": script.BANDS, "correlation": script.CORRELATION}[stage]
    assert changed and all(name.startswith(own) for name in changed)
    batch, errors = scripts["clips"].FrameClips([tmp_path], num_bands=64, num_frames=50, seed=0).batch(8), []
    assert batch.target[:, 2].isfinite().any(), "not all of what is known up to 18 kHz only"
    for weights in (before, after):
        level.load_state_dict(weights)
        with torch.no_grad():
            wrong = (level.eval().relative_bands(batch.inputs) - batch.target).square().nanmean(dim=(0, 2, 3))
        errors.append(wrong[:2].mean() if stage == "bands" else wrong[2])
    assert errors[1] < 0.8 * errors[0]


@pytest.mark.parametrize(("stage", "option"), [("correlation", "levels"), ("levels", "filter"), ("fine", "filter")])
def test_a_stage_does_not_begin_without_the_one_before(
    scripts: dict[str, ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stage: str,
    option: str,
) -> None:
    out = tmp_path / "out.pt"
    monkeypatch.setattr("sys.argv", ["train_released.py", stage, "--cache", "x", "--out", str(out), "--minutes", "1"])
    with pytest.raises(SystemExit) as error:
        scripts["train_released"].main()
    assert error.value.code == 2 and f"--{option}" in capsys.readouterr().err and not out.exists()


def write_pieces(folder: Path) -> None:
    """Noise that an encoder took half of, as `scripts/released/music/augment_music.py` stores it."""
    for number in range(2):
        wav = 0.1 * np.random.default_rng(number).standard_normal((120_000 + number, 2))
        for variant, sound, scale in (("clean", wav, 32_768), ("64", 0.5 * wav, 16_384)):
            np.save(folder / f"mix_{number:06d}_22050@{variant}.npy", np.round(scale * sound).astype(np.int16))


def test_clips_out_of_memory_are_those_of_the_disk(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    script = scripts["clips"]
    write_pieces(tmp_path)
    options = {"length": 67_584, "quietest_db": 30, "seed": 4}
    resident = script.ResidentClips([tmp_path], {64: 1}, **options, device=torch.device("cpu"))
    for path in tmp_path.glob("*.npy"):
        path.unlink()
    once = resident.batch(12)
    write_pieces(tmp_path)
    again = script.Clips([tmp_path], {64: 1}, **options).batch(12)
    assert torch.equal(once.clean, again.clean) and torch.equal(once.bitrate, again.bitrate)
    assert torch.equal(once.degraded, again.degraded) and len(once.clean.std(dim=(1, 2)).unique()) == 12
    assert torch.allclose(once.degraded, 0.5 * once.clean, atol=1e-4)
    with pytest.raises(SystemExit, match="no pieces in"):
        script.ResidentClips([tmp_path / "none"], {64: 1}, **options, device=torch.device("cpu"))


@pytest.mark.usefixtures("steady")
def test_levels_are_learned_and_the_rest_stays(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    script = scripts["train_released"]
    torch.manual_seed(0)
    model = SpectralFill(**TINY_CASCADE, **TINY_LEVEL)
    before = copy.deepcopy(model.state_dict())
    write_pieces(tmp_path)
    clips = scripts["clips"].Clips([tmp_path], {64: 1}, length=67_584, quietest_db=30, seed=0)
    options = {"minutes": 0.004, "learning_rate": 1e-3, "seed": 0, "batch_size": 2, "device": torch.device("cpu")}
    script.train_levels(model, clips, tmp_path / "out.pt", options)
    after = torch.load(tmp_path / "out.pt", weights_only=True)["model"]
    changed = {".".join(name.split(".")[:2]) for name, value in after.items() if not torch.equal(value, before[name])}
    assert {"level.head", "level.tail"} <= changed and not any(name.startswith("filter") for name in changed)
    assert not changed & {"level.frame_network", "level.band_tail", "level.correlation_tail"}


def test_what_is_heard_counts_more_under_a_low_lowpass(scripts: dict[str, ModuleType]) -> None:
    script = scripts["train_released"]
    loss = script.LevelLoss(1024, torch.device("cpu"))
    clean, predicted, other = torch.rand(3, 1, 2, 1024, 48, generator=torch.Generator().manual_seed(0)) - 5
    unlike = []
    for cutoff in (11_000, 15_000):
        degraded = torch.where(torch.arange(1024)[:, None] * 44_100 / 2048 < cutoff, other, -10.0)
        objective, distance = loss(predicted, clean, degraded)
        unlike.append(float(objective - distance))
    assert float(distance) == pytest.approx(float((predicted - clean).square().mean(dim=2).sqrt().mean()))
    ratio = script.UNLIKE_WEIGHTS[True] / script.UNLIKE_WEIGHTS[False]
    assert unlike[1] > 0 and unlike[0] == pytest.approx(ratio * unlike[1], rel=1e-3)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_one_line(
    scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["coarse", "--cache", "x", "--out", "y.pt", "--minutes", "1", "--device", "cuda"]
    monkeypatch.setattr("sys.argv", ["train_released.py", *options])
    with pytest.raises(SystemExit) as error:
        scripts["train_released"].main()
    assert error.value.code == 2 and "sees no CUDA device" in capsys.readouterr().err
