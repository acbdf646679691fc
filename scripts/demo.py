"""The whole project in one script: compose songs, write shards, train, restore MP3s of held-out songs, measure.

    make demo        (or: python scripts/demo.py)

Takes a few minutes on two cores and needs no data. Shards stay in data/demo for the next time; the report, the
pictures and the sounds are in outputs/demo.
"""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from upscale import audio
from upscale.audio import spectrogram
from upscale.codec import CodecSpec, encode
from upscale.corpus import demo
from upscale.entrypoint import run
from upscale.metrics import lsd, sdr, si_sdr
from upscale.restore import Restorer
from upscale.restore.files import FileOptions, restore_file
from upscale.seeds import derive_seed
from upscale.shards.prepare import prepare
from upscale.training.fit import fit

CONF = Path(__file__).parents[1] / "conf"
SHARDS, OUTPUT = Path("data/demo"), Path("outputs/demo")
SAMPLE_RATE = 44_100
NUM_SONGS, SONG_SECONDS = 4, 12.0  # held out
METRICS = {"sdr": sdr, "si_sdr": si_sdr, "lsd": lsd}
TITLES = {"sdr": "SDR", "si_sdr": "SI-SDR", "lsd": "LSD"}

console = Console()


@dataclass(frozen=True)
class Row:
    """Means over the held-out songs at one bitrate: the MP3 as it is, and restored."""

    bitrate: int
    degraded_sdr: float
    restored_sdr: float
    degraded_si_sdr: float
    restored_si_sdr: float
    degraded_lsd: float
    restored_lsd: float


def main() -> None:
    started = time.monotonic()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        songs = compose("prepare", overrides=[f"out={SHARDS}", "overwrite=true"])
        experiment = compose("train", overrides=["experiment=demo", f"output_dir={OUTPUT / 'training'}"])
    with stage("1/4 composing songs and writing shards"):
        prepare(**OmegaConf.to_container(songs, resolve=True))  # type: ignore[arg-type]
    with stage("2/4 training"):
        checkpoint = train(experiment)
    with stage("3/4 restoring songs that were never trained on"):
        restorer = Restorer.load(checkpoint)
        held_out = [demo.compose(derive_seed("demo", "held out", n), SONG_SECONDS) for n in range(NUM_SONGS)]
        rows = [measure(restorer, held_out, bitrate) for bitrate in experiment.codec.bitrates]
    with stage("4/4 writing the report"):
        write_sounds(restorer, held_out[0], bitrate=rows[0].bitrate)
        write_report(rows, seconds=time.monotonic() - started)
    console.print(table(rows))
    console.print(f"report, picture and sounds: {OUTPUT}; curves: tensorboard --logdir {OUTPUT}", highlight=False)


@contextmanager
def stage(title: str) -> Iterator[None]:
    console.rule(title, align="left")
    start = time.monotonic()
    yield
    console.print(f"{time.monotonic() - start:.0f} s", highlight=False)


def train(config: DictConfig) -> Path:
    """Train from scratch and return the best checkpoint."""
    shutil.rmtree(config.output_dir, ignore_errors=True)
    fit(config)
    return Path(config.output_dir) / "checkpoints" / "best.ckpt"


def mp3(clean: np.ndarray, bitrate: int, path: Path) -> np.ndarray:
    """`clean` as a real MP3 file, read back."""
    path.write_bytes(encode(clean, CodecSpec(bitrate=bitrate), SAMPLE_RATE))
    return audio.read(path)[0]


def measure(restorer: Restorer, songs: list[np.ndarray], bitrate: int) -> Row:
    """Each song through an MP3 file and the restorer; means of the metrics before and after."""
    values: dict[str, list[float]] = {}
    for clean in songs:
        degraded = mp3(clean, bitrate, OUTPUT / "degraded.mp3")
        restored = restorer(degraded, SAMPLE_RATE, bitrate=bitrate)
        for name, metric in METRICS.items():
            values.setdefault(f"degraded_{name}", []).append(float(metric(clean, degraded)))
            values.setdefault(f"restored_{name}", []).append(float(metric(clean, restored)))
    return Row(bitrate=bitrate, **{name: float(np.mean(numbers)) for name, numbers in values.items()})


def write_sounds(restorer: Restorer, clean: np.ndarray, bitrate: int) -> None:
    """clean.wav, degraded.mp3, restored.wav (the file a user would get) and their spectrograms on one scale."""
    audio.write(OUTPUT / "clean.wav", clean, SAMPLE_RATE, subtype="PCM_16")
    degraded = mp3(clean, bitrate, OUTPUT / "degraded.mp3")
    options = FileOptions(subtype="PCM_16", restore_level=True, bitrate=bitrate)
    restore_file(restorer, OUTPUT / "degraded.mp3", OUTPUT / "restored.wav", options)
    restored, _ = audio.read(OUTPUT / "restored.wav")
    wavs = {"clean": clean, f"degraded, {bitrate} kbit/s": degraded, "restored": restored}
    levels = {name: spectrogram.levels(wav) for name, wav in wavs.items()}
    figure = spectrogram.figure(levels, clean.shape[-1], SAMPLE_RATE, in_a_row=True)
    figure.savefig(OUTPUT / "spectrogram.png", dpi=110)


def write_report(rows: list[Row], seconds: float) -> None:
    facts = {
        "rows": [asdict(row) for row in rows],
        "held_out_songs": NUM_SONGS,
        "seconds_per_song": SONG_SECONDS,
        "training": json.loads((OUTPUT / "training" / "result.json").read_text(encoding="utf-8")),
        "seconds": round(seconds, 1),
    }
    (OUTPUT / "report.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    (OUTPUT / "report.md").write_text(markdown(rows, facts["training"]), encoding="utf-8")


def markdown(rows: list[Row], training: dict) -> str:
    header = ["kbit/s", *(f"{title} {side}" for title in TITLES.values() for side in ("degraded", "restored"))]
    lines = [header, ["---"] * len(header), *(cells(row) for row in rows)]
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"""# Demo

{NUM_SONGS} songs of {SONG_SECONDS:g} s that the model never trained on, through real MP3 files, before and after.
{training["steps"]} training steps took {training["seconds"]:.0f} s.
SDR and SI-SDR are in dB, higher is better; in LSD, lower is better.

{text}

![clean, degraded and restored](spectrogram.png)

Sounds: [clean](clean.wav), [degraded](degraded.mp3), [restored](restored.wav).
"""


def cells(row: Row) -> list[str]:
    values = asdict(row)
    digits = {"sdr": 2, "si_sdr": 2, "lsd": 3}
    return [
        str(row.bitrate),
        *(f"{values[f'{side}_{name}']:.{digits[name]}f}" for name in METRICS for side in ("degraded", "restored")),
    ]


def table(rows: list[Row]) -> Table:
    result = Table("kbit/s", title=f"{NUM_SONGS} held-out songs: doing nothing -> restored (SDR, SI-SDR in dB)")
    for title in TITLES.values():
        result.add_column(title, justify="right")
    for row in rows:
        bitrate, *values = cells(row)
        result.add_row(
            bitrate, *(f"{before} -> {after}" for before, after in zip(values[::2], values[1::2], strict=True))
        )
    return result


if __name__ == "__main__":
    run(main)
