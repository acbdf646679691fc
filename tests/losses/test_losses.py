"""Losses: where they are zero, that silence is harmless, that shapes are checked, and what the numbers mean."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from upscale import audio
from upscale.codec import CodecSpec, roundtrip
from upscale.corpus import demo
from upscale.losses import (
    MSE,
    NOISE_POWER,
    SDR,
    VISQOL_SLOPES,
    BandEnvelope,
    Fidelity,
    LogMagnitude,
    Mix,
    MultiResolutionSTFT,
    NeurogramSimilarity,
    StereoCorrelation,
)
from upscale.metrics import lsd, sdr, si_sdr

SMALL_STFT = {"fft_sizes": (64, 128)}


def make_losses() -> dict[str, nn.Module]:
    return {
        "mse": MSE(),
        "sdr": SDR(),
        "fidelity": Fidelity(),
        "si_fidelity": Fidelity(scale_invariant=True, level_weight=0.1, edge=100),
        "mrstft": MultiResolutionSTFT(**SMALL_STFT),
        "neurogram": NeurogramSimilarity(sample_rate=8000, num_fft=640),
        "mix": Mix(
            losses={"mrstft": MultiResolutionSTFT(**SMALL_STFT), "fidelity": Fidelity()},
            weights={"mrstft": 1.0, "fidelity": 0.1},
        ),
    }


NAMES = list(make_losses())


@pytest.fixture
def clips() -> tuple[Tensor, Tensor, Tensor]:
    """Restored (a tenth of the input's error), clean, degraded: [3, 2, 1000]."""
    generator = torch.Generator().manual_seed(0)
    clean = 0.1 * torch.randn(3, 2, 1000, generator=generator)
    noise = 0.01 * torch.randn(3, 2, 1000, generator=generator)
    return clean + 0.1 * noise, clean, clean + noise


@pytest.mark.parametrize("name", NAMES)
def test_zero_where_all_three_are_equal(name: str, clips: tuple[Tensor, Tensor, Tensor]) -> None:
    _, clean, _ = clips
    assert make_losses()[name](clean, clean, clean).item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("name", ["mse", "sdr", "mrstft", "neurogram"])
def test_zero_at_the_clean_signal_and_positive_elsewhere(name: str, clips: tuple[Tensor, Tensor, Tensor]) -> None:
    restored, clean, degraded = clips
    loss = make_losses()[name]
    assert loss(clean, clean, degraded).item() == pytest.approx(0.0, abs=1e-6)
    assert 0 < loss(restored, clean, degraded) < loss(degraded, clean, degraded)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("silent", ["restored", "clean", "all"])
def test_gradients_are_finite_on_silence(name: str, silent: str, clips: tuple[Tensor, Tensor, Tensor]) -> None:
    restored, clean, degraded = (wav.clone() for wav in clips)
    if silent in ("restored", "all"):
        restored = torch.zeros_like(restored)
    if silent in ("clean", "all"):
        clean, degraded = torch.zeros_like(clean), torch.zeros_like(degraded)
    restored.requires_grad_(True)
    loss = make_losses()[name](restored, clean, degraded)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(restored.grad).all()


@pytest.mark.parametrize("name", NAMES)
def test_wrong_shapes_are_refused(name: str, clips: tuple[Tensor, Tensor, Tensor]) -> None:
    restored, clean, degraded = clips
    loss = make_losses()[name]
    for wrong in [
        (restored[..., :-1], clean, degraded),
        (restored[:, :1], clean, degraded),
        (restored, clean[:1], degraded),
    ]:
        with pytest.raises(ValueError, match=r"\[B, C, T\]"):
            loss(*wrong)
    with pytest.raises(ValueError, match=r"\[B, C, T\]"):
        loss(restored[0], clean[0], degraded[0])


@pytest.mark.parametrize("name", [name for name in NAMES if name != "neurogram"])  # which hears levels alone
def test_gradient_descent_on_the_wav_approaches_clean(name: str, clips: tuple[Tensor, Tensor, Tensor]) -> None:
    _, clean, degraded = clips
    restored = degraded.clone().requires_grad_(True)
    loss, optimizer = make_losses()[name], torch.optim.Adam([restored], lr=1e-3)
    for _ in range(30):
        optimizer.zero_grad()
        loss(restored, clean, degraded).backward()
        optimizer.step()
    assert (restored - clean).square().mean() < 0.5 * (degraded - clean).square().mean()


def test_fidelity_is_the_gain_in_decibels_clip_by_clip(clips: tuple[Tensor, Tensor, Tensor]) -> None:
    restored, clean, degraded = clips
    assert Fidelity()(restored, clean, degraded).item() == pytest.approx(-20.0, abs=0.01)
    quiet = torch.tensor([1.0, 0.5, 0.1])[:, None, None]  # the level is no matter while errors stay above the noise
    assert Fidelity()(quiet * restored, quiet * clean, quiet * degraded).item() == pytest.approx(-20.0, abs=0.5)


def test_fidelity_at_the_clean_signal_is_the_documented_floor(clips: tuple[Tensor, Tensor, Tensor]) -> None:
    _, clean, degraded = clips
    error = (degraded - clean).square().mean(dim=(1, 2))
    floor = (10 * torch.log10(NOISE_POWER / (error + NOISE_POWER))).mean().item()
    assert Fidelity()(clean, clean, degraded).item() == pytest.approx(floor, abs=1e-3)


def test_fidelity_without_level_is_the_si_sdr_lost(clips: tuple[Tensor, Tensor, Tensor]) -> None:
    restored, clean, degraded = clips
    restored = torch.tensor([0.5, 1.0, 2.0])[:, None, None] * restored
    change = Fidelity(scale_invariant=True)(restored, clean, degraded).item()
    assert change == pytest.approx((si_sdr(clean, degraded) - si_sdr(clean, restored)).mean().item(), abs=1e-2)
    level = (si_sdr(clean, degraded) - sdr(clean, restored)).clamp(max=6).mean().item()
    loss = Fidelity(scale_invariant=True, level_weight=0.1)(restored, clean, degraded).item()
    assert loss == pytest.approx(change + 0.1 * level, abs=1e-2)
    with pytest.raises(ValueError, match="scale_invariant"):
        Fidelity(level_weight=0.1)


def test_fidelity_does_not_see_the_edges(clips: tuple[Tensor, Tensor, Tensor]) -> None:
    restored, clean, degraded = clips
    wrong = restored.clone()
    wrong[..., :50] = 1
    wrong[..., -50:] = 1
    loss = Fidelity(edge=50)
    assert loss(wrong, clean, degraded) == loss(restored, clean, degraded)
    assert loss(wrong, clean, degraded).item() == pytest.approx(
        Fidelity()(restored[..., 50:-50], clean[..., 50:-50], degraded[..., 50:-50]).item()
    )


def test_fidelity_minds_spectra_further_away_than_the_input() -> None:
    clean = 0.1 * torch.randn(2, 2, 44_100, generator=torch.Generator().manual_seed(0))
    degraded, softer, near = 0.9 * clean, 0.1 * clean, 0.95 * clean
    plain, minding = Fidelity(), Fidelity(spectrum_weight=2.0)
    extra = (minding(softer, clean, degraded) - plain(softer, clean, degraded)).item()
    expected = (lsd(clean, softer) - lsd(clean, degraded)).mean().item() - 0.01
    assert extra == pytest.approx(2 * expected, abs=0.02)
    assert minding(near, clean, degraded) == plain(near, clean, degraded)


def test_log_magnitude_is_the_distance_and_less_dissimilarity_where_treble_is_left() -> None:
    clean = torch.randn(2, 2, 1024, 40, generator=torch.Generator().manual_seed(0)) - 6
    predicted, full, empty = clean + 0.5, clean.clone(), clean.clone()
    empty[:, :, 500:] = -10
    distance = LogMagnitude(dissimilarity_weight=0, treble_dissimilarity_weight=0)(predicted, clean, full).item()
    assert distance == pytest.approx(0.5, abs=1e-4)
    predicted = torch.randn(2, 2, 1024, 40, generator=torch.Generator().manual_seed(1)) - 6
    distance = LogMagnitude(dissimilarity_weight=0, treble_dissimilarity_weight=0)(predicted, clean, full)
    at_full, at_empty = (LogMagnitude()(predicted, clean, degraded) - distance for degraded in (full, empty))
    assert 0 < at_full.item() == pytest.approx(0.25 * at_empty.item(), rel=1e-3)
    assert LogMagnitude()(clean, clean, full).item() == pytest.approx(1e-4, abs=1e-4)


def test_what_is_not_known_of_bands_and_correlations_does_not_count() -> None:
    target = torch.randn(2, 2, 8, 5, generator=torch.Generator().manual_seed(0))
    known = target.clone()
    known[:, :, 4:] = float("nan")
    predicted = (target + 0.3).requires_grad_(True)
    loss = BandEnvelope()(predicted, known)
    assert loss.item() == pytest.approx(0.3, abs=1e-4) == BandEnvelope()(predicted, target).item()
    loss.backward()
    assert predicted.grad is not None and predicted.grad.isfinite().all() and not predicted.grad[:, :, 4:].any()
    alike, apart = torch.ones(1, 4, 5), torch.zeros(1, 4, 5)
    half = torch.where(torch.arange(4)[:, None] < 2, apart, float("nan"))
    error = math.log10(2.05 / 1.05) ** 2
    assert StereoCorrelation()(alike, half).item() == pytest.approx(error, rel=1e-4)
    assert StereoCorrelation()(alike, float("nan") * half).item() == 0


def test_sdr_is_the_ceiling_minus_the_ratio(clips: tuple[Tensor, Tensor, Tensor]) -> None:
    _, clean, degraded = clips
    ratio = clean.square().sum(dim=(1, 2)) / (degraded - clean).square().sum(dim=(1, 2))
    expected = 60.0 - (10 * torch.log10(ratio)).mean().item()
    assert SDR(ceiling_db=60.0)(degraded, clean, degraded).item() == pytest.approx(expected, abs=0.1)


def test_mse_is_pytorchs(clips: tuple[Tensor, Tensor, Tensor]) -> None:
    restored, clean, degraded = clips
    assert MSE()(restored, clean, degraded).item() == pytest.approx(nn.functional.mse_loss(restored, clean).item())


def test_stft_terms_see_level_and_phase_apart(clips: tuple[Tensor, Tensor, Tensor]) -> None:
    _, clean, _ = clips
    magnitude = MultiResolutionSTFT(**SMALL_STFT, magnitude_weight=1.0, complex_weight=0.0)
    complex_ = MultiResolutionSTFT(**SMALL_STFT, magnitude_weight=0.0, complex_weight=1.0)
    assert magnitude(-clean, clean, clean).item() == pytest.approx(0.0, abs=1e-5)  # magnitudes do not see the sign
    assert complex_(-clean, clean, clean).item() == pytest.approx(2.0, rel=1e-2)
    assert magnitude(2 * clean, clean, clean).item() == pytest.approx(math.log(2), rel=2e-2)


def test_stft_refuses_clips_shorter_than_its_window() -> None:
    short = torch.zeros(1, 1, 64)
    with pytest.raises(ValueError, match="too short"):
        MultiResolutionSTFT(fft_sizes=(128,))(short, short, short)


def test_mix_is_the_weighted_sum(clips: tuple[Tensor, Tensor, Tensor]) -> None:
    mix = Mix(losses={"a": MSE(), "b": Fidelity()}, weights={"a": 3.0, "b": 0.5})
    expected = 3.0 * MSE()(*clips) + 0.5 * Fidelity()(*clips)
    assert mix(*clips).item() == pytest.approx(expected.item())
    with pytest.raises(ValueError, match="same names"):
        Mix(losses={"a": MSE()}, weights={"b": 1.0})


@pytest.mark.slow
def test_the_neurogram_ranks_and_measures_as_visqol_does() -> None:
    """1 - NSIM against the package's own, at LAME's bitrates on composed music."""
    api = pytest.importorskip("visqol").VisqolApi()
    api.create(mode="audio")
    clean = demo.compose(seed=3, seconds=5.0)
    loss, ours, theirs = NeurogramSimilarity(sample_rate=48_000), [], []
    for bitrate in (32, 64, 96, 160):
        degraded = roundtrip(clean, CodecSpec(bitrate=bitrate), 44_100)
        reference, estimate = (
            audio.resample(wav.mean(axis=0, keepdims=True), 44_100, 48_000) for wav in (clean, degraded)
        )
        wavs = [torch.from_numpy(wav)[None] for wav in (estimate, reference)]
        ours.append(1 - float(loss(*wavs, wavs[0])))
        theirs.append(api.measure_from_arrays(*(wav[0].astype(float) for wav in (reference, estimate)), 48_000).vnsim)
    assert ours == sorted(ours)
    assert ours == pytest.approx(theirs, abs=0.06)


def test_the_bands_count_as_in_the_regression_of_visqol() -> None:
    mapper = pytest.importorskip("visqol.quality_mapper")
    model = Path(mapper.__file__).parent / "model" / "libsvm_nu_svr_model.txt"
    head, vectors = model.read_text().split("\nSV\n")
    gamma = float(head.split("gamma ")[1].split()[0])
    rows = [[float(entry.split(":")[-1]) for entry in row.split()] for row in vectors.splitlines() if row.strip()]
    weights, support = torch.tensor(rows)[:, 0], torch.tensor(rows)[:, 1:]
    similarity = torch.full((len(VISQOL_SLOPES),), 0.9, requires_grad=True)
    (weights @ torch.exp(-gamma * (support - similarity).square().sum(dim=1))).backward()
    assert similarity.grad is not None
    assert similarity.grad.tolist() == pytest.approx(list(VISQOL_SLOPES), abs=0.02)


def test_a_band_that_does_not_count_may_be_anything(clips: tuple[Tensor, Tensor, Tensor]) -> None:
    _, clean, _ = clips
    highest_alone = [0.0] * 31 + [1.0]
    loss = NeurogramSimilarity(sample_rate=8000, num_fft=640, band_slopes=highest_alone)
    time = torch.arange(clean.shape[-1]) / 8000
    low, high = (0.05 * torch.sin(2 * torch.pi * hz * time) for hz in (150, 3700))
    assert loss(clean + low, clean, clean) < 0.2 * loss(clean + high, clean, clean)
    with pytest.raises(ValueError, match="32 bands, but 2 slopes"):
        NeurogramSimilarity(band_slopes=[1.0, 1.0])
