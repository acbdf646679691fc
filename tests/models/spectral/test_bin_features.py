"""Each feature says what its place in the list says, and is relative to the answer where it should be."""

import pytest
import torch
from torch import Tensor

from upscale.models.spectral.bin_features import (
    GRID_FRAMES,
    NEIGHBOURS,
    WIDEST,
    Places,
    bin_features,
    box_mean,
    num_features,
)

BINS, FRAMES, MATCHES = 64, 40, 3


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def seen() -> list[Tensor]:
    shapes = [(1, 2, BINS, FRAMES)] * 3 + [(1, MATCHES, 2, BINS, FRAMES)] * 2 + [(1, 1, 1, FRAMES)]
    return [noise(*shape, seed=seed) - 4 for seed, shape in enumerate(shapes)]


def of_all(inputs: list[Tensor]) -> Tensor:
    """[features, B, 2, F, N]."""
    return bin_features(torch.arange(inputs[0].numel()), *inputs).view(-1, *inputs[0].shape)


def everywhere(values: Tensor) -> Places:
    return Places(torch.arange(values.numel()), values)


def test_there_are_as_many_as_the_network_expects() -> None:
    assert of_all(seen()).shape == (num_features(MATCHES), 1, 2, BINS, FRAMES)


def test_neighbours_are_those_around() -> None:
    values = noise(3, 2, BINS, FRAMES)
    rows, columns = NEIGHBOURS
    parts = [part.view_as(values) for part in everywhere(values).neighbours(values)]
    assert len(parts) == rows * columns and torch.equal(parts[len(parts) // 2], values)
    assert torch.equal(parts[0][..., 2:, 1:], values[..., :-2, :-1]), "two bins lower, one frame before"
    assert torch.equal(parts[-1][..., :-2, :-1], values[..., 2:, 1:])
    assert torch.equal(parts[0][..., :2, 0], values[..., :1, 0].expand(-1, -1, 2)), "at the edge, the edge"


def test_features_of_some_bins_are_theirs_among_all() -> None:
    places = torch.tensor([5, 3, BINS * FRAMES + 7, 3])
    assert torch.equal(bin_features(places, *seen()), of_all(seen()).flatten(1)[:, places])


@pytest.mark.parametrize("size", [(9, 3), (1, 9), (17, 1)])
def test_a_box_mean_is_the_mean_of_what_there_is(size: tuple[int, int]) -> None:
    values = noise(2, 3, 20, 30)
    padded = torch.nn.functional.pad(values, (size[1] // 2,) * 2 + (size[0] // 2,) * 2, value=torch.nan)
    slow = padded.unfold(2, size[0], 1).unfold(3, size[1], 1).flatten(-2).nanmean(dim=-1)
    assert torch.allclose(box_mean(values, size), slow, atol=1e-5)


def test_a_wide_mean_is_that_of_the_cells_around() -> None:
    cell, cells = WIDEST
    values = noise(2, 2, 8 * cell[0], 12 * cell[1])
    means = everywhere(values).wide_mean(values, cell, cells).view_as(values)
    area = values[1, 1, cell[0] : 6 * cell[0], : 9 * cell[1]]  # around the cell (3, 4)
    inside = means[1, 1, 3 * cell[0] : 4 * cell[0], 4 * cell[1] : 5 * cell[1]]
    assert torch.allclose(inside, area.mean(), atol=1e-5)
    ones = torch.ones(1, 1, 33, 5)
    assert torch.allclose(everywhere(ones).wide_mean(ones, cell, cells), torch.tensor(1.0)), "cells that end early"
    assert cell[1] == GRID_FRAMES, "the grid is counted in cells of the widest mean"


def test_a_louder_song_looks_the_same_but_for_how_loud_it_is() -> None:
    changed = (of_all([part + 1 for part in seen()]) - of_all(seen())).flatten(1)
    moved = changed.abs().amax(dim=1) > 1e-4
    assert moved.nonzero()[:, 0].tolist() == [num_features(MATCHES) - 5, num_features(MATCHES) - 3]
    assert changed[-5].mean().item() == pytest.approx(0.4) and changed[-3].mean().item() == pytest.approx(0.5)


def test_the_nearest_match_is_the_one_that_differs_least() -> None:
    inputs = seen()
    inputs[4][:, 1] -= 10
    features = of_all(inputs)
    first = 3 * NEIGHBOURS[0] * NEIGHBOURS[1] - 1 + 9  # of the first match
    matches = [features[first + 5 * match] for match in range(MATCHES)]
    nearest, least, mean, loudest, quietest = features[first + 5 * MATCHES :][:5]
    assert torch.equal(nearest, matches[1]) and torch.equal(least, features[first + 5 + 3])
    assert torch.allclose(torch.stack(matches).mean(dim=0), mean, atol=1e-5)
    assert torch.allclose(torch.stack(matches).amax(dim=0), loudest, atol=1e-5)
    assert torch.allclose(torch.stack(matches).amin(dim=0), quietest, atol=1e-5)


def test_holes_are_bins_far_under_their_answer() -> None:
    inputs = seen()
    inputs[1] = inputs[0].clone()
    assert of_all(inputs)[-2:].abs().max() == 0
    inputs[1][:, :1] -= 2
    holes = of_all(inputs)[-2:]
    assert torch.allclose(holes[:, :, 0], torch.tensor(4.0)) and holes[:, :, 1].abs().max() == 0


def test_channels_are_treated_alike() -> None:
    swapped = of_all([part.flip(-3) if part.shape[-3] == 2 else part for part in seen()])
    assert torch.allclose(swapped.flip(2), of_all(seen()), atol=1e-6)
