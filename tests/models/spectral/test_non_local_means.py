"""Answers averaged over frames that are alike."""

import pytest
import torch

from upscale.models.spectral.non_local_means import ALIKE, BAND, BLOCK, non_local_means

FLOOR = -10.0
NOTHING = torch.tensor(FLOOR)  # log10 power of an empty file


def answer(num_frames: int, seed: int = 0, spread: float = 0.05) -> torch.Tensor:
    """Two notes in turn, three frames each, of two channels and 64 bins, with an error in every bin and frame."""
    generator = torch.Generator().manual_seed(seed)
    notes = -5 + 4 * torch.rand(2, 1, 2, 64 // BAND, 1, generator=generator).repeat_interleave(BAND, dim=3)
    turn = (torch.arange(num_frames) // 3) % 2
    return torch.where(turn == 0, *notes) + spread * torch.randn(1, 2, 64, num_frames, generator=generator)


def test_what_is_said_of_the_same_note_again_and_again_is_averaged() -> None:
    told, truth = answer(120), answer(120, spread=0)
    found = non_local_means(told, NOTHING.expand_as(told), FLOOR, reach=120)
    before, after = ((part - truth).square().mean().sqrt() for part in (told, found))
    # Twenty of each note whose neighbours are the same: the error of a mean of twenty.
    assert before == pytest.approx(0.05, rel=0.05) and after < 1.2 * before / 20**0.5


def test_a_frame_that_is_like_no_other_keeps_its_answer() -> None:
    told = answer(60, spread=0)
    told[..., 30] += 2
    found = non_local_means(told, NOTHING.expand_as(told), FLOOR, reach=60)
    assert torch.allclose(found[..., 29:32], told[..., 29:32], atol=1e-3)


def test_bands_of_which_the_file_has_something_stay() -> None:
    told = answer(90)
    given = NOTHING.expand_as(told).clone()
    given[:, :, :BAND] = told[:, :, :BAND] - 0.9
    given[:, :, 2 * BAND, ::2] = told[:, :, 2 * BAND, ::2]  # one bin in every other frame: next to nothing
    found = non_local_means(told, given, FLOOR, reach=90)
    assert torch.equal(found[:, :, :BAND], told[:, :, :BAND])
    assert not torch.isclose(found[:, :, BAND:], told[:, :, BAND:], atol=1e-3).all(dim=-1).any()
    given[:, :, BAND:] = told[:, :, BAND:]
    assert torch.equal(non_local_means(told, given, FLOOR, reach=90), told)


def test_a_band_that_falls_silent_for_long_is_averaged_from_then_on() -> None:
    told = answer(200)
    given = NOTHING.expand_as(told).clone()
    given[..., :100] = told[..., :100]
    found = non_local_means(told, given, FLOOR, reach=10)
    changed = (found != told).any(dim=2)[0, 0]
    assert not changed[:100].any() and changed[110:].all()


@pytest.mark.parametrize("reach", [0, 5, 300])
def test_it_is_the_sum_that_its_description_says(reach: int) -> None:
    num_frames = BLOCK + 40
    told = answer(num_frames, spread=0.2)
    bands = torch.stack([told[0, :, low : low + BAND].mean(dim=1) for low in range(0, 64, BAND)])  # [4, 2, N]
    found = non_local_means(told, NOTHING.expand_as(told), FLOOR, reach)

    def band(frame: int) -> torch.Tensor:
        return bands[..., min(max(frame, 0), num_frames - 1)]

    for frame in (0, 7, BLOCK - 1, BLOCK, num_frames - 1):
        total, weights = torch.zeros(2, 64), 0.0
        for other in range(max(frame - reach, 0), min(frame + reach + 1, num_frames)):
            unlike = [(band(frame + step) - band(other + step)).square().mean() for step in (-1, 0, 1)]
            weight = torch.exp(-torch.stack(unlike).mean() / (2 * ALIKE**2))
            total, weights = total + weight * told[0, ..., other], weights + weight
        assert torch.allclose(found[0, ..., frame], total / weights, atol=2e-4)


def test_clips_of_a_batch_do_not_hear_each_other() -> None:
    clips = [answer(40, seed) for seed in range(2)]
    together = non_local_means(torch.cat(clips), NOTHING.expand(2, 2, 64, 40), FLOOR, reach=40)
    alone = torch.cat([non_local_means(clip, NOTHING.expand_as(clip), FLOOR, reach=40) for clip in clips])
    assert torch.allclose(together, alone, atol=1e-5)
