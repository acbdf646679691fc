"""Render LMMS demo projects with other instruments to FLAC, for the training of the released models.

    python -m scripts.released.music.render_lmms --out FOLDER [--share /usr/share/lmms] [--arrangements 5]

Instruments that play Ogg samples (lossy) are replaced by a synthesised drum or a synthesiser, and most synthesisers by
one with another preset, drawn from a seed: nothing that is rendered was ever compressed. The projects that the models
are tested on are left out. Needs the program `lmms`. A song that exists is kept.
"""

import argparse
import copy
import os
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from scripts.released.music.render_music import SAMPLE_RATE, write_song
from upscale.seeds import derive_seed

HELD_OUT = ("Mauiwowi", "DearJonDoe", "DirtyLove", "editing_note_volumes")
SYNTHESISERS = ("BitInvader", "Kicker", "LB302", "Monstro", "Nescaline", "Organic", "SID", "TripleOscillator", "Watsyn")
DRUM_SHARE, OTHER_PRESET_SHARE = 0.6, 0.7


def read_project(path: Path) -> ElementTree.Element:
    """`.mmp` is XML, `.mmpz` the same after Qt's qCompress: four bytes of length, then zlib."""
    content = path.read_bytes()
    return ElementTree.fromstring(zlib.decompress(content[4:]) if path.suffix == ".mmpz" else content)


def projects(share: Path) -> Iterator[Path]:
    for path in sorted(share.glob("projects/[ds]*/**/*.mmp*")):
        if not any(name in path.name for name in HELD_OUT):
            yield path


def drum_sounds(share: Path) -> list[str]:
    """LMMS's synthesised drums, as its projects name them."""
    samples = share / "samples"
    return sorted(str(path.relative_to(samples)) for path in samples.glob("drumsynth/**/*.ds"))


def synthesiser_presets(share: Path) -> list[Path]:
    presets = [path for name in SYNTHESISERS for path in sorted(share.glob(f"presets/{name}/**/*.xpf"))]
    return [path for path in presets if read_project(path).find(".//instrumenttrack") is not None]


def render_project(project: ElementTree.Element, out: Path, song: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        written, rendered = Path(scratch) / "song.mmp", Path(scratch) / "rendered.wav"
        ElementTree.ElementTree(project).write(written, encoding="utf-8", xml_declaration=True)
        command = ["lmms", "--allowroot", "render", str(written), "-o", str(rendered), "-f", "wav"]
        write_song(out, song, [*command, "-s", str(SAMPLE_RATE)], rendered)


def set_drum(track: ElementTree.Element, drum: str) -> None:
    instrument = track.find("instrument")
    assert instrument is not None
    instrument.clear()
    instrument.set("name", "audiofileprocessor")
    ElementTree.SubElement(instrument, "audiofileprocessor", src=drum, amp="100", sframe="0", eframe="1")


def set_preset(track: ElementTree.Element, preset: Path) -> None:
    """Instrument, envelopes, arpeggiator and effects of a preset; notes and mixer stay the track's own."""
    source = read_project(preset).find(".//instrumenttrack")
    assert source is not None
    for name in ("instrument", "eldata", "chordcreator", "arpeggiator", "fxchain"):
        old, new = track.find(name), source.find(name)
        if old is not None and new is not None:
            position = list(track).index(old)
            track.remove(old)
            track.insert(position, copy.deepcopy(new))


def arrange(project: ElementTree.Element, drums: list[str], presets: list[Path], rng: np.random.Generator) -> None:
    for track in project.iter("instrumenttrack"):
        instrument = track.find("instrument")
        if instrument is None:
            continue
        sample = instrument.find("audiofileprocessor")
        if sample is not None:
            if sample.get("src", "").endswith(".ds") and rng.random() > OTHER_PRESET_SHARE:
                continue
            if rng.random() < DRUM_SHARE:
                set_drum(track, drums[rng.integers(len(drums))])
                continue
        elif instrument.get("name") != "zynaddsubfx" and rng.random() > OTHER_PRESET_SHARE:
            continue
        set_preset(track, presets[rng.integers(len(presets))])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=Path, default=Path("/usr/share/lmms"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--arrangements", type=int, default=5)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    drums, presets = drum_sounds(arguments.share), synthesiser_presets(arguments.share)
    for number in range(arguments.arrangements):
        for path in projects(arguments.share):
            project = read_project(path)
            arrange(project, drums, presets, np.random.default_rng(derive_seed("lmms", path.stem, number)))
            name = path.stem.replace("(", "_").replace(")", "")
            render_project(project, arguments.out, f"lmms_{name}_{number}")


if __name__ == "__main__":
    main()
