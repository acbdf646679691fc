"""What the demo composer plays: keys, chords, bars and sections as lists of notes, without any sound."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
}
# Scale degrees of one chord a bar; every scale above can carry each of them.
PROGRESSIONS = (
    (0, 4, 5, 3),
    (0, 5, 3, 4),
    (0, 3, 0, 4),
    (5, 3, 0, 4),
    (0, 2, 3, 4),
    (0, 6, 5, 4),
    (0, 3, 6, 2),
    (1, 4, 0, 5),
)
PARTS = ("drums", "bass", "pluck", "pad", "lead")


class Note(NamedTuple):
    start: float  # seconds
    seconds: float
    pitch: int  # MIDI
    velocity: float  # 0..1


class Hit(NamedTuple):
    start: float
    drum: str
    velocity: float


@dataclass(frozen=True)
class Score:
    """A whole piece: notes by part, hits, and the seconds of one beat (for tempo echoes)."""

    notes: dict[str, list[Note]]
    hits: list[Hit]
    beat_seconds: float


@dataclass(frozen=True)
class _Style:
    beat: float
    beats: int  # in a bar
    swing: float  # delay of every second eighth, in eighths
    root: int
    scale: tuple[int, ...]
    busy: float  # 0..1: how much happens in a bar


def write(seed_rng: np.random.Generator, seconds: float) -> Score:
    """Compose until `seconds` are full: sections of four bars over a chord progression, with a fill at each end."""
    rng = seed_rng
    style = _Style(
        beat=60.0 / rng.uniform(72, 168),
        beats=int(rng.choice([4, 4, 4, 3])),
        swing=float(rng.choice([0.0, 0.0, 0.2, 0.33])),
        root=int(rng.integers(0, 12)),
        scale=SCALES[str(rng.choice(list(SCALES)))],
        busy=rng.uniform(0.35, 0.9),
    )
    sections = {name: _Section(style, rng) for name in ("verse", "chorus", "bridge")}
    order = ("verse", "chorus", "verse", "chorus", "bridge", "chorus")
    score = Score(notes={part: [] for part in PARTS[1:]}, hits=[], beat_seconds=style.beat)
    start, index = 0.0, 0
    while start < seconds:
        name = order[index % len(order)]
        sections[name].play(score, start, rng)
        start += 4 * style.beats * style.beat
        index += 1
    return score


class _Section:
    """Four bars that come back: the chords, the patterns and the tune are fixed, the playing varies a little."""

    def __init__(self, style: _Style, rng: np.random.Generator) -> None:
        self.style = style
        self.chords = PROGRESSIONS[rng.integers(len(PROGRESSIONS))]
        steps = 2 * style.beats  # eighths in a bar
        self.kick = _pattern(steps, style.busy * 0.5, rng, always=(0,))
        self.hat = np.ones(steps, bool) if rng.random() < 0.7 else np.arange(steps) % 2 == 0
        self.bass = _pattern(steps, style.busy, rng, always=(0,))
        self.arpeggio = rng.permutation(np.arange(steps)) % 5
        self.pluck = _pattern(steps, style.busy, rng, always=(0,))
        self.tune = [_pattern(steps, style.busy * 0.6, rng, always=()) for _ in range(2)]
        self.steps_of_tune = rng.integers(-2, 3, size=(2, steps))
        # The bridge and the verse may leave parts out; drums or bass always stay.
        self.parts = {part for part in PARTS if rng.random() < 0.85} | {str(rng.choice(PARTS[:2])), "pluck"}
        self.level = rng.uniform(0.7, 1.0)

    def play(self, score: Score, start: float, rng: np.random.Generator) -> None:
        style = self.style
        degree = int(rng.integers(0, 5))
        for number, chord in enumerate(self.chords):
            bar_start = start + number * style.beats * style.beat
            if "drums" in self.parts:
                self._drums(score, bar_start, rng, fill=number == 3)
            if "bass" in self.parts:
                self._line(score.notes["bass"], bar_start, self.bass, [self._pitch(chord, 2)], rng, 0.9)
            if "pluck" in self.parts:
                pitches = [self._pitch(chord + 2 * int(k), 4) for k in self.arpeggio]
                self._line(score.notes["pluck"], bar_start, self.pluck, pitches, rng, 1.6)
            if "pad" in self.parts:
                for offset in (0, 2, 4, 6)[: 3 + (number % 2)]:
                    pitch = self._pitch(chord + offset, 4 if offset else 3)
                    held = style.beats * style.beat * 0.98
                    score.notes["pad"].append(Note(bar_start, held, pitch, self.level * rng.uniform(0.8, 1)))
            if "lead" in self.parts:
                degree = self._tune(score, bar_start, number, chord, degree, rng)

    def _pitch(self, degree: int, octave: int) -> int:
        scale = self.style.scale
        return 12 * (octave + 1) + self.style.root + scale[degree % 7] + 12 * (degree // 7)

    def _time(self, bar_start: float, step: int) -> float:
        late = self.style.swing if step % 2 else 0.0
        return bar_start + (step + late) * self.style.beat / 2

    def _line(
        self,
        notes: list[Note],
        bar_start: float,
        pattern: np.ndarray,
        pitches: list[int],
        rng: np.random.Generator,
        hold: float,
    ) -> None:
        for step in np.flatnonzero(pattern).tolist():
            velocity = self.level * rng.uniform(0.6, 1.0) * (1.0 if step % 2 == 0 else 0.8)
            pitch = pitches[step % len(pitches)]
            notes.append(Note(self._time(bar_start, step), hold * self.style.beat / 2, pitch, velocity))

    def _tune(
        self, score: Score, bar_start: float, number: int, chord: int, degree: int, rng: np.random.Generator
    ) -> int:
        steps = np.flatnonzero(self.tune[number % 2]).tolist()
        ends = [*steps, 2 * self.style.beats][1:]
        for step, following in zip(steps, ends, strict=True):
            degree = int(np.clip(degree + self.steps_of_tune[number % 2, step], -2, 9))
            if step % 4 == 0:  # strong beats take a note of the chord
                degree = min((chord % 7 + 2 * k for k in range(4)), key=lambda d: abs(d - degree))
            held = 0.9 * (following - step) * self.style.beat / 2
            pitch = self._pitch(degree, 5)
            score.notes["lead"].append(Note(self._time(bar_start, step), held, pitch, self.level * rng.uniform(0.7, 1)))
        return degree

    def _drums(self, score: Score, bar_start: float, rng: np.random.Generator, fill: bool) -> None:
        steps = 2 * self.style.beats
        for step in range(steps):
            time = self._time(bar_start, step)
            if fill and step >= steps - 3 and rng.random() < 0.8:
                drum = ("high_tom", "low_tom", "snare")[step % 3]
                score.hits.append(Hit(time, drum, rng.uniform(0.6, 1)))
                continue
            if self.kick[step]:
                score.hits.append(Hit(time, "kick", rng.uniform(0.8, 1)))
            if step % 4 == 2:
                score.hits.append(Hit(time, "snare", rng.uniform(0.75, 1)))
            if self.hat[step]:
                drum = "open_hat" if step == steps - 1 else "hat"
                score.hits.append(Hit(time, drum, rng.uniform(0.35, 0.8)))
        if not fill and rng.random() < 0.3:
            score.hits.append(Hit(bar_start, "crash", rng.uniform(0.5, 0.9)))


def _pattern(steps: int, density: float, rng: np.random.Generator, always: tuple[int, ...]) -> np.ndarray:
    """On-beats are likelier than off-beats; `always` holds steps that sound in any case. bool [steps]."""
    chance = np.where(np.arange(steps) % 2 == 0, min(1.0, 1.3 * density), 0.7 * density)
    pattern = rng.random(steps) < chance
    pattern[list(always)] = True
    return pattern
