"""A library restored by a Ray cluster: each file is a job, each worker process loads the model once."""

import os
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from upscale.ray_engine import run_on_ray
from upscale.restore.batch import BatchRestorer, Outcome
from upscale.restore.files import FileOptions
from upscale.restore.library import Job
from upscale.restore.restorer import Restorer


@dataclass(frozen=True)
class RayBatchRestorer:
    """The settings of `upscale.restore.batch.BatchRestorer`, as they are sent to the workers."""

    model: str | None
    device: str
    options: FileOptions
    force: bool = False
    overwrite: bool = False
    after: Callable[[Job], None] | None = None

    def restore(self, job: Job) -> Outcome:
        """Runs in the worker. Whatever is wrong with the file is in the outcome."""
        batch = BatchRestorer(
            _restorer(self.model, self.device), self.options, self.force, self.overwrite, after=self.after
        )
        (outcome,) = batch.run([job])
        return outcome

    def run(self, jobs: Sequence[Job], workers: int | None = None) -> Generator[Outcome, None, None]:
        """Outcomes as they come, from the cluster; the files lie where every machine sees them under one path."""
        model = os.path.abspath(self.model) if self.model and os.path.exists(self.model) else self.model
        remote = replace(self, model=model)
        named = {_absolute(job): job for job in jobs}  # a worker's current folder is not ours
        for job, outcome in run_on_ray(remote.restore, list(named), workers):
            yield replace(outcome, job=named[job])


def _absolute(job: Job) -> Job:
    clash = job.clash.absolute() if job.clash else None
    return replace(job, source=job.source.absolute(), target=job.target.absolute(), clash=clash)


@lru_cache(maxsize=1)
def _restorer(model: str | None, device: str) -> Restorer:
    return Restorer.load(model, device=device)
