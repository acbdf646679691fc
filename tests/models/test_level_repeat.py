"""Levels of matches are mixed as told where anything is heard, and what lies beyond `reach` does not matter."""

import pytest
import torch
from torch import Tensor

from upscale.errors import UserError
from upscale.models import SpectralFill
from upscale.models.level_repeat import LevelRepeat
from upscale.models.spectral_level import POWER_FLOOR

BINS, FRAMES, MATCHES = 32, 24, 3


def seen(seed: int = 0) -> list[Tensor]:
    """The answer, the file, the passage, matches, differences, the level."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(2, BINS, FRAMES)] * 3 + [(MATCHES, 2, BINS, FRAMES)] * 2 + [(1, 1, FRAMES)]
    return [torch.randn(1, *shape, generator=generator) - 4 for shape in shapes]


def with_shares(*shares: float) -> LevelRepeat:
    """One that gives the passage and each match that log share everywhere, beside the answer's 0."""
    model = LevelRepeat(MATCHES, BINS, width=8)
    with torch.no_grad():
        model.tail.weight.zero_()
        model.tail.bias.view(2 + MATCHES, 2, model.fold)[1:] = torch.tensor(shares)[:, None, None]
    return model


@torch.no_grad()
def test_levels_are_mixed_by_their_shares() -> None:
    inputs = seen()
    answer, passage, matches = inputs[0], inputs[2], inputs[3]
    nothing = with_shares(*[-30.0] * 4)(*inputs)
    assert torch.allclose(nothing, answer, atol=1e-6)
    second = with_shares(-30, -30, 30, -30)(*inputs)
    assert torch.allclose(second, matches[:, 1], atol=1e-5)
    all_alike = with_shares(0, 0, 0, 0)(*inputs)
    assert torch.allclose(all_alike, torch.stack([answer, passage, *matches.unbind(1)]).mean(dim=0), atol=1e-5)


@torch.no_grad()
def test_where_nothing_is_heard_the_answer_stays() -> None:
    inputs = seen()
    answer, _, passage, matches = inputs[:4]
    passage[:, :, 16:], matches[:, :, :, 16:] = -10.0, -10.0
    model = with_shares(0, 0, 0, 0)
    change = (model(*inputs) - answer).abs()
    assert change[:, :, :14].gt(0).all() and change[:, :, 21:].max() == 0
    matches[:, 2] = -3.0
    assert (model(*inputs) - answer).abs().gt(0).all(), "one match is enough"


def test_the_untrained_network_is_nearly_silent_about_it() -> None:
    torch.manual_seed(0)
    inputs = seen()
    with torch.no_grad():
        change = LevelRepeat(MATCHES, BINS, width=8)(*inputs) - inputs[0]
    assert 0 < change.square().mean() < 0.05


@pytest.mark.parametrize("which", range(6))
def test_frames_beyond_its_reach_do_not_matter(which: int) -> None:
    torch.manual_seed(0)
    model = LevelRepeat(MATCHES, BINS, width=8)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    inputs = seen()
    inputs[which].requires_grad_(True)
    model(*inputs)[..., 12].sum().backward()
    slope = inputs[which].grad
    assert slope is not None
    touched = slope.abs().flatten(0, -2).sum(dim=0).nonzero()[:, 0]
    assert 12 - model.reach <= touched.min() and touched.max() <= 12 + model.reach
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
