"""settings.yaml beside results.csv: what was asked for, on which machine, with which versions."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import yaml
from omegaconf import DictConfig, OmegaConf

from upscale import atomic

PLACES = ("output", "json", "write_degraded", "redraw", "pictures", "picture_bitrate")
"""Options that change where results go, not what they are."""
PACKAGES = ("upscalemp3", "torch", "numpy", "av", "lameenc", "visqol-python")


def write_settings(config: DictConfig, seconds: float, path: Path) -> None:
    """`seconds`: how long measuring took."""
    values: Any = OmegaConf.to_container(config, resolve=False)
    options = {name: value for name, value in values.items() if name not in PLACES}
    document = {
        "options": options,
        "seconds": round(seconds, 3),
        "machine": {"processor": processor(), "cores": os.cpu_count(), "threads": torch.get_num_threads()} | gpu(),
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in PACKAGES if installed(name)},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(path, yaml.safe_dump(document, sort_keys=False, allow_unicode=True))


def processor() -> str:
    """The processor's name as Linux gives it; elsewhere its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def gpu() -> dict[str, str]:
    return {"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}


def installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True
