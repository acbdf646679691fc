"""A DataLoader that knows how far it came, so that an interrupted epoch goes on with its next batch."""

import os
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader

from upscale.datamodule.samplers import FixedSampler, TrainingSampler
from upscale.datamodule.workers import KilledWorker, death_handler, is_dying, prepare_worker, raise_on_worker_death
from upscale.errors import UserError

END = object()


class Clips(Protocol):
    """A data set whose items are whole batches, `num_per_epoch` clips an epoch where nothing else is said."""

    num_per_epoch: int

    def __len__(self) -> int: ...

    def __getitem__(self, draws: Any) -> Any: ...


class Loader(DataLoader):
    """Says in one line what went wrong in a worker, and only where a batch is asked for."""

    def batches(self) -> Iterator[Any]:
        """Raises `KilledWorker` when a worker is no more, and UserError where a worker did."""
        handler = death_handler()
        iterator = super().__iter__()
        workers = getattr(iterator, "_workers", [])
        while True:
            try:
                with raise_on_worker_death(workers, handler):
                    batch = next(iterator, END)
            except UserError as error:  # its text is the worker's traceback: the last line is the error's own
                line = str(error).strip().splitlines()[-1]
                raise UserError(line.removeprefix(f"{UserError.__module__}.{UserError.__name__}: ")) from error
            except KilledWorker:
                raise
            except Exception as error:  # a batch that breaks off in the middle breaks in many ways
                if not is_dying(workers):
                    raise
                raise KilledWorker from error
            if batch is END:
                return
            yield batch


class ResumableLoader(Loader):
    """Yields the batches of a `TrainingSampler`.

    Lightning saves `state_dict` within its checkpoints and gives it back before the first batch. The iterator is
    lazy: workers start at the first batch, when Lightning has told the sampler its epoch.
    """

    num_given = 0
    _resume: tuple[int, int] | None = None

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        sampler = self.sampler
        assert isinstance(sampler, TrainingSampler)
        epoch, batch = self._resume or (sampler.epoch, 0)
        self._resume = None
        sampler.first_batch = self.num_given = batch if epoch == sampler.epoch else 0
        for item in self.batches():
            self.num_given += 1
            yield item

    def state_dict(self) -> dict[str, int]:
        assert isinstance(self.sampler, TrainingSampler)
        return {"epoch": self.sampler.epoch, "num_batches": self.num_given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._resume = (state["epoch"], state["num_batches"])


class FixedLoader(Loader):
    """The same batches in every epoch."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        yield from self.batches()


def training_loader(
    clips: Clips, batch_size: int, num_batches: int | None, num_workers: int, seed: int, trainer: Trainer | None
) -> ResumableLoader:
    """Shuffled batches for this rank; without `num_batches` an epoch is as long as what is stored."""
    rank, num_ranks = _rank(trainer)
    num_batches = num_batches or max(1, clips.num_per_epoch // (batch_size * num_ranks))
    sampler = TrainingSampler(len(clips), batch_size, num_batches, rank, num_ranks, seed)
    return ResumableLoader(
        clips,  # type: ignore[arg-type]
        sampler=sampler,
        **_options(num_workers),
    )


def fixed_loader(
    clips: Clips, batch_size: int, num_batches: int | None, num_workers: int, seed: int, trainer: Trainer | None
) -> FixedLoader:
    """Every clip once over all ranks, or the first of them that fill `num_batches` batches a rank."""
    rank, num_ranks = _rank(trainer)
    most = (num_batches or len(clips)) * batch_size * num_ranks
    sampler = FixedSampler(len(clips), min(most, len(clips)), batch_size, rank, num_ranks, seed)
    return FixedLoader(
        clips,  # type: ignore[arg-type]
        sampler=sampler,
        **_options(num_workers),
    )


def _options(num_workers: int) -> dict[str, Any]:
    return {
        "batch_size": None,  # an item of the clips is a batch already
        "num_workers": num_workers,
        "persistent_workers": num_workers > 0,
        "pin_memory": torch.cuda.is_available(),
        "worker_init_fn": prepare_worker,
    }


def _rank(trainer: Trainer | None) -> tuple[int, int]:
    """This process's rank and the number of ranks: the trainer's, or those of the launcher's environment."""
    if trainer is not None:
        return trainer.global_rank, trainer.world_size
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
