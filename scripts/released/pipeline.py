"""Train the released models from the music to their cards: a list of commands, each skipped where its result exists.

    python -m scripts.released.pipeline --val DIR [--music DIR] [--work data/released] [--print]
    python -m scripts.released.pipeline --quick      # minutes on two cores, on songs that the program composes

`make reproduce-model VAL=DIR [MUSIC=DIR] [QUICK=1]` calls this. `--print` shows the commands and runs none. Without
`--music` the music is rendered from Debian packages (`scripts/released/README.md`). An interrupted stage goes on where
it stopped. The bundles and cards are written to WORK/bundles; `upscale/released` is not touched.
"""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from upscale.entrypoint import run
from upscale.errors import UserError

MUSESCORE = "musescore-general-soundfont-lossless/usr/share/sounds/sf2/MuseScore_General_Full.sf2"
BITRATES = "[32,48,64,96,128,160,192,256,320]"


@dataclass(frozen=True)
class Step:
    """A command and the file that it leaves when it is done; without one, the command itself knows what is left."""

    command: str
    result: Path | None = None


@dataclass(frozen=True)
class Scale:
    """How much of everything: pieces of the pools, and options of training and of evaluation."""

    pieces: int = 16_000
    frame_pieces: int = 20_000
    repetitions: str = "--seconds 17"  # rendered excerpts are 20 s long
    training: str = ""
    evaluation: str = f"'bitrates={BITRATES}' 'visqol_bitrates=[64,96]' visqol_seconds=8"
    composed: int = 0  # songs to train on that the program composes
    composed_seconds: float = 0.0


WHOLE = Scale()
QUICK = Scale(
    pieces=40,
    repetitions="--seconds 17 --count 12",
    training="trainer.max_steps=40 scheduler.scheduler.warmup_steps=5 data.num_batches=20 data.num_val_batches=2",
    evaluation="'bitrates=[64,128]' excerpt_seconds=6 'visqol_bitrates=[64]' visqol_seconds=4 pictures=false",
    composed=6,
    composed_seconds=24.0,
)


