"""Which clip when: every one equally often, never twice at once, the same again after an interruption."""

from collections import Counter

import pytest

from upscale.datamodule.samplers import FixedSampler, TrainingSampler


def training(rank=0, num_ranks=1, num_clips=1000, batch_size=4, num_batches=12, seed=0) -> TrainingSampler:
    return TrainingSampler(num_clips, batch_size, num_batches, rank, num_ranks, seed)


def test_ranks_and_workers_of_a_4x4_job_see_different_clips():
    """A DataLoader hands batch i to worker i % 4."""
    seen = [
        {clip for batch in list(training(rank, 4))[worker::4] for clip, _, _ in batch}
        for rank in range(4)
        for worker in range(4)
    ]
    assert [len(clips) for clips in seen] == [12] * 16
    assert len(set.union(*seen)) == 16 * 12


def test_every_clip_is_heard_equally_often_over_the_epochs():
    counts: Counter[int] = Counter()
    for rank in range(3):
        order = training(rank, 3, num_clips=50, batch_size=5, num_batches=4)
        for epoch in range(10):
            order.set_epoch(epoch)
            counts.update(clip for batch in order for clip, _, _ in batch)
    assert set(counts.values()) == {3 * 10 * 20 // 50}


def test_epochs_differ_and_an_epoch_repeats_itself():
    order = training()
    epochs = []
    for epoch in (0, 1, 0):
        order.set_epoch(epoch)
        epochs.append(list(order))
    assert epochs[0] == epochs[2] != epochs[1]
    assert list(training(seed=1)) != epochs[0]


def test_a_clip_that_comes_twice_in_an_epoch_is_another_draw():
    draws = [draw for batch in training(num_clips=5) for draw in batch]
    assert len(set(draws)) == len(draws)


@pytest.mark.parametrize("num_clips", [1, 3, 7, 16, 17, 100])
@pytest.mark.parametrize("num_ranks", [1, 2, 4])
@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_validation_clips_come_once_in_equally_many_batches(num_clips, num_ranks, batch_size):
    ranks = [list(FixedSampler(num_clips, num_clips, batch_size, rank, num_ranks, seed=0)) for rank in range(num_ranks)]
    assert len({len(batches) for batches in ranks}) == 1
    assert all(1 <= len(batch) <= batch_size for batches in ranks for batch in batches)
    clips = Counter(clip for batches in ranks for batch in batches for clip, _, _ in batch)
    assert set(clips) == set(range(num_clips))
    if num_clips % num_ranks == 0 or (batch_size > 1 and num_clips >= num_ranks):
        assert set(clips.values()) == {1}


def test_validation_is_the_same_in_every_epoch():
    order = FixedSampler(20, 20, 4, rank=1, num_ranks=2, seed=0)
    first = list(order)
    order.set_epoch(5)
    assert list(order) == first


def test_a_limited_validation_takes_the_first_clips_of_the_order():
    limited = [clip for batch in FixedSampler(100, 8, 4, 0, 1, seed=0) for clip, _, _ in batch]
    whole = [clip for batch in FixedSampler(100, 100, 4, 0, 1, seed=0) for clip, _, _ in batch]
    assert limited == whole[:8]
