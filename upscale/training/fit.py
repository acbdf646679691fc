"""From a composed config to a trained model: the one place where a training run is put together.

`train.py`, the demo and sweeps all call `fit`. Hydra builds every part from its `_target_`; below this file, parts are
handed plain arguments.
"""

import errno
import json
import logging
import shlex
import sys
import threading
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from lightning.pytorch import Callback, LightningDataModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint, WeightAveraging
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException
from omegaconf import DictConfig, OmegaConf

from upscale import atomic
from upscale.datamodule.workers import KilledWorker
from upscale.errors import UserError
from upscale.training.checkpoints import AtomicCheckpointIO
from upscale.training.cuda_graph import CudaGraph
from upscale.training.freezing import freeze
from upscale.training.initial_weights import known_checkpoints, load_weights
from upscale.training.interrupt import GracefulInterrupt, requeue, slurm_job
from upscale.training.module import RestorationModule
from upscale.training.scores import HyperParameters

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
INTERRUPTED = 130  # the shell's exit status after Ctrl-C
HYPER_PARAMETERS = ("model", "loss", "optimizer", "scheduler", "codec", "data", "seed")


def fit(config: DictConfig) -> float | None:
    """Train what `config` describes and return the best value of `config.monitor` (None before any validation).

    Leaves `config.yaml`, `command.txt`, `checkpoints/{best,last}.ckpt`, `tensorboard/`, `result.json` in `output_dir`.
    """
    _quieten()
    output_dir = Path(config.output_dir)
    resume = _existing(config.resume)
    seed_everything(config.seed, workers=True, verbose=False)
    torch.set_float32_matmul_precision(config.matmul_precision)
    module = build_module(config)
    datamodule = build_datamodule(config, channels=int(module.net.channels))  # type: ignore[arg-type]
    if not resume:
        init = OmegaConf.to_container(config.init, resolve=True, throw_on_missing=True)
        for line in load_weights(module.net, ckpt=config.ckpt, init=init, model=_plain(config.model)):  # type: ignore[arg-type]
            _say(line)
    if config.compile:
        module.net.compile()
    trainer = build_trainer(config, purge_step=_global_step(resume))
    _write_config(config, output_dir / "config.yaml")
    if not resume:
        _write_command(output_dir / "command.txt")

    start = time.monotonic()
    go_on = f"go on with resume={output_dir}"
    threading.excepthook = _without_full_disks
    try:
        trainer.fit(module, datamodule=datamodule, ckpt_path=resume, weights_only=True)
    except SIGTERMException:
        _say(f"interrupted at step {trainer.global_step}; go on with: python train.py resume={output_dir}")
        _requeue_if_asked(trainer)
        sys.exit(INTERRUPTED)
    except OSError as error:  # from TensorBoard's writer; checkpoints say so themselves
        if error.errno not in DISK_FULL:
            raise
        raise UserError(f"{output_dir} cannot be written ({error.strerror}): make room, then {go_on}") from error
    except KilledWorker as error:
        raise UserError(
            "a data worker was killed, perhaps for want of memory: go on with fewer of them, "
            f"python train.py resume={output_dir} data.num_workers={max(0, datamodule.num_workers // 2)}"  # type: ignore[attr-defined]
        ) from error
    return _write_result(trainer, output_dir / "result.json", seconds=time.monotonic() - start)


def build_module(config: DictConfig) -> RestorationModule:
    """The LightningModule, its frozen parts frozen, with the description of its network that restoring needs."""
    arguments: dict[str, Any] = _plain(config.model)
    description = {
        "class": arguments.pop("_target_"),
        "arguments": arguments,
        "bitrates": list(_plain(config.codec).get("bitrates", [])),
    }
    net = instantiate(config.model, _convert_="all")
    freeze(net, freeze=_plain(config.freeze), train_only=_plain(config.train_only))
    return RestorationModule(
        net=net,
        loss=instantiate(config.loss, _convert_="all"),
        optimizer=instantiate(config.optimizer, _convert_="all"),
        scheduler=instantiate(config.scheduler, _convert_="all"),
        task=instantiate(config.task, _convert_="all"),
        description=description,
    )


def build_datamodule(config: DictConfig, channels: int) -> LightningDataModule:
    """The data in as many `channels` as the network takes."""
    if config.data.channels not in (None, channels):
        raise UserError(f"the model takes {channels} channels: leave out data.channels={config.data.channels}")
    return instantiate(config.data, channels=channels, _convert_="all")


