"""Which clips make up which batch: arithmetic on positions, the same on every machine and after every interruption."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from torch.utils.data import DistributedSampler

from upscale.seeds import derive_seed

Draw = tuple[int, int, int]  # (clip number, epoch, visit): which clip, and the seeds of its crop and its codec


@lru_cache(maxsize=4)
def _permutation(num_clips: int, seed: int, visit: int) -> np.ndarray:
    return np.random.default_rng(derive_seed(seed, "order", visit)).permutation(num_clips)


class TrainingSampler(DistributedSampler):
    """An endless sequence of shuffles, dealt out to ranks in whole batches; item = the draws of one batch.

    Position p of the sequence is clip `p % N` of shuffle `p // N`: every clip is heard equally often, and within a
    shuffle no two ranks or workers get the same clip. An epoch is the next `num_batches * batch_size * num_ranks`
    positions. A DistributedSampler by type alone, so that Lightning leaves it in place and calls `set_epoch`.
    """

    def __init__(self, num_clips: int, batch_size: int, num_batches: int, rank: int, num_ranks: int, seed: int) -> None:
        self.num_clips, self.batch_size, self.num_batches = num_clips, batch_size, num_batches
        self.rank, self.num_replicas, self.seed = rank, num_ranks, seed
        self.epoch = 0
        self.first_batch = 0  # of the next iteration: where an interrupted epoch goes on

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[list[Draw]]:
        first, self.first_batch = self.first_batch, 0
        for batch in range(first, self.num_batches):
            yield self.batch(self.epoch, batch)

    def batch(self, epoch: int, batch: int) -> list[Draw]:
        """The draws of this rank's batch number `batch` of `epoch`."""
        number = (epoch * self.num_batches + batch) * self.num_replicas + self.rank
        draws = []
        for position in range(number * self.batch_size, (number + 1) * self.batch_size):
            visit, place = divmod(position, self.num_clips)
            clip = int(_permutation(self.num_clips, self.seed, visit)[place])
            draws.append((clip, epoch, visit))
        return draws


class FixedSampler(DistributedSampler):
    """Every clip exactly once over all ranks, the same in every epoch, in equally many batches on each rank.

    `num_used` takes the first clips of the order alone. Shares differ by one clip at most, and so do batches. Only
    where a rank has fewer clips than others have batches does it repeat its last one: ranks meet after every batch.
    """

    def __init__(self, num_clips: int, num_used: int, batch_size: int, rank: int, num_ranks: int, seed: int) -> None:
        self.rank, self.num_replicas, self.epoch = rank, num_ranks, 0
        self.order = np.random.default_rng(derive_seed(seed, "fixed order")).permutation(num_clips)[:num_used]
        largest_share = -(-num_used // num_ranks)
        self.num_batches = -(-largest_share // batch_size)
        self.places = np.arange(num_used)[rank::num_ranks]
        while len(self.places) < self.num_batches:
            self.places = np.append(self.places, self.places[-1] if len(self.places) else num_used - 1)

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[list[Draw]]:
        """`visit` is the clip's place in the order: bitrates cycle over it."""
        for places in np.array_split(self.places, self.num_batches):
            yield [(int(self.order[place]), 0, int(place)) for place in places]
