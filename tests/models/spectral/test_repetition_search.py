"""Repetition search: matches are found to the sample, and gathered as they are."""

import pytest
import torch
from torch import Tensor

from upscale.models.spectral.repetition_search import (
    BLOCK,
    HOP,
    find_repetitions,
    gather_repetitions,
    num_blocks,
)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def piece(repeats: list[int], length: int = 400_000) -> Tensor:
    """Noise [1, 2, T] whose 30,000 samples from the first of `repeats` on are heard again at the others."""
    wav = noise(1, 2, length)
    for start in repeats[1:]:
        wav[..., start : start + 30_000] = wav[..., repeats[0] : repeats[0] + 30_000]
    return wav


def inside(start: int) -> range:
    """Blocks that lie in the sound that begins there."""
    return range(-(-start // HOP) + 1, (start + 30_000 - BLOCK) // HOP + 2)


@pytest.mark.parametrize("distance", [30_001, 100_000, 254_321])
def test_search_finds_a_repetition_to_the_sample_at_any_distance(distance: int) -> None:
    first = 40_000
    second = first + distance
    starts, similarity = find_repetitions(piece([first, second]), num_matches=1)
    for begin, other in ((first, second), (second, first)):
        assert len(inside(begin)) >= 5
        for block in inside(begin):
            assert starts[0, 0, block] == (block - 1) * HOP + other - begin
            assert similarity[0, 0, block] > 0.999
    assert similarity[0, 0, inside(first)[0] - 6] < 0.2, "noise is like nothing else"


def test_search_finds_all_equal_matches_the_nearest_first() -> None:
    places = [20_000, 90_000, 250_000]
    starts, _ = find_repetitions(piece(places), num_matches=2)
    for block in inside(places[0]):
        assert starts[0, :, block].tolist() == [(block - 1) * HOP + place - places[0] for place in places[1:]]


def test_search_finds_a_repetition_under_another_voice_and_at_another_level() -> None:
    wav = piece([40_000, 200_000])
    wav[..., 200_000:] *= 0.3
    wav += 0.02 * noise(1, 2, wav.shape[-1], seed=1)
    starts, similarity = find_repetitions(1e-3 * wav, num_matches=1)
    found = [int(starts[0, 0, block]) - (block - 1) * HOP for block in inside(40_000)]
    assert set(found) == {160_000}
    assert 0.9 < similarity[0, 0, inside(40_000)].min() < similarity[0, 0, inside(40_000)].max() < 0.9999


def test_search_finds_nothing_in_silence_or_in_short_clips() -> None:
    for wav in (torch.zeros(1, 2, 200_000), noise(1, 2, 1), noise(1, 2, 5_000)):
        starts, similarity = find_repetitions(wav, num_matches=3)
        assert starts.shape == similarity.shape == (1, 3, num_blocks(wav.shape[-1]))
        assert similarity.max() < 0.1 and (wav.any() or similarity.max() == 0)
        assert gather_repetitions(wav, starts).isfinite().all()


@pytest.mark.parametrize("num_samples", [1, HOP, HOP + 1, 30_000])
def test_gathering_every_block_at_its_own_place_gives_the_sound_itself(num_samples: int) -> None:
    wav = noise(2, 3, num_samples)
    starts = (torch.arange(num_blocks(num_samples)) * HOP - HOP).expand(2, 1, -1)
    assert torch.allclose(gather_repetitions(wav, starts)[:, 0], wav, atol=1e-6)
    moved = gather_repetitions(wav, (starts - 100).clamp(min=-BLOCK))[:, 0]
    assert torch.allclose(moved[..., HOP + 100 :], wav[..., HOP:-100], atol=1e-6)
