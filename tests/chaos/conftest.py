"""Faults on purpose. Every test here is slow; `CHAOS=full` (as in `make chaos`) injects all of them, else a sample.

`fault(kind, survived)` counts; the counts stand at the end of the run.
"""

import json
import multiprocessing
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from upscale.shards.prepare import prepare

FULL = os.environ.get("CHAOS") == "full"
TINY = [
    "experiment=debug",
    "model=spectral_gain",
    "model.width=4",
    "model.num_blocks=1",
    "model.window_size=512",
    "data.clip_seconds=0.1",
    "data.margin_seconds=0.05",
    "codec.bitrates=[64,128]",
    "optimizer.lr=0.01",
    "~callbacks.audio_logging",
    "callbacks.early_stopping.patience=1000",
    "trainer.enable_model_summary=false",
]
Fault = Callable[..., None]


@pytest.hookimpl(tryfirst=True)  # before `-m slow` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def full() -> bool:
    return FULL


@pytest.fixture
def fault(request: pytest.FixtureRequest) -> Fault:
    """`fault(kind, injected=1, lost=0)`: a count for the table at the end; what is not lost has survived."""

    def count(kind: str, injected: int = 1, lost: int = 0) -> None:
        request.node.user_properties.append(("fault", (kind, injected, lost)))

    return count


def pytest_terminal_summary(terminalreporter: Any) -> None:
    injected: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            for name, value in getattr(report, "user_properties", []):
                if name == "fault":
                    injected[value[0]] += value[1]
                    lost[value[0]] += value[2]
    if not injected:
        return
    width = max(map(len, injected))
    terminalreporter.section("faults")
    rows = [*((kind, injected[kind], lost[kind]) for kind in sorted(injected))]
    rows.append(("all", sum(injected.values()), sum(lost.values())))
    terminalreporter.line(f"{'':{width}} {'injected':>9} {'survived':>9} {'lost':>6}")
    for kind, number, gone in rows:
        terminalreporter.line(f"{kind:{width}} {number:>9} {number - gone:>9} {gone:>6}")


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """28 clips to train on, 12 to validate with, half a second each, in shards of seven."""
    out = tmp_path_factory.mktemp("data") / "shards"
    prepare(
        out,
        num_demo_songs=5,
        demo_seconds=4.0,
        segment_seconds=0.5,
        min_seconds=0.5,
        clips_per_shard=7,
        val_share=0.3,
        test_share=0.0,
        seed=3,
        workers=1,
    )
    return out


