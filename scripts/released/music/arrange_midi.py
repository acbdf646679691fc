"""Other arrangements of a MIDI file: other instruments, keys, tempi and balances, drawn from a seed. Needs `mido`.

Ninety pieces with the instruments that their authors chose have few timbres to learn from. The same pieces played by
any of the 128 General MIDI programs have many.
"""

from pathlib import Path

import mido
import numpy as np

DRUM_CHANNEL = 9
DRUM_KITS = (0, 8, 16, 24, 25, 32, 40)  # standard, room, power, electronic, analogue, jazz, brush (General MIDI 2)
EFFECTS = range(120, 128)  # sea shore, helicopter, gunshot: hardly music
PANORAMA, ALL_SOUND_OFF = 10, 120  # controllers
SECONDS = 75  # how much of the piece is kept: rendering takes time


def arrange(path: Path, out: Path, rng: np.random.Generator) -> None:
    """Write another arrangement of the MIDI file `path` to `out`."""
    source = mido.MidiFile(path, clip=True)
    programs = {channel: draw_program(channel, rng) for channel in range(16)}
    transpose = int(rng.integers(-5, 6))
    stretch = rng.uniform(0.8, 1.25)
    loudness = {channel: rng.uniform(0.5, 1.0) for channel in range(16)}
    arranged = mido.MidiFile(type=0, ticks_per_beat=480)
    track = arranged.add_track()
    track.append(mido.MetaMessage("set_tempo", tempo=500_000))
    for channel in range(16):
        track.append(mido.Message("program_change", channel=channel, program=programs[channel]))
        position = int(rng.integers(20, 108))
        track.append(mido.Message("control_change", channel=channel, control=PANORAMA, value=position))
    seconds, ticks = 0.0, 0
    for message in source:  # merged tracks, times in seconds
        seconds += message.time * stretch
        if seconds > SECONDS:
            break
        if message.is_meta or message.type in ("program_change", "sysex"):
            continue
        changed = message.copy()
        if changed.type in ("note_on", "note_off"):
            if changed.channel != DRUM_CHANNEL:
                changed.note = int(np.clip(changed.note + transpose, 0, 127))
            changed.velocity = round(changed.velocity * loudness[changed.channel])
        elif changed.is_cc(PANORAMA):
            continue
        now = round(seconds * 2 * arranged.ticks_per_beat)  # two beats a second
        changed.time, ticks = now - ticks, now
        track.append(changed)
    for channel in range(16):  # a note without end is rendered for ever
        track.append(mido.Message("control_change", channel=channel, control=ALL_SOUND_OFF))
    arranged.save(out)


def draw_program(channel: int, rng: np.random.Generator) -> int:
    if channel == DRUM_CHANNEL:
        return int(rng.choice(DRUM_KITS))
    return int(rng.integers(0, EFFECTS.start))
