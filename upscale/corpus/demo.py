"""Songs composed by the program itself: a data set that needs no download, the same from the same seed everywhere."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from scipy import signal

from upscale.corpus import score, synth
from upscale.corpus.synth import SAMPLE_RATE, Voice, Wave
from upscale.corpus.track import Track
from upscale.seeds import derive_seed

_PLUCKED: tuple[Voice, ...] = (
    synth.string(position=0.13, brightness=0.5, ring_seconds=0.9, stiffness=2e-5, pick=0.3),  # steel guitar
    synth.string(position=0.3, brightness=0.2, ring_seconds=1.2, stiffness=1e-5, pick=0.1),  # harp
    synth.string(position=0.11, brightness=0.6, ring_seconds=1.6, stiffness=2e-4, pick=0.15),  # piano
    synth.string(position=0.05, brightness=0.9, ring_seconds=0.7, stiffness=1e-5, pick=0.5),  # harpsichord
    synth.bar(ratios=(1, 3.93, 9.24, 16.2), ring_seconds=0.5, click=0.3),  # marimba
    synth.bar(ratios=(0.5, 1, 1.19, 1.5, 2, 2.66, 3.4, 5.1, 6.7, 8.8), ring_seconds=1.4, click=0.15),  # bell
    synth.bar(ratios=(1, 2, 7.1, 14.2, 15.3), ring_seconds=1.0, click=0.1),  # electric piano
)
_BASSES: tuple[Voice, ...] = (
    synth.string(position=0.2, brightness=0.3, ring_seconds=0.8, stiffness=5e-5, pick=0.15),
    synth.sustained("saw", attack=0.004, release=0.05, detune=0.0015, vibrato=0, dullness=6),
    synth.sustained("square", attack=0.004, release=0.05, detune=0.0, vibrato=0, dullness=9),
)
_PADS: tuple[Voice, ...] = (
    synth.sustained("saw", attack=0.15, release=0.3, detune=0.003, vibrato=0.002, dullness=2),  # strings
    synth.sustained("organ", attack=0.01, release=0.08, detune=0.0006, vibrato=0.003, dullness=0.5),
    synth.sustained("choir", attack=0.12, release=0.3, detune=0.004, vibrato=0.006, dullness=0.3),
)
_LEADS: tuple[Voice, ...] = (
    synth.sustained("saw", attack=0.02, release=0.1, detune=0.002, vibrato=0.006, dullness=1.2),
    synth.sustained("square", attack=0.03, release=0.1, detune=0.001, vibrato=0.007, dullness=1.5),
    synth.sustained("choir", attack=0.05, release=0.12, detune=0.001, vibrato=0.009, dullness=0.4),
    synth.string(position=0.12, brightness=0.7, ring_seconds=1.5, stiffness=3e-5, pick=0.25),
)
_DRUMS = {
    "kick": synth.kick,
    "snare": synth.snare,
    "hat": synth.metal(0.035, 6500),
    "open_hat": synth.metal(0.16, 5500),
    "crash": synth.metal(0.6, 3000),
    "high_tom": synth.tom(170),
    "low_tom": synth.tom(105),
}
_DRUM_PAN = {"hat": 0.3, "open_hat": 0.3, "crash": -0.4, "high_tom": -0.35, "low_tom": 0.4}


def compose(seed: int, seconds: float = 30.0) -> np.ndarray:
    """A piece of music, `[2, seconds * 44100]` float32 within ±1, decided by `seed` (and `seconds`) alone.

    Drums, bass, plucked and sustained voices play a song form in a key, metre and tempo of its own; panning, a
    tempo echo, a convolution reverb and a soft limiter make the record. Energy reaches 20 kHz.
    """
    rng = np.random.default_rng(seed)
    num_samples = round(seconds * SAMPLE_RATE)
    piece = score.write(rng, seconds)
    dry = np.zeros((2, num_samples), np.float32)
    send = np.zeros(num_samples, np.float32)

    drums = _render_drums(piece.hits, num_samples, rng)
    _mix(dry, send, drums, gain=rng.uniform(0.4, 0.8), wet=0.12)
    bass = _render(piece.notes["bass"], _choose(_BASSES, rng), num_samples, rng, spread=0.0)
    _mix(dry, send, bass, gain=rng.uniform(0.15, 0.35), wet=0.02)
    pluck = _render(piece.notes["pluck"], _choose(_PLUCKED, rng), num_samples, rng, spread=0.7)
    _mix(dry, send, pluck, gain=rng.uniform(0.25, 0.45), wet=0.35)
    pad = _render(piece.notes["pad"], _choose(_PADS, rng), num_samples, rng, spread=0.9)
    _mix(dry, send, pad, gain=rng.uniform(0.08, 0.18), wet=0.4)
    lead = _render(piece.notes["lead"], _choose(_LEADS, rng), num_samples, rng, spread=0.2)
    echo(lead, delay=int(0.75 * piece.beat_seconds * SAMPLE_RATE), gain=rng.uniform(0.1, 0.4))
    _mix(dry, send, lead, gain=rng.uniform(0.2, 0.35), wet=0.3)

    dry += _reverb(send, rng)
    # Even a quiet passage of a recording has the air of its room.
    dry += rng.uniform(1e-4, 6e-4) * rng.standard_normal(dry.shape, dtype=np.float32)
    return _master(dry, loudness_db=rng.uniform(-19, -13))


@dataclass(frozen=True)
class DemoTrack(Track):
    """A song that exists only as a seed."""

    is_composed: ClassVar[bool] = True
    seed: int = 0
    seconds: float = 30.0

    def fingerprint(self) -> list[Any]:
        return [self.dataset, self.name, self.split, self.seed, self.seconds]

    def info(self) -> tuple[int, int]:
        return SAMPLE_RATE, round(self.seconds * SAMPLE_RATE)

    def read(self, start: int, num_samples: int) -> np.ndarray:
        return _composed(self.seed, self.seconds)[:, start : start + num_samples]


def tracks(num_songs: int, seconds: float, seed: int) -> list[DemoTrack]:
    """`num_songs` songs, the first ones the same whatever their number."""
    return [
        DemoTrack(
            dataset="demo",
            name=f"song-{number:04d}",
            artist="upscalemp3",
            title=f"Song {number} of seed {seed}",
            licence="CC0-1.0",
            group=f"song-{number:04d}",
            seed=derive_seed(seed, "demo", number),
            seconds=seconds,
        )
        for number in range(num_songs)
    ]


@lru_cache(maxsize=1)
def _composed(seed: int, seconds: float) -> np.ndarray:
    """Clips of one song are read one after the other: the last song is kept."""
    return compose(seed, seconds)


def _choose(voices: tuple[Voice, ...], rng: np.random.Generator) -> Voice:
    return voices[rng.integers(len(voices))]


def add(bus: np.ndarray, wave: Wave, start: int, left: float, right: float) -> None:
    wave = wave[: max(0, bus.shape[1] - start)]
    bus[0, start : start + len(wave)] += left * wave
    bus[1, start : start + len(wave)] += right * wave


def pan(position: float) -> tuple[float, float]:
    """Constant-power gains (left, right); `position` from -1 (left) to 1 (right)."""
    angle = (position + 1) * np.pi / 4
    return float(np.cos(angle)), float(np.sin(angle))


def _render(
    notes: list[score.Note], voice: Voice, num_samples: int, rng: np.random.Generator, spread: float
) -> np.ndarray:
    """One bus `[2, T]`. A note of the same pitch and length is synthesised once; pitches spread over the stage."""
    bus = np.zeros((2, num_samples), np.float32)
    waves: dict[tuple[int, int], Wave] = {}
    centre = rng.uniform(-0.5, 0.5) * spread
    for note in notes:
        start = int(note.start * SAMPLE_RATE)
        if start >= num_samples:
            continue
        key = (note.pitch, round(note.seconds * 100))
        if key not in waves:
            waves[key] = voice(synth.midi_to_hz(note.pitch), note.seconds, rng)
        place = np.clip(centre + spread * np.sin(2.4 * note.pitch), -1, 1)
        left, right = pan(float(place))
        add(bus, waves[key], start, note.velocity * left, note.velocity * right)
    return bus


def _render_drums(hits: list[score.Hit], num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Two takes of each drum alternate, as no drummer hits twice alike. `[2, T]`."""
    bus = np.zeros((2, num_samples), np.float32)
    takes: dict[tuple[str, int], Wave] = {}
    gains = {name: rng.uniform(0.25, 0.5) if "hat" in name or name == "crash" else 0.8 for name in _DRUMS}
    for number, hit in enumerate(hits):
        start = int(hit.start * SAMPLE_RATE)
        if start >= num_samples:
            continue
        take = (hit.drum, number % 2)
        if take not in takes:
            takes[take] = _DRUMS[hit.drum](rng)
        left, right = pan(_DRUM_PAN.get(hit.drum, 0.0))
        gain = gains[hit.drum] * hit.velocity
        add(bus, takes[take], start, gain * left, gain * right)
    return bus


