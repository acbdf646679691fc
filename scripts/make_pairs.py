"""Encode whole songs, once: python scripts/make_pairs.py music=DIR out=data/pairs 'bitrates=[48,64,96,128]'

Writes OUT/{train,val}/clean/SONG.wav and OUT/{train,val}/degraded/VERSION/SONG.wav for `python train.py data=pairs
data.root=OUT`, and the bitrates of named versions to OUT/pairs.yaml. The clean file is written last: where it exists,
the song is done, so that an interrupted run goes on where it stopped and new songs join an old folder.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import yaml
from omegaconf import DictConfig, OmegaConf

from upscale import atomic, audio
from upscale.codec import CodecSpec, roundtrip
from upscale.corpus.folder import LOSSLESS
from upscale.datamodule.pairs.module import split_chance
from upscale.entrypoint import run, user_errors
from upscale.errors import UserError
from upscale.seeds import derive_seed
from upscale.shards.clip import FORMATS, encode_clip, to_pcm16
from upscale.shards.jobs import num_cores, run_jobs

SAMPLE_RATE = 44_100
SETTINGS = "made.yaml"


@dataclass(frozen=True)
class SongJob:
    """Everything that decides the files of one song. `name` is its path below the music folder without suffix."""

    source: Path
    name: str
    folder: Path  # OUT/train or OUT/val
    versions: tuple[tuple[str, CodecSpec], ...]
    channels: int
    is_mono: bool
    file_format: str

    def path(self, side: str) -> Path:
        return self.folder / side / f"{self.name}.{self.file_format}"


def make_pairs(
    music: str | Sequence[str] | None,
    out: str,
    bitrates: Sequence[int] = (64, 96, 128),
    num_drawn: int = 0,
    variants: Mapping[str, Mapping[str, Any]] | None = None,
    channels: int = 2,
    mono_share: float = 0.0,
    val_share: float = 0.1,
    file_format: str = "wav",
    seed: int = 0,
    workers: int | None = None,
) -> list[tuple[Path, str]]:
    """Write the pairs of every song; returns the files that could not be read, with the reason."""
    if channels not in (1, 2) or file_format not in FORMATS:
        raise UserError(f"channels={channels} file_format={file_format}: use 1 or 2, and {' or '.join(FORMATS)}")
    known = {str(name): _spec(str(name), options) for name, options in (variants or {}).items()}
    always = {str(bitrate): CodecSpec(bitrate=bitrate) for bitrate in bitrates}
    if not always and not num_drawn:
        raise UserError("bitrates=[] num_drawn=0 asks for no version: name bitrates, or draw some of `variants`")
    if num_drawn > len(known):
        raise UserError(f"num_drawn={num_drawn} is more than the {len(known)} variants that there are")
    songs = _find_songs([music] if isinstance(music, str) else list(music or ()))
    root = Path(out)
    settings = {"bitrates": list(bitrates), "num_drawn": num_drawn, "channels": channels, "mono_share": mono_share}
    settings |= {"variants": {name: dict(options) for name, options in (variants or {}).items()} if num_drawn else {}}
    _keep_settings(root / SETTINGS, settings | {"file_format": file_format, "seed": seed})
    _write(
        root / "pairs.yaml", yaml.safe_dump({name: spec.bitrate for name, spec in (known | always).items()}).encode()
    )
    jobs = []
    for name, split in _split(root, list(songs), val_share, file_format).items():
        rng = np.random.default_rng(derive_seed(seed, "pairs", name))
        drawn = rng.choice(sorted(known), size=num_drawn, replace=False).tolist() if num_drawn else []
        versions = always | {chosen: known[chosen] for chosen in drawn}
        is_mono = bool(rng.random() < mono_share)
        job = SongJob(songs[name], name, root / split, tuple(versions.items()), channels, is_mono, file_format)
        if not job.path("clean").exists():
            jobs.append(job)
    results = run_jobs(write_song, jobs, workers or num_cores(), "encoding songs") if jobs else ()
    return sorted((job.source, reason) for job, reason in results if reason)


def write_song(job: SongJob) -> str:
    """Write one song at one gain, at which no side and no version clips; returns why it could not be read."""
    try:
        wav, sample_rate = audio.read(job.source)
        wav = audio.resample(audio.to_channels(wav, job.channels), sample_rate, SAMPLE_RATE)
    except UserError as error:
        return str(error)
    if job.is_mono:
        wav = audio.to_channels(audio.to_channels(wav, 1), job.channels)
    sides = {f"degraded/{name}": roundtrip(wav, spec, SAMPLE_RATE) for name, spec in job.versions} | {"clean": wav}
    peak = max(1.0, *(float(np.abs(side).max(initial=0.0)) for side in sides.values()))
    for side, samples in sides.items():
        pcm = to_pcm16(samples / np.float32(peak), f"{job.name}/{side}")
        _write(job.path(side), encode_clip(pcm, SAMPLE_RATE, job.file_format))
    return ""


def _spec(name: str, options: Mapping[str, Any]) -> CodecSpec:
    try:
        return CodecSpec(**options)
    except TypeError as error:
        raise UserError(f"variants.{name}: {error}") from error


def _find_songs(folders: Sequence[str]) -> dict[str, Path]:
    """Name -> file of every lossless song."""
    songs: dict[str, Path] = {}
    if not folders:
        raise UserError("which music? add music=DIR, a folder of WAV, FLAC or AIFF files")
    for folder in map(Path, folders):
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in LOSSLESS and not path.name.startswith(".") and path.is_file():
                name = path.relative_to(folder).with_suffix("").as_posix()
                if name in songs:
                    raise UserError(f"{path} and {songs[name]} are both named {name}: rename one of them")
                songs[name] = path
    if not songs:
        raise UserError(f"music={','.join(folders)} holds no WAV, FLAC or AIFF file")
    return songs


def _split(root: Path, names: Sequence[str], val_share: float, file_format: str) -> dict[str, str]:
    """Name -> train or val. A song that was made before stays where it is."""
    chance = {name: split_chance(name) for name in names}
    val = {name for name in names if chance[name] < val_share}
    if val_share > 0 and not val and len(names) > 1:
        val = {min(names, key=chance.__getitem__)}
    split = {name: "val" if name in val else "train" for name in names}
    for made in ("train", "val"):
        split |= {name: made for name in names if (root / made / "clean" / f"{name}.{file_format}").exists()}
    return split


def _keep_settings(path: Path, settings: Mapping[str, Any]) -> None:
    """Songs of one folder have one set of versions: with others their common gain would be another."""
    text = yaml.safe_dump(dict(settings))
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise UserError(f"{path.parent} was made with other settings ({path}): use the same ones, or another out=")
    _write(path, text.encode())


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic.replacing(path) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror or error}); make room and run the same command again"
        ) from error


@hydra.main(version_base="1.3", config_path="../conf", config_name="make_pairs")
@user_errors
def main(config: DictConfig) -> None:
    """Make the pairs, count them, and exit with 1 where songs had to be left out."""
    broken = make_pairs(**OmegaConf.to_container(config, resolve=True))  # type: ignore[arg-type]
    for split in ("train", "val"):
        folder = Path(config.out) / split
        counts = [len(list((folder / side).rglob(f"*.{config.file_format}"))) for side in ("clean", "degraded")]
        print(f"{config.out}/{split}: {counts[0]} songs, {counts[1]} pairs")
    for source, reason in broken:
        print(f"error: {source} was left out: {reason}", file=sys.stderr)
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    run(main)
