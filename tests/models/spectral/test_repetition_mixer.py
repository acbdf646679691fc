"""Repetition mixer: two copies halve what differs, what is played once stays, and chunks equal the whole."""

import numpy as np
import pytest
import torch
from torch import Tensor

from upscale.metrics import si_sdr
from upscale.models import SpectralCascade, SpectralFill
from upscale.models.spectral.match_confidence import match_confidence
from upscale.models.spectral.repetition_mixer import FADE, RepetitionMixer
from upscale.models.spectral.repetition_search import BLOCK, GRID
from upscale.restore import Restorer

TINY = {"width": 8, "num_blocks": 1, "num_bands": 16, "frame_width": 16, "average_frames": 3}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def piece(repeats: list[int], length: int = 400_000) -> Tensor:
    """Noise [1, 2, T] whose 30,000 samples from the first of `repeats` on are heard again at the others."""
    wav = noise(1, 2, length)
    for start in repeats[1:]:
        wav[..., start : start + 30_000] = wav[..., repeats[0] : repeats[0] + 30_000]
    return wav


def with_shares(log_share: float, num_matches: int) -> RepetitionMixer:
    """One that gives each match the same share everywhere, e ** log_share for each 1 of the passage itself."""
    model = RepetitionMixer(width=8, num_blocks=1, num_matches=num_matches).eval()
    with torch.no_grad():
        model.tail.weight.zero_()
        model.tail.bias.fill_(log_share)
    return model


def test_mixing_two_copies_halves_their_noise() -> None:
    clean = piece([40_000, 200_000])
    coded = clean + 0.1 * noise(1, 2, clean.shape[-1], seed=1)
    inner = slice(40_000 + BLOCK, 70_000 - BLOCK)
    with torch.no_grad():
        restored = with_shares(0.0, num_matches=1)(coded, coded)
        alone = with_shares(-30.0, num_matches=1)(coded, coded)
    before, after = (si_sdr(clean[0, :, inner].numpy(), wav[0, :, inner].numpy()) for wav in (coded, restored))
    assert float(np.mean(after - before)) == pytest.approx(10 * np.log10(2), abs=0.1)
    assert torch.allclose(alone, coded, atol=1e-5), "no share, no change"