def _mix(dry: np.ndarray, send: np.ndarray, bus: np.ndarray, gain: float, wet: float) -> None:
    bus *= gain
    dry += bus
    send += (0.7 * wet) * (bus[0] + bus[1])


def echo(bus: np.ndarray, delay: int, gain: float) -> None:
    """Ping-pong echo in place: each of four repeats is softer and on the other side."""
    for repeat in range(1, 5):
        shift = repeat * delay
        if shift < bus.shape[1]:
            bus[:, shift:] += gain**repeat * bus[::-1, :-shift]


def _reverb(send: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Convolve the mono `send` with decaying noise whose high frequencies die first, one for each ear. `[2, T]`."""
    seconds = rng.uniform(0.5, 1.8)
    num_samples = int(seconds * SAMPLE_RATE)
    t = np.arange(num_samples, dtype=np.float32) / SAMPLE_RATE
    noise = rng.standard_normal((2, num_samples), dtype=np.float32)
    dark = signal.lfilter([0.25], [1, -0.75], noise, axis=-1).astype(np.float32)
    tail = dark * np.exp(-5 * t / seconds) + 0.3 * noise * np.exp(-12 * t / seconds)
    tail /= np.sqrt(np.sum(tail**2, axis=-1, keepdims=True))
    return signal.oaconvolve(send[None], tail, axes=-1)[:, : len(send)].astype(np.float32)


def _master(mix: np.ndarray, loudness_db: float) -> np.ndarray:
    """Set the loudness, then bend peaks softly so that none leaves ±0.98; fade both ends by 5 ms."""
    rms = np.sqrt(np.mean(mix**2)) + 1e-9
    mix *= 10 ** (loudness_db / 20) / rms
    mix = 0.98 * np.tanh(mix / 0.98)
    fade = min(220, mix.shape[1] // 2)
    ramp = np.linspace(0, 1, fade, dtype=np.float32)
    mix[:, :fade] *= ramp
    mix[:, mix.shape[1] - fade :] *= ramp[::-1]
    return mix.astype(np.float32)
