"""Independent jobs on a Ray cluster: one started on this machine, or the one that RAY_ADDRESS names.

Files are named, not sent: every machine must see the same folders under the same paths. A job whose worker is killed
is done again elsewhere, so a job must write its result whole or not at all.
"""

import importlib.util
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from upscale.errors import UserError

if TYPE_CHECKING:
    from ray import ObjectRef

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_RETRIES = 3  # of a job whose worker dies
WAITING = 2  # jobs handed to Ray for each one that runs: enough to keep workers busy, few to abandon on Ctrl-C


def run_on_ray(
    work: Callable[[Item], Result], items: Sequence[Item], workers: int | None = None
) -> Iterator[tuple[Item, Result]]:
    """(item, `work(item)`) as they finish; `workers`: cores of a cluster that is started here and ended afterwards.

    Errors of `work` are raised as they are. Raises UserError where Ray is not installed or a job kills its workers.
    """
    if importlib.util.find_spec("ray") is None:
        raise UserError("engine=ray needs Ray: pip install 'upscalemp3[ray]'")
    import ray

    started = not ray.is_initialized()
    if started:
        _connect(workers)
    try:
        yield from _results(work, items)
    finally:
        if started:
            ray.shutdown()


def _connect(workers: int | None) -> None:
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "include_dashboard": False}
    address = os.environ.get("RAY_ADDRESS")
    try:
        if address:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        else:
            ray.init(num_cpus=workers, **quiet)
    except (ConnectionError, RuntimeError) as error:
        raise UserError(f"no Ray cluster answers at {address or 'this machine'}: {error}") from error


def _results(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[tuple[Item, Result]]:
    import ray
    from ray.exceptions import RayTaskError, WorkerCrashedError

    def call(item: Item) -> Result:  # Ray takes functions only
        return work(item)

    task = ray.remote(max_retries=MAX_RETRIES, num_cpus=1)(call)
    shared_limit = max(1, int(ray.cluster_resources().get("CPU", 1))) * WAITING
    rest = iter(items)
    running: dict[ObjectRef[Any], Item] = {}
    while True:
        for item in rest:
            running[task.remote(item)] = item
            if len(running) >= shared_limit:
                break
        if not running:
            return
        (done, *_), _ = ray.wait(list(running), num_returns=1)
        item = running.pop(done)
        try:
            result = ray.get(done)
        except WorkerCrashedError as error:
            raise UserError(
                f"a job killed its worker {MAX_RETRIES + 1} times, perhaps for want of memory: {item}"[:300]
            ) from error
        except RayTaskError as error:
            raise error.cause if isinstance(error.cause, UserError) else error from None
        yield item, result
