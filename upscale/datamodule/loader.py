"""A DataLoader that knows how far it came, so that an interrupted epoch goes on with its next batch."""

from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader

from upscale.datamodule.order import TrainingOrder
from upscale.datamodule.workers import KilledWorker, death_handler, is_dying, watched
from upscale.errors import UserError

END = object()


class Loader(DataLoader):
    """Says in one line what went wrong in a worker, and only where a batch is asked for."""

    def batches(self) -> Iterator[Any]:
        """Raises `KilledWorker` when a worker is no more, and UserError where a worker did."""
        handler = death_handler()
        iterator = super().__iter__()
        workers = getattr(iterator, "_workers", [])
        while True:
            try:
                with watched(workers, handler):
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
    """Yields the batches of a `TrainingOrder`.

    Lightning saves `state_dict` within its checkpoints and gives it back before the first batch. The iterator is
    lazy: workers start at the first batch, when Lightning has told the sampler its epoch.
    """

    num_given = 0
    _resume: tuple[int, int] | None = None

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        sampler = self.sampler
        assert isinstance(sampler, TrainingOrder)
        epoch, batch = self._resume or (sampler.epoch, 0)
        self._resume = None
        sampler.first_batch = self.num_given = batch if epoch == sampler.epoch else 0
        for item in self.batches():
            self.num_given += 1
            yield item

    def state_dict(self) -> dict[str, int]:
        assert isinstance(self.sampler, TrainingOrder)
        return {"epoch": self.sampler.epoch, "num_batches": self.num_given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._resume = (state["epoch"], state["num_batches"])


class FixedLoader(Loader):
    """The same batches in every epoch."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        yield from self.batches()