def warm_processes() -> ForkServerContext:
    """Children of one process that has imported everything: they start in milliseconds, and die alone."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["chaos_child", "hostile_child"])
    path = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)  # Python 3.11 does not hand its own path on
    forkserver.ensure_running()
    os.environ.pop("PYTHONPATH")
    if path is not None:
        os.environ["PYTHONPATH"] = path
    return context


@dataclass
class Run:
    """One training run in its folder, started, struck and resumed from outside, as on a command line."""

    folder: Path
    overrides: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    disk: Path | None = None  # where the run's own folder is, if not in `folder`
    process: ForkServerProcess | None = None

    @property
    def output(self) -> Path:
        return self.disk or self.folder / "run"

    def start(self, *more: str) -> "Run":
        return self._launch([*self.overrides, f"hydra.run.dir={self.output}", *more])

    def resume(self, *more: str) -> "Run":
        """`python train.py resume=RUN`, or the first start where it was killed before Hydra made the folder."""
        if not (self.output / ".hydra" / "overrides.yaml").exists():
            return self.start(*more)
        return self._launch([f"resume={self.output}", *more])

    def _launch(self, arguments: list[str]) -> "Run":
        context = warm_processes()
        import chaos_child

        self.folder.mkdir(parents=True, exist_ok=True)
        self.process = context.Process(
            target=chaos_child.command_line, args=(arguments, str(self.folder), self.environment)
        )
        self.process.start()
        return self

    def wait(self, seconds: float = 120) -> int:
        """The exit status."""
        assert self.process is not None
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.process.kill()
            raise AssertionError(f"hangs: {self.log()[-2000:]}")
        return self.process.exitcode

    def wait_for(self, ready: Callable[[], bool], seconds: float = 120) -> bool:
        """Until `ready()`; False when the run ended before."""
        assert self.process is not None
        deadline = time.monotonic() + seconds
        while not ready():
            if self.process.exitcode is not None:
                return ready()
            assert time.monotonic() < deadline, f"hangs: {self.log()[-2000:]}"
            time.sleep(0.002)
        return True

    def strike(self, number: signal.Signals) -> int:
        """Send a signal and wait for the end; the exit status."""
        assert self.process is not None and self.process.pid is not None
        os.kill(self.process.pid, number)
        return self.wait()

    def log(self) -> str:
        path = self.folder / "log.txt"
        return path.read_text() if path.exists() else ""

    def diary(self) -> list[dict[str, Any]]:
        """A line that a kill cut short is left out."""
        path = self.folder / "diary.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}\n")]

    def steps(self) -> dict[int, set[tuple[Any, ...]]]:
        """Step -> what was seen there; one entry a step, however often it was done again after a kill."""
        seen: dict[int, set[tuple[Any, ...]]] = {}
        for line in self.diary():
            if "step" in line:
                seen.setdefault(line["step"], set()).add((line["digest"], line["loss"], *line["keys"]))
        return seen

    def checkpoint(self, name: str = "last") -> dict[str, Any]:
        return torch.load(self.output / "checkpoints" / f"{name}.ckpt", weights_only=True)

    def curves(self) -> dict[str, list[tuple[int, float]]]:
        """Every scalar of the run's TensorBoard folder, as TensorBoard itself shows it."""
        events = EventAccumulator(str(self.output / "tensorboard"), size_guidance={"scalars": 0})
        events.Reload()
        return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


MakeRun = Callable[..., Run]


@pytest.fixture
def make_run(shards: Path, tmp_path: Path) -> Iterator[MakeRun]:
    """`make_run(name, *overrides, pause_seconds=..., poison_step=...)`: a tiny run that is not started yet."""
    runs = []

    def make(name: str, *overrides: str, pause_seconds: float = 0.0, poison_step: int | None = None) -> Run:
        diary = ["_target_=chaos_child.Diary", f"path={tmp_path / name}/diary.jsonl", f"pause_seconds={pause_seconds}"]
        if poison_step is not None:
            diary.append(f"poison_step={poison_step}")
        written = [f"+callbacks.diary.{entry}" for entry in diary]
        runs.append(Run(tmp_path / name, [*TINY, f"data.root={shards}", *overrides, *written]))
        return runs[-1]

    yield make
    for run in runs:
        if run.process is not None and run.process.exitcode is None:
            run.process.kill()


def assert_same_run(run: Run, reference: Run, num_steps: int) -> None:
    """Weights, optimizer, schedule, clips, losses and curves, bit for bit; every step once."""
    one, other = run.checkpoint(), reference.checkpoint()
    assert one["global_step"] == other["global_step"] == num_steps
    for name, tensor in other["state_dict"].items():
        assert torch.equal(one["state_dict"][name], tensor), name
    for optimizer, uninterrupted in zip(one["optimizer_states"], other["optimizer_states"], strict=True):
        torch.testing.assert_close(optimizer["state"], uninterrupted["state"], rtol=0, atol=0)
        assert optimizer["param_groups"] == uninterrupted["param_groups"]
    assert one["lr_schedulers"] == other["lr_schedulers"]
    assert run.steps() == reference.steps()
    assert sorted(run.steps()) == list(range(1, num_steps + 1))
    found, expected = run.curves(), reference.curves()
    assert found.keys() == expected.keys()
    for tag in expected:
        assert found[tag] == expected[tag], tag
    steps = [step for step, _ in found["train/loss"]]
    assert steps == list(range(num_steps)), "one curve, each step once"
    assert run.checkpoint("best")["global_step"] == reference.checkpoint("best")["global_step"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """`small_disk(kilobytes)`: a file system of its own; skipped where this machine does not let us mount one."""
    mounted: list[Path] = []

    def make(kilobytes: int) -> Path:
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no tmpfs can be mounted here: {getattr(error, 'stderr', '') or error}")
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=False)