def test_shares_of_matches_sum_to_one() -> None:
    model = RepetitionMixer(width=8, num_blocks=1, num_matches=3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
        wav, other = noise(1, 2, 20_000), noise(1, 2, 20_000, seed=1)
        matches = torch.stack([wav, wav, wav], dim=1)
        assert torch.allclose(model.combine(other, wav, matches, torch.ones(1, 3, 6)), wav, atol=1e-5)
        away = 0.1 * noise(1, 2, 20_000, seed=2)
        moved = model.combine(other, wav, matches + away[:, None], torch.ones(1, 3, 6)) - wav
    assert 0 < (moved * away).sum() < away.square().sum(), "a part of the way to what all of them are"
    assert moved.square().sum() < away.square().sum()


def test_mixing_ignores_level_and_order_of_matches() -> None:
    model = RepetitionMixer(width=8, num_blocks=1, num_matches=2).eval()
    with torch.no_grad():
        model.tail.weight.normal_(generator=torch.Generator().manual_seed(0))
        wav, coded = noise(1, 2, 30_000), noise(1, 2, 30_000, seed=1)
        matches, similarity = wav[:, None] + 0.3 * noise(1, 2, 2, 30_000, seed=2), torch.rand(1, 2, 9)
        expected = model.combine(coded, wav, matches, similarity)
        assert not torch.allclose(expected, wav, atol=1e-3)
        quiet = model.combine(1e-2 * coded, 1e-2 * wav, 1e-2 * matches, similarity)
        assert torch.allclose(quiet, 1e-2 * expected, atol=1e-5)
        assert torch.allclose(model.combine(coded, wav, matches.flip(1), similarity.flip(1)), expected, atol=1e-6)


def test_mixing_leaves_a_passage_that_is_played_once() -> None:
    """A sound of 150,000 samples is heard twice, far apart; between and around is noise."""
    wav = noise(1, 2, 12 * GRID)
    wav[..., 8 * GRID + 776 : 8 * GRID + 150_776] = wav[..., GRID : GRID + 150_000]
    confidence = match_confidence(wav[0], range(-1, 13))
    assert confidence.shape == (14,) and confidence[0] == confidence[-1] == 0
    found = (confidence > 0.9).nonzero()[:, 0] - 1
    assert {1, 2, 9} <= set(found.tolist()) <= {1, 2, 3, 8, 9, 10}
    assert confidence[5:9].max() < 0.01

    mixer = with_shares(0.0, num_matches=1)
    mixer.min_confidence = 0.5
    coded = wav + 0.1 * noise(1, 2, wav.shape[-1], seed=1)
    with torch.no_grad():
        mixed = mixer(coded, coded)
        kept = slice(GRID + 1000, 3 * GRID + 500)
        assert torch.allclose(mixer(coded, coded, kept), mixed[..., kept], atol=1e-6)
    changed = (mixed != coded).any(dim=1)[0].nonzero()[:, 0]
    assert GRID <= changed.min() < GRID + FADE and changed.max() < 11 * GRID
    assert torch.equal(mixed[..., 4 * GRID : 8 * GRID], coded[..., 4 * GRID : 8 * GRID])
    assert (mixed - coded)[..., GRID : GRID + 2].abs().max() < 1e-3, "it fades in"


@pytest.mark.slow
@pytest.mark.parametrize("min_match_confidence", [0.0, 0.05])
def test_a_chunk_with_context_equals_the_whole(min_match_confidence: float) -> None:
    torch.manual_seed(0)
    options = {"fine_window_size": 4096, "brief_window_size": 256, "num_matches": 2}
    model = SpectralCascade(**TINY, **options, min_match_confidence=min_match_confidence).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    assert model.stride == GRID
    before = -(-model.context // GRID) * GRID
    start = before + GRID
    wav = noise(1, 2, 150_000).repeat(1, 1, 20)[..., : start + 5_000 + model.context + 30_000]
    wav[..., start + 2_000 :] += 0.3 * noise(1, 2, wav.shape[-1] - start - 2_000, seed=2)
    wav = wav + 0.1 * noise(*wav.shape, seed=1)
    bitrate = torch.tensor([64.0])  # or all of it would be bypassed
    with torch.no_grad():
        whole = model(wav, bitrate)
        chunk = model(wav[..., GRID : start + 5_000 + model.context], bitrate)[..., before:][..., :5_000]
        filtered = model.filtered(wav, bitrate)
        kept = model.repeat(wav, filtered, slice(start, start + 5_000))
    expected = whole[..., start : start + 5_000]
    assert not torch.allclose(expected, filtered[..., start : start + 5_000], atol=1e-3)
    assert torch.allclose(chunk, expected, atol=1e-4)
    assert torch.allclose(kept, expected, atol=1e-6), "what is kept alone is computed alone"


TINY_CASCADE = {**TINY, "fine_window_size": 4096, "brief_window_size": 256}
TINY_LEVEL = {"level_width": 8, "num_level_blocks": 1, "level_frame_width": 16, "num_iterations": 2, "period": 8192}
MODELS = {
    "cascade": lambda **options: SpectralCascade(**TINY_CASCADE, **options),
    "fill": lambda **options: SpectralFill(**TINY_CASCADE, **TINY_LEVEL, **options),
}


@pytest.mark.parametrize("num_matches", [0, 1])
@pytest.mark.parametrize("name", MODELS)
def test_the_stages_one_behind_the_other_are_the_model(name: str, num_matches: int) -> None:
    torch.manual_seed(0)
    model = MODELS[name](num_matches=num_matches).eval()
    wav = piece([10_000, 60_000], length=100_000)
    with torch.no_grad():
        for bitrate in (None, torch.tensor([64.0]), torch.tensor([320.0])):
            state = wav
            for stage in model.stages:
                state = stage.function(state, bitrate, slice(None))
            assert torch.allclose(state, model(wav, bitrate), atol=1e-6)
    assert model.context == sum(stage.context for stage in model.stages)
    assert all(model.stride % stage.stride == 0 for stage in model.stages)


@pytest.mark.parametrize("name", MODELS)
def test_low_latency_is_the_same_network_without_repetitions(name: str) -> None:
    torch.manual_seed(0)
    model = MODELS[name](num_matches=1).eval()
    restorer = Restorer.from_module(model, device="cpu")
    fast = restorer.low_latency()
    plain = MODELS[name]()
    plain.load_state_dict({name: value for name, value in model.state_dict().items() if "repeat." not in name})
    assert fast.traits.context < plain.context < restorer.traits.context == model.context
    wav = noise(2, 30_000).numpy()
    expected = Restorer.from_module(plain, device="cpu")(wav, 44_100, bitrate=64)
    np.testing.assert_allclose(fast(wav, 44_100, bitrate=64), expected, atol=1e-6)
    assert fast.low_latency() is fast and restorer.backend.model is model
    assert any("repeat." in name for name in model.state_dict()), "a copy"
