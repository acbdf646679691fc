"""Bins that are heard are corrected, each for itself, and what lies beyond `reach` does not matter."""

import pytest
import torch
from torch import Tensor

from upscale.errors import UserError
from upscale.models import SpectralFill
from upscale.models.spectral.log_magnitude import POWER_FLOOR
from upscale.models.spectral.repetition_level import BLOCK_FRAMES, RepetitionLevel, match_confidence

BINS, FRAMES, MATCHES = 32, 24, 3


def seen(num_frames: int = FRAMES) -> list[Tensor]:
    """The answer, the file, the passage, matches, differences, the level."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, BINS, num_frames)] * 3 + [(MATCHES, 2, BINS, num_frames)] * 2 + [(1, 1, num_frames)]
    return [torch.randn(1, *shape, generator=generator) - 4 for shape in shapes]


def trained(seed: int = 0) -> RepetitionLevel:
    generator = torch.Generator().manual_seed(seed)
    model = RepetitionLevel(MATCHES, width=8)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


@torch.no_grad()
def test_what_is_said_is_added_where_anything_is_heard() -> None:
    inputs = seen()
    answer, _, passage, matches = inputs[:4]
    passage[:, :, 16:], matches[:, :, :, 16:] = -10.0, -10.0
    model = RepetitionLevel(MATCHES, width=8)
    assert torch.equal(model(*inputs), answer), "untrained: what it is given"
    model.tail.bias.fill_(0.5)
    change = model(*inputs) - answer
    assert torch.allclose(change[:, :, :14], torch.tensor(0.5), atol=1e-5) and change[:, :, 21:].abs().max() == 0
    assert torch.allclose(change, 0.5 * match_confidence(passage, matches), atol=1e-6)
    matches[:, 2] = -3.0
    assert torch.allclose(model(*inputs) - answer, torch.tensor(0.5), atol=1e-5), "one match is enough"


@torch.no_grad()
def test_nothing_is_said_in_silence() -> None:
    inputs = [torch.full_like(part, -10.0) for part in seen()]
    assert torch.equal(trained()(*inputs), inputs[0])


@torch.no_grad()
@pytest.mark.parametrize("num_frames", [1, 5, BLOCK_FRAMES + 9, 2 * BLOCK_FRAMES + 100])
def test_block_by_block_it_says_what_it_says_of_the_whole(num_frames: int) -> None:
    inputs, model = seen(num_frames), trained()
    whole = model.block(slice(None), *inputs)
    assert torch.allclose(model(*inputs), whole, atol=1e-5) and (whole - inputs[0]).abs().mean() > 0.01


@torch.no_grad()
def test_a_chunk_from_a_whole_cell_on_sees_what_the_whole_sees() -> None:
    inputs, model = seen(200), trained()
    chunk = model(*[part[..., 64:] for part in inputs])
    assert torch.allclose(chunk[..., model.reach :], model(*inputs)[..., 64 + model.reach :], atol=1e-5)


@torch.no_grad()
def test_frames_that_are_not_asked_for_keep_their_answer() -> None:
    inputs, model = seen(2 * BLOCK_FRAMES), trained()
    whole, part = model(*inputs), model(*inputs, frames=slice(101, BLOCK_FRAMES + 150))
    inner = slice(96, BLOCK_FRAMES + 150)  # from the start of a cell of the grid
    assert torch.allclose(part[..., inner], whole[..., inner], atol=1e-5)
    part[..., inner] = inputs[0][..., inner]
    assert torch.equal(part, inputs[0])


@pytest.mark.parametrize("which", range(6))
def test_frames_beyond_its_reach_do_not_matter(which: int) -> None:
    model, inputs = trained(), seen(121)
    inputs[which].requires_grad_(True)
    model(*inputs)[..., 60].sum().backward()
    slope = inputs[which].grad
    assert slope is not None
    touched = slope.abs().flatten(0, -2).sum(dim=0).nonzero()[:, 0]
    assert 60 - model.reach <= touched.min() and touched.max() <= 60 + model.reach
    if which in (3, 4):
        assert slope.abs().amax(dim=(0, 2, 3, 4)).gt(0).all(), "every match is looked at"


@torch.no_grad()
def test_what_it_sees_is_measured_as_the_answer_is() -> None:
    tiny = {"num_bands": 16, "frame_width": 16, "level_width": 8, "num_level_blocks": 1, "level_frame_width": 16}
    model = SpectralFill(width=8, num_blocks=1, num_matches=2, repeat_levels=True, period=8192, **tiny)
    generator = torch.Generator().manual_seed(0)
    wav, matches = (0.1 * torch.randn(shape, generator=generator) for shape in ((1, 2, 9000), (1, 2, 2, 9000)))
    matches[:, 0] = wav
    given, passage, levels, differences, level = model.of_matches(*[model.stft.analyse(wav)] * 2, matches)
    assert torch.equal(given, passage) and torch.allclose(levels[:, 0], passage)
    assert torch.allclose(differences[:, 0], torch.tensor(POWER_FLOOR).log10()), "the same sound: no difference"
    assert torch.allclose(levels[:, 1], model.level.log_power(model.stft.analyse(matches[:, 1])))
    louder = model.of_matches(*[model.stft.analyse(10 * wav)] * 2, 10 * matches)
    assert torch.allclose(louder[-1], level + 2, atol=1e-3)
    above = levels > -6  # the floor stays where it is
    assert torch.allclose(louder[2][above], levels[above] + 2, atol=1e-3)


def test_levels_of_no_matches_are_refused() -> None:
    with pytest.raises(UserError, match="num_matches"):
        SpectralFill(width=8, num_blocks=1, repeat_levels=True)