@dataclass(frozen=True)
class Pipeline:
    """`music` and `val` are folders of FLAC; None: rendered from packages, or composed where the scale says so."""

    work: Path
    music: Path | None
    val: Path | None
    scale: Scale = WHOLE

    def steps(self) -> Iterator[Step]:
        music, extra = [self.music or self.work / "music"], []
        if self.scale.composed and self.music is None:
            yield from self.compose_music()
        elif self.music is None:
            yield from self.render_music()
            music, extra = [self.work / "music", self.work / "varied"], ["frame_pool"]
        yield from self.make_pairs(music)
        yield from self.train_fidelity()
        yield from self.train_perceptual(["pool", *extra])
        yield from self.release("fidelity", "repetition_mixer")
        yield from self.release("perceptual", "log_magnitude")

    def compose_music(self) -> Iterator[Step]:
        compose = f"python -m scripts.released.music.compose_songs --seconds {self.scale.composed_seconds:g}"
        yield Step(f"{compose} --count {self.scale.composed} --out {self.work}/music")
        yield Step(f"{compose} --count 2 --first 1000 --out {self.work}/val")

    def render_music(self) -> Iterator[Step]:
        """MIDI files, tracker modules and LMMS projects, with other instruments; and what band envelopes learn from."""
        work, unpacked, recipe = self.work, self.work / "unpacked", "python -m scripts.released.music"
        sf2 = {
            "fluid": f"{unpacked}/fluid-soundfont-gm/usr/share/sounds/sf2/FluidR3_GM.sf2",
            "a320u": f"{unpacked}/denemo-data/usr/share/sounds/sf2/A320U.sf2",
            "timgm": f"{unpacked}/timgm6mb-soundfont/usr/share/sounds/sf2/TimGM6mb.sf2",
            "general_user": f"{unpacked}/minuet-data/usr/share/minuet/soundfonts/GeneralUser-v1.47.sf2",
            "musescore": f"{unpacked}/{MUSESCORE}",
        }
        fonts = "--fonts {fluid} {musescore} {general_user} {a320u}".format(**sf2)
        modules = f"{recipe}.vary_module --unpacked {unpacked} --out {work}/varied_modules"
        yield Step(f"{recipe}.fetch_packages --unpacked {unpacked} --vorbis {work}/unpacked_vorbis")
        yield Step(f"{recipe}.accompany --out {unpacked}/accompaniments")
        yield Step("{}.vary_soundfont {fluid} {a320u} {timgm} {general_user} --out {}".format(
            recipe, unpacked / "varied", **sf2))  # fmt: skip
        yield Step(modules)
        yield Step(f"{modules} --first 3 --count 8 {fonts}")
        yield Step(f"{modules} --first 11 --count 5 --silent 0.4 {fonts}")
        yield Step(f"{recipe}.render_music --unpacked {unpacked} --out {work}/music --workers 2")
        yield Step(f"{recipe}.render_music --unpacked {work}/varied_modules --out {work}/varied --workers 2")
        yield Step(f"{recipe}.render_lmms --out {work}/music")
        yield Step(f"{recipe}.sequence_lmms --unpacked {unpacked} --out {work}/varied --count 2 --workers 2")
        yield Step(f"{recipe}.decode_vorbis --unpacked {work}/unpacked_vorbis --out {work}/partial --workers 2")
        yield Step(f"{recipe}.synthesise --out {work}/partial --count 4000 --workers 2")
        yield Step(f"{recipe}.augment_music --music {work}/partial --out {work}/frame_pool --as-it-is 0.6 "
                   f"--count {self.scale.frame_pieces} --workers 2")  # fmt: skip

    def make_pairs(self, music: list[Path]) -> Iterator[Step]:
        """Whole songs encoded once, for the filters; pieces mixed from them, for `perceptual`."""
        versions = "'bitrates=[64,96]' num_drawn=4 mono_share=0.1"
        yield Step(f"python scripts/make_pairs.py {option('music', music[0])} out={self.work}/pairs {versions}")
        folders = " ".join(shlex.quote(str(folder)) for folder in music)
        yield Step(f"python -m scripts.released.music.augment_music --music {folders} --out {self.work}/pool "
                   f"--count {self.scale.pieces} --workers 2")  # fmt: skip

    def train_fidelity(self) -> Iterator[Step]:
        """Three filters, one after the other and then together; then the mixer of repetitions, alone."""
        work, last = self.work, self.last
        yield self.train("coarse", f"{work}/pairs")
        yield self.train("fine", f"{work}/pairs", coarse=last("coarse"))
        yield self.train("filters", f"{work}/pairs", net=last("fine"))
        yield Step(f"python -m scripts.released.precompute repetitions --pairs {work}/pairs --model {last('filters')} "
                   f"--out {work}/repetitions {self.scale.repetitions} --workers 2")  # fmt: skip
        yield self.train("repetition_mixer", f"{work}/repetitions", net=last("filters"))

    def train_perceptual(self, pools: list[str]) -> Iterator[Step]:
        """Band envelopes and the correlation of left and right, from frames alone; then every bin's log magnitude."""
        work, last = self.work, self.last
        folders = " ".join(f"{work}/{pool}" for pool in pools)
        yield Step(f"python -m scripts.released.precompute frames --pairs {folders} --out {work}/frames --workers 2")
        yield self.train("band_envelope", f"{work}/frames")
        yield self.train("stereo_correlation", f"{work}/frames", net=last("band_envelope"))
        yield self.train(
            "log_magnitude", f"{work}/pool", filter=last("repetition_mixer"), level=last("stereo_correlation")
        )

    def train(self, stage: str, data: str, **init: Path) -> Step:
        """A run of `train.py`; `init`: the checkpoint that each part of the network, or all of it, starts from."""
        folder = self.work / "runs" / stage
        result = folder / "result.json"
        if self.last(stage).exists() and not result.exists():
            return Step(f"python train.py resume={folder}", result)
        words = [f"python train.py experiment=released/{stage} data.root={data} output_dir={folder}"]
        words += [f"init.{part}={path}" for part, path in init.items()]
        words += [self.scale.training] if self.scale.training else []
        return Step(" ".join(words), result)

    def last(self, stage: str) -> Path:
        return self.work / "runs" / stage / "checkpoints" / "last.ckpt"

    def release(self, name: str, stage: str) -> Iterator[Step]:
        """Measure on songs that no stage has heard, without the bitrate; then the bundle and its card."""
        results = self.work / "results" / name
        yield Step(
            f"python evaluate.py ckpt={self.last(stage)} {option('data', self.val or self.work / 'val')} "
            f"bitrate_known=false 'metrics=[si_sdr,sdr,lsd,visqol]' {self.scale.evaluation} output={results}",
            results / "results.csv",
        )
        yield Step(
            f"python -m scripts.released.publish {self.last(stage)} --results {results} --name {name} "
            f"--bitrates {BITRATES.strip('[]').replace(',', ' ')} --out {self.work}/bundles/{name}"
        )


def option(name: str, path: Path) -> str:
    """NAME=PATH for Hydra, which wants quotes around a path with spaces or commas in it."""
    plain = all(letter.isalnum() or letter in "/._-" for letter in str(path))
    return f"{name}={path}" if plain else shlex.quote(f'{name}="{path}"')


def run_step(step: Step) -> None:
    if step.result is not None and step.result.exists():
        print(f"done before: {step.command}", flush=True)
        return
    print(f"$ {step.command}", flush=True)
    words = shlex.split(step.command)
    done = subprocess.run([sys.executable, *words[1:]])
    if done.returncode:
        raise UserError(f"stopped with status {done.returncode}: {step.command}; run the pipeline again to go on")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--val", type=Path, help="held-out FLAC to measure on")
    parser.add_argument("--music", type=Path, help="FLAC to train on, instead of what is rendered from packages")
    parser.add_argument("--work", type=Path, help="default: data/released, with --quick data/released/quick")
    parser.add_argument("--quick", action="store_true", help="a few steps of each stage: does it all still run?")
    parser.add_argument("--print", action="store_true", help="show the commands, run none")
    options = parser.parse_args()
    if not (options.val or options.quick):
        raise UserError("name a folder of held-out FLAC files: --val DIR (make reproduce-model VAL=DIR)")
    for folder in (options.val, options.music):
        if folder is not None and not any(folder.glob("*.flac")):
            raise UserError(f"{folder} holds no .flac file")
    work = options.work or Path("data/released/quick" if options.quick else "data/released")
    pipeline = Pipeline(work, options.music, options.val, QUICK if options.quick else WHOLE)
    for step in pipeline.steps():
        if options.print:
            print(step.command)
        else:
            run_step(step)


if __name__ == "__main__":
    run(main)
