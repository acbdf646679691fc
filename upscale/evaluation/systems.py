"""What is evaluated against doing nothing: a model, a folder of somebody else's outputs, or nothing at all."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from upscale.audio import read, resample, to_channels
from upscale.codec import CodecSpec
from upscale.errors import UserError
from upscale.evaluation.testset import Clip
from upscale.restore import Restorer

AUDIO = (".wav", ".flac", ".aif", ".aiff", ".mp3", ".m4a", ".ogg", ".opus")
LARGEST_DIFFERENCE_SECONDS = 1.0


@dataclass(frozen=True)
class Output:
    """A system's answer `[C, T]` in the clean clip's shape, and what had to be done to it to get there."""

    wav: np.ndarray
    length_difference: int = 0  # samples that the system gave too many (or, negative, too few)
    channels: int = 0  # that the system gave


class System(Protocol):
    @property
    def kind(self) -> str: ...

    @property
    def model(self) -> str:
        """The model's or folder's path, or a shipped model's name."""

    @property
    def bitrate_known(self) -> bool:
        """Whether the system is given the bitrate."""

    def check(self, clips: Sequence[Clip], specs: Sequence[CodecSpec]) -> None:
        """Raise UserError before any work is done, where something is missing."""

    def __call__(self, clip: Clip, degraded: np.ndarray, sample_rate: int, spec: CodecSpec) -> Output: ...


@dataclass(frozen=True)
class Identity:
    """Doing nothing: the row against which everything else is read."""

    kind: str = "identity"
    model: str = ""
    bitrate_known: bool = True

    def check(self, clips: Sequence[Clip], specs: Sequence[CodecSpec]) -> None:
        pass

    def __call__(self, clip: Clip, degraded: np.ndarray, sample_rate: int, spec: CodecSpec) -> Output:
        return Output(degraded, channels=len(degraded))


@dataclass(frozen=True)
class Model:
    """A bundle, checkpoint, ONNX file or shipped model; `bitrate_known`: it is given the bitrate, as files state it."""

    model: str
    device: str = "auto"
    kind: str = "model"
    bitrate_known: bool = True

    @cached_property
    def restorer(self) -> Restorer:
        return Restorer.load(self.model, device=self.device)

    def __getstate__(self) -> dict[str, Any]:
        """Worker processes load the model themselves."""
        return {name: getattr(self, name) for name in ("model", "device", "kind", "bitrate_known")}

    def check(self, clips: Sequence[Clip], specs: Sequence[CodecSpec]) -> None:
        _ = self.restorer

    def __call__(self, clip: Clip, degraded: np.ndarray, sample_rate: int, spec: CodecSpec) -> Output:
        restored = self.restorer(degraded, sample_rate, bitrate=spec.bitrate if self.bitrate_known else None)
        return Output(np.asarray(restored, dtype=np.float32), channels=len(restored))


@dataclass(frozen=True)
class Folder:
    """Somebody else's outputs, found by name: `BITRATE/SONG.wav`, `SONG_BITRATE.wav`, or `SONG.wav` for every bitrate.

    BITRATE is `128` for MP3 at a constant bitrate and `opus_128`, `mp3_vbr_130` and so on otherwise; any audio format.
    - Another sample rate is resampled to the clean one's.
    - Mono against stereo counts as the same signal on both channels, stereo against mono as the mean of its channels.
    - Up to one second too long is cut at its end, and too short is completed with zeros; more is refused.
    - Where excerpts are evaluated, a file as long as the whole song is cut like the song.
    """

    model: str
    kind: str = "folder"
    bitrate_known: bool = True

    def check(self, clips: Sequence[Clip], specs: Sequence[CodecSpec]) -> None:
        if not Path(self.model).is_dir():
            raise UserError(f"root={self.model} is not a folder")
        missing = [(clip, spec) for spec in specs for clip in clips if not self.files(clip, spec)]
        if missing:
            clip, spec = missing[0]
            wanted = (
                f"{Path(self.model, label(spec), clip.name)}.wav or {Path(self.model, clip.name)}_{label(spec)}.wav"
            )
            count = f"{len(missing)} of {len(clips) * len(specs)} outputs are missing"
            raise UserError(f"{count}; the first would be {wanted}")

    def files(self, clip: Clip, spec: CodecSpec) -> list[Path]:
        root = Path(self.model)
        for stem in (f"{label(spec)}/{clip.name}", f"{clip.name}_{label(spec)}", clip.name):
            found = [path for ending in AUDIO if (path := root / f"{stem}{ending}").is_file()]
            if found:
                return found
        return []

    def __call__(self, clip: Clip, degraded: np.ndarray, sample_rate: int, spec: CodecSpec) -> Output:
        path, *others = self.files(clip, spec)
        if others:
            raise UserError(f"{path} and {others[0]} could both be the output for {clip.name}: remove one")
        num_channels, num_samples = degraded.shape
        wav = self._read(path, clip, sample_rate)
        difference = wav.shape[1] - num_samples
        if abs(difference) > LARGEST_DIFFERENCE_SECONDS * sample_rate:
            seconds = f"{wav.shape[1] / sample_rate:.2f} s against {num_samples / sample_rate:.2f} s"
            raise UserError(f"{path} does not belong to {clip.name}: {seconds}")
        fitted = np.pad(wav[:, :num_samples], ((0, 0), (0, max(-difference, 0))))
        return Output(to_channels(fitted, num_channels), length_difference=difference, channels=len(wav))

    def _read(self, path: Path, clip: Clip, sample_rate: int) -> np.ndarray:
        wav, own_rate = read(path)
        whole, clip_rate = clip.length()
        excess = [abs(wav.shape[1] / own_rate - length / clip_rate) for length in (clip.num_samples, whole)]
        if excess[1] < excess[0]:
            start = round(clip.start * own_rate / clip_rate)
            wav = wav[:, start : start + round(clip.num_samples * own_rate / clip_rate)]
        return resample(wav, own_rate, sample_rate)


def label(spec: CodecSpec) -> str:
    """A condition in names of folders and files."""
    if (spec.codec, spec.mode) == ("mp3", "cbr"):
        return str(spec.bitrate)
    return "_".join([spec.codec, *([spec.mode] if spec.codec == "mp3" else []), str(spec.bitrate)])


def make_system(kind: str, model: str | None, root: str | None, device: str, bitrate_known: bool = True) -> System:
    """The system that the command line names."""
    if kind == "model":
        return Model(model=model or "fidelity", device=device, bitrate_known=bitrate_known)
    if kind == "folder":
        if root is None:
            raise UserError("system=folder needs root=FOLDER with the outputs in it")
        return Folder(model=root)
    if kind == "identity":
        return Identity()
    raise UserError(f"system={kind} does not exist; use model, folder or identity")
