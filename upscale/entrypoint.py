"""What every Hydra entry point shares: a user's mistake ends in one line on stderr and exit status 1.

    @hydra.main(version_base="1.3", config_path="conf", config_name="train")
    @user_errors
    def main(config: DictConfig) -> float | None:
        return fit(config)

    if __name__ == "__main__":
        run(main)

`user_errors` stands inside Hydra, so that Hydra's own "Error executing job" does not come first; `run` stands outside,
where mistakes on the command line surface before any job starts.
"""

import difflib
import functools
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from hydra.core.hydra_config import HydraConfig
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from upscale.errors import UserError


def run(main: Callable[[], object]) -> None:
    """Call an entry point: a mistake prints `error: ...` and exits 1, Ctrl-C exits 130, a bug keeps its traceback."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises to us instead of printing its own report
    try:
        main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except Exception as error:
        line = error_line(error)
        if line is None:
            raise
        _exit(line)


def user_errors(task: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """Print a task's mistake as one line and exit 1; in a sweep it goes on to Hydra, which ends only that job."""

    @functools.wraps(task)
    def wrapper(config: DictConfig) -> Any:
        try:
            return task(config)
        except Exception as error:
            line = error_line(error)
            if line is None or _in_sweep():
                raise
            _exit(line)

    return wrapper


def error_line(error: BaseException) -> str | None:
    """The one line that a user needs, or None where the error is a bug of ours."""
    for cause in _causes(error):
        if isinstance(cause, UserError):
            return _one_line(str(cause))
    if isinstance(error, InstantiationException):
        return _instantiation_line(error)
    if isinstance(error, MissingConfigException):
        return _missing_config_line(error)
    if isinstance(error, OverrideParseException):
        return _parse_line(error.override)
    if isinstance(error, ConfigCompositionException):
        return _composition_line(error)
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key} has no value: add {error.full_key}=... to the command line"
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _one_line(str(error))
    return None


def _exit(line: str) -> NoReturn:
    print(f"error: {line}", file=sys.stderr)
    sys.exit(1)


def _in_sweep() -> bool:
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _instantiation_line(error: InstantiationException) -> str | None:
    """Wrong names in a config are the user's; anything else raised while building an object is a bug."""
    root = list(_causes(error))[-1]
    full_key = re.search(r"full_key: (\S+)", str(error))
    where = f"{full_key.group(1)}: " if full_key else ""
    if isinstance(root, TypeError | ImportError | InstantiationException | OmegaConfBaseException):
        return where + _one_line(str(root).split("full_key:")[0])
    return None


def _missing_config_line(error: MissingConfigException) -> str:
    group, _, option = (error.missing_cfg_file or "").rpartition("/")
    if not group:
        return f"no config {option!r} here"
    options = ", ".join(error.options or [])
    return f"{group}={option} does not exist{_nearest(option, error.options or [])}; choose {group}= from: {options}"


def _parse_line(override: str) -> str:
    if "=" not in override:
        return f"cannot read {override!r}: write KEY=VALUE"
    return f"cannot read {override!r}: quote what Hydra reserves, {_quoted(override)}"


def _composition_line(error: ConfigCompositionException) -> str:
    """Name the key that does not exist and the nearest one that does."""
    text, cause = str(error), error.__cause__
    ambiguous = re.search(r"Ambiguous value for argument '(.*)'", text)
    if ambiguous:
        return f"{ambiguous[1]} reads as a list: type {_quoted(ambiguous[1])}, or add --multirun to sweep over it"
    unknown = re.search(r"Could not override '([^']+)'\.\s+To append to your config use \+[^=]*=?(.*)", text, re.DOTALL)
    if unknown and isinstance(cause, ConfigAttributeError | ConfigKeyError) and cause.parent_node is not None:
        keys = list(_dotted_keys(cause.parent_node._get_root()))
        key, value = unknown.groups()
        return f"unknown key {key!r}{_nearest(key, keys, suffix=f'={value}')} (--cfg job lists every key)"
    return _one_line(f"{text} {cause or ''}")


def _dotted_keys(config: Any, prefix: str = "") -> Iterator[str]:
    for key in config:
        yield f"{prefix}{key}"
        if OmegaConf.is_missing(config, key) or OmegaConf.is_interpolation(config, key):
            continue
        if isinstance(config[key], DictConfig):
            yield from _dotted_keys(config[key], prefix=f"{prefix}{key}.")


def _nearest(name: str, candidates: Sequence[str], suffix: str = "") -> str:
    """`: did you mean x?`, looking at the whole dotted key first and then at its last part."""
    close = difflib.get_close_matches(name, candidates, n=1, cutoff=0.6)
    if not close:
        close = [key for key in candidates if key.rpartition(".")[2] == name.rpartition(".")[2]]
    return f": did you mean {close[0]}{suffix}?" if close else ""


def _quoted(override: str) -> str:
    """The override as a shell word whose value Hydra takes literally."""
    key, _, value = override.partition("=")
    value = value.replace("\\", "\\\\").replace('"', '\\"')
    return shlex.quote(f'{key}="{value}"')
