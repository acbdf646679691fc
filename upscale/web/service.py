"""What the page does, without HTTP: take a file, restore it, serve the results, run a blind test."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from upscale import atomic, audio
from upscale.errors import UserError
from upscale.restore.restorer import RELEASED, available_models, find_model
from upscale.restore.tags import copy_tags
from upscale.web.abx import MAX_EXCERPT_SECONDS, excerpts
from upscale.web.job import PREVIEW, RESTORED, Request
from upscale.web.limits import Limits
from upscale.web.preview import FULL_SCALE, read_preview
from upscale.web.runner import Runner
from upscale.web.workspaces import Workspace, Workspaces

WAV = "restored.wav"
PREFERRED = ("fidelity", "perceptual")
MIN_EXCERPT_SECONDS = 0.2


@dataclass(frozen=True)
class Service:
    """One server's state. `models`: what the visitor can pick, by name."""

    limits: Limits
    models: dict[str, Path]
    device: str
    workspaces: Workspaces
    runner: Runner

    def restore(self, workspace: Workspace, model: str) -> Iterator[dict[str, Any]]:
        """The job's messages, see `Runner.run`; the result stays with the workspace."""
        if model not in self.models:
            raise UserError(f"there is no model {model}")
        workspace.result = None
        request = Request(
            folder=str(workspace.folder),
            source=str(workspace.input),
            name=workspace.name,
            model=str(self.models[model]),
            device=self.device,
            audio_seconds=self.limits.audio_seconds,
        )
        for message in self.runner.run(request, after=lambda: self.workspaces.remove_if_gone(workspace)):
            self.workspaces.touch(workspace)
            if "result" in message:
                workspace.result = {**message["result"], "model": model}
            yield message

    def forget(self, workspace: Workspace) -> None:
        """Stop its job and delete its files."""
        self.runner.cancel(str(workspace.folder))
        self.workspaces.remove(workspace)

    def leave(self, tab: str) -> None:
        """A browser tab was closed."""
        for workspace in self.workspaces.leave(tab):
            self.runner.cancel(str(workspace.folder))

    def sweep(self) -> None:
        for workspace in self.workspaces.sweep():
            self.runner.cancel(str(workspace.folder))

    def close(self) -> None:
        self.runner.close()
        self.workspaces.close()


def open_service(limits: Limits, models: list[str], device: str) -> Service:
    """A service with the shipped models and those named by the operator."""
    return Service(
        limits=limits,
        models=find_models(models),
        device=device,
        workspaces=Workspaces(limits),
        runner=Runner(limits),
    )


def find_models(named: list[str]) -> dict[str, Path]:
    """Named models first, then the shipped ones; visitors choose by name and can never give a path."""
    paths = [find_model(name) for name in named]
    shipped = {path.parent.name: path.parent for path in RELEASED.glob("*/model.yaml")}
    paths += [shipped[name] for name in sorted(shipped, key=lambda name: (name not in PREFERRED, name))]
    models: dict[str, Path] = {}
    for path in paths:
        name = path.name if path.is_dir() else path.stem
        models.setdefault(name if models.get(name, path) == path else str(path), path)
    if not models:
        raise UserError(f"nothing to restore with: {available_models()}")
    return models


def result_of(workspace: Workspace) -> dict[str, Any]:
    if workspace.result is None:
        raise UserError("this file is not restored yet")
    return workspace.result


def wav_file(workspace: Workspace) -> Path:
    """The restored file as 24-bit WAV, the same samples as the FLAC; written at the first request."""
    result, path = result_of(workspace), workspace.folder / WAV
    if not path.exists():
        flac, rate = workspace.folder / RESTORED, result["sample_rate"]
        with atomic.replacing(path, suffix=path.suffix) as temporary:
            with audio.Writer(temporary, rate, result["channels"], subtype="PCM_24") as writer:
                for block in audio.blocks(flac, rate * 5):
                    writer.write(block)
            copy_tags(flac, temporary)
    return path


def start_trial(workspace: Workspace, start_seconds: float, seconds: float) -> tuple[dict[str, Any], np.ndarray]:
    """A new ABX trial on an excerpt: what the browser may know of it, and int16 frames `[T, 3 * C]` of A, B and X."""
    result = result_of(workspace)
    rate, channels, total = result["sample_rate"], result["channels"], result["num_samples"]
    if not (start_seconds >= 0 and MIN_EXCERPT_SECONDS <= seconds <= MAX_EXCERPT_SECONDS):
        raise UserError(f"an excerpt lasts {MIN_EXCERPT_SECONDS:g} to {MAX_EXCERPT_SECONDS:g} seconds")
    start = min(round(start_seconds * rate), max(0, total - round(seconds * rate)))
    before, after = read_preview(workspace.folder / PREVIEW, channels, start, round(seconds * rate))
    a, b, louder = excerpts(before, after, rate)
    trial, x_is = workspace.test.start()
    frames = np.concatenate([a, b, a if x_is == "A" else b]).T
    steps = np.clip(np.rint(frames * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype("<i2")
    return {"trial": trial, "louder_db": louder, **workspace.test.tally()}, steps
