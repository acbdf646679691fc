"""Play MIDI files on the synthesisers of LMMS and render them to FLAC, for the training of the released models.

    python -m scripts.released.music.sequence_lmms --unpacked FOLDER --out FOLDER [--count 1] [--first 0] [--workers 2]

LMMS brings two dozen songs, too few to learn what synthesisers sound like. So every MIDI file of `--unpacked` (see
`render_music`) plays on presets that are drawn from a seed, its drums on synthesised ones. Some channels are left out:
electronic music is often sparse. Needs the program `lmms` and the package `mido`. A song that exists is kept. The seed
fixes notes and presets, not the samples: LMMS plays no song twice alike.
"""

import argparse
import copy
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement

import mido
import numpy as np
from numpy.random import Generator

from scripts.released.music.arrange_midi import DRUM_CHANNEL
from scripts.released.music.render_lmms import (
    drum_sounds,
    read_project,
    render_project,
    set_drum,
    set_preset,
    synthesiser_presets,
)
from scripts.released.music.render_music import midi_files
from upscale.seeds import derive_seed

TICKS_PER_SECOND = 96  # 48 to a beat, at the 120 beats a minute that a project without a tempo of its own has
TICKS_PER_BAR = 192
OCTAVE = 12  # LMMS counts its keys from an octave above MIDI's
SECONDS = 42  # what is played of a song
NUM_DRUMS = 6  # the most frequent ones
KEPT = (1.0, 0.8, 0.5)  # share of the channels that play: drawn once for a song


@dataclass(frozen=True)
class Note:
    start: float
    end: float  # seconds
    key: int
    velocity: int


def voices(path: Path) -> dict[tuple[int, int], list[Note]]:
    """The notes of a MIDI file by channel and, for drums, by key; 0 in its place for the others."""
    found: dict[tuple[int, int], list[Note]] = defaultdict(list)
    sounding: dict[tuple[int, int], tuple[float, int]] = {}
    seconds = 0.0
    for message in mido.MidiFile(path, clip=True):
        seconds += message.time
        if message.is_meta or message.type not in ("note_on", "note_off"):
            continue
        channel, key = message.channel, message.note
        if begun := sounding.pop((channel, key), None):
            found[channel, key if channel == DRUM_CHANNEL else 0].append(Note(begun[0], seconds, key, begun[1]))
        if message.type == "note_on" and message.velocity:
            sounding[channel, key] = seconds, message.velocity
    return dict(found)


def chosen(notes: dict[tuple[int, int], list[Note]], rng: Generator) -> Iterator[tuple[bool, list[Note]]]:
    """Whether it is a drum, and its notes in the part of the song that is played, from second 0 on."""
    length = max(note.end for voice in notes.values() for note in voice)
    begin = rng.uniform(0, max(0.0, length - SECONDS))
    kept = rng.choice(KEPT)
    drums = sorted((key for key in notes if key[0] == DRUM_CHANNEL), key=lambda key: -len(notes[key]))[:NUM_DRUMS]
    for key in [*drums, *sorted(key for key in notes if key[0] != DRUM_CHANNEL)]:
        part = [
            Note(note.start - begin, min(note.end - begin, SECONDS), note.key, note.velocity)
            for note in notes[key]
            if begin <= note.start < begin + SECONDS
        ]
        if part and rng.random() < kept:
            yield key in drums, part


def add_track(template: Element, notes: list[Note], transpose: int, rng: Generator) -> Element:
    """A copy of the track `template`, its instrument still to be set, that plays `notes`."""
    track = copy.deepcopy(template)
    for pattern in track.findall("pattern"):
        track.remove(pattern)
    instrument = track.find("instrumenttrack")
    assert instrument is not None
    instrument.attrib |= {"vol": f"{rng.uniform(30, 100):.0f}", "pan": f"{rng.uniform(-60, 60):.0f}", "fxch": "0"}
    bars = str(TICKS_PER_BAR * (1 + SECONDS * TICKS_PER_SECOND // TICKS_PER_BAR))
    pattern = SubElement(track, "pattern", type="1", pos="0", len=bars, muted="0", steps="16", name="")
    for note in notes:
        SubElement(
            pattern,
            "note",
            key=str(min(max(note.key - OCTAVE + transpose, 0), 107)),
            vol=str(round(note.velocity / 1.27)),
            pan="0",
            pos=str(round(note.start * TICKS_PER_SECOND)),
            len=str(max(6, round((note.end - note.start) * TICKS_PER_SECOND))),
        )
    return track


@dataclass(frozen=True)
class Sounds:
    """What a song's voices may play on."""

    drums: list[str]
    presets: list[Path]


def sequence(project: Element, midi: Path, sounds: Sounds, rng: Generator) -> None:
    """Put the notes of `midi` into `project`, an LMMS project with an instrument to copy, in place of its own."""
    container = project.find("song/trackcontainer")
    assert container is not None
    template = next(track for track in container.findall("track") if track.find("instrumenttrack") is not None)
    for track in container.findall("track"):
        container.remove(track)
    head = project.find("head")
    assert head is not None
    head.attrib |= {"bpm": "120", "mastervol": "60", "masterpitch": "0"}
    for is_drum, notes in chosen(voices(midi), rng):
        track = add_track(template, notes, 0 if is_drum else int(rng.choice([-OCTAVE, 0, 0, OCTAVE])), rng)
        instrument = track.find("instrumenttrack")
        assert instrument is not None
        if is_drum:
            for note in track.iter("note"):
                note.set("key", instrument.get("basenote", "57"))
            set_drum(instrument, sounds.drums[rng.integers(len(sounds.drums))])
        else:
            set_preset(instrument, sounds.presets[rng.integers(len(sounds.presets))])
        container.append(track)


def render_sequence(midi: Path, song: str, share: Path, sounds: Sounds, out: Path) -> None:
    if list(out.glob(f"{song}__*.flac")):
        return
    project = read_project(next(share.glob("projects/shorties/Greshz-CoolSnip.mmpz")))
    try:
        sequence(project, midi, sounds, np.random.default_rng(derive_seed("sequence", song)))
    except (OSError, ValueError, EOFError, KeyError) as error:
        print(f"not played: {song}: {error}", flush=True)
        return
    render_project(project, out, song)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unpacked", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--share", type=Path, default=Path("/usr/share/lmms"))
    parser.add_argument("--first", type=int, default=0, help="number of the first")
    parser.add_argument("--count", type=int, default=1, help="of each MIDI file")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    sounds = Sounds(drum_sounds(arguments.share), synthesiser_presets(arguments.share))
    play = partial(render_sequence, share=arguments.share, sounds=sounds, out=arguments.out)
    with tempfile.TemporaryDirectory() as scratch, ThreadPool(arguments.workers) as pool:
        songs = list(midi_files(arguments.unpacked, Path(scratch)))
        numbers = range(arguments.first, arguments.first + arguments.count)
        jobs = [partial(play, midi, f"lmms_{song}_played{number}") for number in numbers for song, midi in songs]
        for _ in pool.imap_unordered(partial.__call__, jobs):
            pass


if __name__ == "__main__":
    main()