def build_trainer(config: DictConfig, purge_step: int = 0) -> Trainer:
    """The Trainer with its callbacks and loggers; TensorBoard drops what its folder has from `purge_step` on."""
    callbacks: list[Callback] = list(instantiate(config.callbacks, _convert_="all").values())
    if config.cuda_graph:
        callbacks.append(CudaGraph())
    callbacks.append(HyperParameters(parameters=_flat(config), monitor=config.monitor, mode=config.mode))
    # A checkpoint written after a step holds the average after that step.
    callbacks.sort(key=lambda callback: not isinstance(callback, WeightAveraging))
    loggers: list[Logger] = [
        instantiate(logger, purge_step=purge_step, _convert_="all") for logger in (config.logger or {}).values()
    ]
    return instantiate(
        config.trainer,
        callbacks=callbacks,
        logger=loggers,
        plugins=[AtomicCheckpointIO(), *_cluster()],
        default_root_dir=config.output_dir,
        _convert_="all",
    )


def _existing(resume: str | None) -> str | None:
    if resume and not Path(resume).is_file():
        raise UserError(f"no checkpoint to resume at {resume}{known_checkpoints()}")
    return resume


def _global_step(checkpoint: str | None) -> int:
    return torch.load(checkpoint, map_location="cpu", weights_only=True)["global_step"] if checkpoint else 0


def _cluster() -> list[SLURMEnvironment]:
    """In a SLURM job Lightning's environment, without its requeueing: see `upscale.training.interrupt`."""
    return [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else []


def _requeue_if_asked(trainer: Trainer) -> None:
    asked = any(isinstance(callback, GracefulInterrupt) and callback.requeue_asked for callback in trainer.callbacks)  # type: ignore[attr-defined]
    job = slurm_job()
    if asked and job is not None and trainer.is_global_zero:
        requeue(job)


def _plain(config: DictConfig) -> Any:
    return OmegaConf.to_container(config, resolve=True)


def _flat(config: DictConfig) -> dict[str, Any]:
    """The settings worth a column in TensorBoard, dotted, as numbers or text."""
    sections = {name: value for name, value in _plain(config).items() if name in HYPER_PARAMETERS}

    def flatten(value: Any, prefix: str) -> dict[str, Any]:
        if isinstance(value, Mapping):
            parts = [flatten(item, f"{prefix}.{key}" if prefix else str(key)) for key, item in value.items()]
            return {key: item for part in parts for key, item in part.items()}
        return {prefix: value if isinstance(value, bool | int | float | str) else str(value)}

    return flatten(sections, "")


def _quieten() -> None:
    """Keep Lightning's advertisements and the notices about its own insides away from the run's progress."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
    warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")  # frozen parts are


def _without_full_disks(thread: threading.ExceptHookArgs) -> None:
    """TensorBoard's thread prints what the run itself reports in one line."""
    if not (isinstance(thread.exc_value, OSError) and thread.exc_value.errno in DISK_FULL):
        threading.__excepthook__(thread)


@rank_zero_only
def _say(line: str) -> None:
    print(line, file=sys.stderr)


@rank_zero_only
def _write_config(config: DictConfig, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(path, OmegaConf.to_yaml(config, resolve=True))


@rank_zero_only
def _write_command(path: Path) -> None:
    """The command line that started the run, where Hydra knows it: a resumed run keeps its first."""
    if HydraConfig.initialized():
        atomic.write_text(path, shlex.join(["python", "train.py", *HydraConfig.get().overrides.task]) + "\n")


def _write_result(trainer: Trainer, path: Path, seconds: float) -> float | None:
    """`result.json`: what a sweep's summary or a person reads first."""
    checkpoint = trainer.checkpoint_callback
    assert isinstance(checkpoint, ModelCheckpoint)
    best = checkpoint.best_model_score
    result = {
        "monitor": checkpoint.monitor,
        "best": None if best is None else best.item(),
        "best_checkpoint": checkpoint.best_model_path or None,
        "epochs": trainer.current_epoch,
        "steps": trainer.global_step,
        "seconds": round(seconds, 1),
        "best_metrics": _best_metrics(trainer),
        "metrics": {name: value.item() for name, value in sorted(trainer.callback_metrics.items())},
    }
    if trainer.is_global_zero:
        atomic.write_text(path, json.dumps(result, indent=2) + "\n")
        if best is not None:
            print(f"best {checkpoint.monitor} {best.item():.4g}: {checkpoint.best_model_path}")
    return None if best is None else best.item()


def _best_metrics(trainer: Trainer) -> dict[str, float]:
    """What the best validation measured: the figures that a sweep compares."""
    return next(callback.best_metrics for callback in trainer.callbacks if isinstance(callback, HyperParameters))  # type: ignore[attr-defined]
