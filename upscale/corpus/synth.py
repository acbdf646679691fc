"""Instruments of the demo composer: one note in, one mono float32 wave out, no aliasing and no files.

Two ideas make it fast. Struck and plucked sounds are sums of damped partials, and such a sum is a matrix product
(`modes`). Sustained sounds read one period from a table (`oscillator`), whose harmonics stop below 20 kHz.
"""

from collections.abc import Callable
from functools import lru_cache
from math import ceil

import numpy as np
from scipy import signal

SAMPLE_RATE = 44_100
TOP_HZ = 20_000.0
TABLE_SIZE = 4096
VIBRATO_HZ = 5.3
ROWS_IN_CACHE = 128

Wave = np.ndarray
Voice = Callable[[float, float, np.random.Generator], Wave]  # (frequency in Hz, seconds, generator) -> [T]


def midi_to_hz(pitch: float) -> float:
    return 440.0 * 2.0 ** ((pitch - 69.0) / 12.0)


def modes(frequencies: np.ndarray, amplitudes: np.ndarray, decay_seconds: np.ndarray, num_samples: int) -> Wave:
    """Sum of damped cosines, `amplitude * exp(-t / decay) * cos(2 pi f t)`.

    z^(b S + s) = z^(b S) z^s, so T = B S samples of a partial cost B + S exponentials and one outer product instead
    of T exponentials; rows in which a partial is 80 dB down are left out. No BLAS: its sums depend on its threads.
    """
    step = 256
    wave = np.zeros((-(-num_samples // step), step), np.float32)
    product = np.empty_like(wave)
    for frequency, amplitude, decay in zip(frequencies, amplitudes, decay_seconds, strict=True):
        if frequency >= TOP_HZ:
            continue
        rate = (-1.0 / decay + 2j * np.pi * frequency) / SAMPLE_RATE
        num_rows = min(len(wave), 1 + int(9.2 * decay * SAMPLE_RATE / step))
        coarse = (amplitude * np.exp(rate * step * np.arange(num_rows))).astype(np.complex64)[:, None]
        fine = np.exp(rate * np.arange(step)).astype(np.complex64)
        cosine, sine = fine.real.copy(), fine.imag.copy()
        for first in range(0, num_rows, ROWS_IN_CACHE):
            rows = slice(first, min(first + ROWS_IN_CACHE, num_rows))
            part, out = wave[rows], product[: rows.stop - first]
            part += np.multiply(coarse.real[rows], cosine, out=out)
            part -= np.multiply(coarse.imag[rows], sine, out=out)
    return wave.reshape(-1)[:num_samples]


def table(amplitudes: np.ndarray) -> np.ndarray:
    """One period whose harmonic m has `amplitudes[m - 1]`, with fixed spread phases to keep the crest factor low."""
    m = np.arange(1, len(amplitudes) + 1)
    spectrum = np.zeros(TABLE_SIZE // 2 + 1, np.complex64)
    spectrum[1 : len(m) + 1] = amplitudes * np.exp(-1j * (np.pi / 2 + 0.7 * m**0.5))
    period = np.fft.irfft(spectrum)
    return (period / np.abs(period).max()).astype(np.float32)


@lru_cache(maxsize=16)
def _clock(num_seconds: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What every note needs: the time in seconds, the growth of a vibrato, its swing."""
    t = np.arange(num_seconds * SAMPLE_RATE, dtype=np.float64) / SAMPLE_RATE
    return t, np.minimum(2 * t, 1.0), np.sin(2 * np.pi * VIBRATO_HZ * t)


def oscillator(period: np.ndarray, frequency: float, num_samples: int, phase: float, vibrato: float = 0.0) -> Wave:
    """Read `period` at `frequency` Hz; `vibrato` is a relative depth at 5.3 Hz that grows over half a second."""
    t, growth, swing = (values[:num_samples] for values in _clock(ceil(num_samples / SAMPLE_RATE)))
    turns = frequency * t
    turns += phase
    if vibrato:
        bend = (frequency * vibrato / (2 * np.pi * VIBRATO_HZ)) * growth
        bend *= swing
        turns += bend
    turns *= TABLE_SIZE
    index = turns.astype(np.int64)
    turns -= index
    fraction = turns.astype(np.float32)
    index &= TABLE_SIZE - 1
    slope = np.roll(period, -1) - period
    fraction *= slope.take(index)
    fraction += period.take(index)
    return fraction


def envelope(num_samples: int, attack_seconds: float, release_seconds: float, sustain: float = 1.0) -> Wave:
    """Straight attack, exponential approach to `sustain`, straight release inside the note's own length."""
    t = np.arange(num_samples, dtype=np.float32) / SAMPLE_RATE
    shape = sustain + (1 - sustain) * np.exp(-t / 0.25)
    shape *= np.minimum(1.0, t / attack_seconds)
    return (shape * np.minimum(1.0, (t[-1] - t) / release_seconds)).astype(np.float32)


@lru_cache(maxsize=64)
def _band_pass(low_hz: float, high_hz: float) -> np.ndarray:
    return signal.butter(2, [low_hz, high_hz], "bandpass", fs=SAMPLE_RATE, output="sos").astype(np.float32)


def noise_burst(decay_seconds: float, low_hz: float, high_hz: float, rng: np.random.Generator, seconds: float) -> Wave:
    num_samples = int(seconds * SAMPLE_RATE)
    white = rng.standard_normal(num_samples).astype(np.float32)
    sos = _band_pass(low_hz, high_hz)
    t = np.arange(num_samples, dtype=np.float32) / SAMPLE_RATE
    return signal.sosfilt(sos, white).astype(np.float32) * np.exp(-t / decay_seconds)


def _num_harmonics(frequency: float) -> int:
    return max(1, min(TABLE_SIZE // 2 - 1, int(TOP_HZ / frequency)))


def _finish(wave: Wave) -> Wave:
    """Fade the last 10 ms and set the peak to 1, so that voices can be mixed by their gains alone."""
    fade = min(441, len(wave))
    wave[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    return wave / (np.abs(wave).max() + 1e-9)


# --- plucked and struck voices ---------------------------------------------------------------------------------------


def string(position: float, brightness: float, ring_seconds: float, stiffness: float, pick: float) -> Voice:
    """A plucked string: harmonics of a pluck at `position`, the high ones dying first, and the noise of the pick."""

    def play(frequency: float, seconds: float, rng: np.random.Generator) -> Wave:
        num_samples = int((seconds + 0.25) * SAMPLE_RATE)
        m = np.arange(1, min(_num_harmonics(frequency), 90) + 1)
        frequencies = frequency * m * np.sqrt(1 + stiffness * m**2)
        amplitudes = np.sin(np.pi * m * position) / m ** (1.6 - brightness) * rng.uniform(0.7, 1.3, len(m))
        ring = ring_seconds * (220 / frequency) ** 0.3
        decay = ring / (1 + (0.06 - 0.05 * brightness) * m**1.3)
        wave = modes(frequencies, amplitudes, decay, num_samples)
        wave /= np.abs(wave).max()
        click = noise_burst(0.004 + 0.01 * brightness, 2500, 19_500, rng, 0.06)
        wave[: len(click)] += pick * click
        return _finish(wave)

    return play


def bar(ratios: tuple[float, ...], ring_seconds: float, click: float) -> Voice:
    """A struck bar or bell: few partials at `ratios` of the pitch."""

    def play(frequency: float, seconds: float, rng: np.random.Generator) -> Wave:
        num_samples = int((seconds + 0.4) * SAMPLE_RATE)
        ratio = np.array(ratios)
        amplitudes = 1 / ratio**0.7 * rng.uniform(0.6, 1.2, len(ratio))
        wave = modes(frequency * ratio, amplitudes, ring_seconds / ratio**0.8, num_samples)
        burst = noise_burst(0.006, 1500, 19_000, rng, 0.05)
        wave[: len(burst)] += click * burst
        return _finish(wave)

    return play


# --- sustained voices ------------------------------------------------------------------------------------------------


def _spectrum(kind: str, frequency: float) -> np.ndarray:
    m = np.arange(1, _num_harmonics(frequency) + 1)
    if kind == "square":
        return np.where(m % 2 == 1, 1.0 / m, 0.02 / m)
    if kind == "organ":
        drawbars = np.zeros(max(len(m), 16))
        drawbars[[0, 1, 2, 3, 5, 7, 9, 15]] = [1, 0.8, 0.6, 0.5, 0.3, 0.25, 0.12, 0.1]
        return (drawbars[: len(m)] + 0.02 / m**0.8)[: len(m)]
    if kind == "choir":
        formants = ((650, 120, 1.0), (1100, 150, 0.5), (2700, 250, 0.25), (3500, 400, 0.2), (9000, 3000, 0.02))
        hz = frequency * m
        shape = sum(gain * np.exp(-0.5 * ((hz - centre) / width) ** 2) for centre, width, gain in formants)
        return (shape + 0.01) / m**0.4
    return 1.0 / m  # saw


def sustained(kind: str, attack: float, release: float, detune: float, vibrato: float, dullness: float) -> Voice:
    """A held note of `saw`, `square`, `organ` or `choir`: two detuned oscillators, opening from dull to bright."""

    def play(frequency: float, seconds: float, rng: np.random.Generator) -> Wave:
        num_samples = int((seconds + release) * SAMPLE_RATE)
        amplitudes = _spectrum(kind, frequency)
        m = np.arange(1, len(amplitudes) + 1)
        bright = table(amplitudes / (1 + (dullness * m * frequency / 8000) ** 2))
        first = oscillator(bright, frequency * (1 + detune), num_samples, rng.random(), vibrato)
        second = oscillator(bright, frequency * (1 - detune), num_samples, rng.random(), vibrato * 0.7)
        breath = 0.012 * rng.standard_normal(num_samples, dtype=np.float32)
        shape = envelope(num_samples, attack, release, sustain=0.75)
        return _finish((first + second + breath) * shape)

    return play


# --- drums -----------------------------------------------------------------------------------------------------------


def kick(rng: np.random.Generator) -> Wave:
    t = np.arange(int(0.45 * SAMPLE_RATE), dtype=np.float32) / SAMPLE_RATE
    low, sweep, speed = rng.uniform(42, 60), rng.uniform(80, 220), rng.uniform(0.02, 0.05)
    phase = 2 * np.pi * (low * t + sweep * speed * (1 - np.exp(-t / speed)))
    wave = np.sin(phase) * np.exp(-t / rng.uniform(0.09, 0.18))
    click = noise_burst(0.003, 1500, 12_000, rng, 0.03)
    wave[: len(click)] += rng.uniform(0.1, 0.5) * click
    return _finish(np.tanh(1.5 * wave).astype(np.float32))


def snare(rng: np.random.Generator) -> Wave:
    num_samples = int(0.35 * SAMPLE_RATE)
    tone = rng.uniform(160, 240) * np.array([1, 1.48, 2.1, 2.6])
    shell = modes(tone, np.array([1, 0.7, 0.4, 0.3]), np.array([0.09, 0.07, 0.05, 0.04]), num_samples)
    wires = noise_burst(rng.uniform(0.06, 0.13), rng.uniform(900, 2500), 19_500, rng, 0.35)
    return _finish(shell * rng.uniform(0.4, 0.9) + wires[:num_samples])


def metal(decay_seconds: float, low_hz: float) -> Callable[[np.random.Generator], Wave]:
    """Hi-hats and cymbals: a cloud of inharmonic partials in bright noise, up to 20 kHz."""

    def play(rng: np.random.Generator) -> Wave:
        seconds = min(2.5, 5 * decay_seconds)
        noise = noise_burst(decay_seconds, low_hz, 20_500, rng, seconds)
        frequencies = np.exp(rng.uniform(np.log(low_hz * 0.6), np.log(19_500), 40))
        amplitudes = rng.uniform(0.02, 0.15, 40)
        ring = modes(frequencies, amplitudes, decay_seconds * rng.uniform(0.5, 1.5, 40), len(noise))
        return _finish(noise + ring)

    return play


def tom(frequency: float) -> Callable[[np.random.Generator], Wave]:
    def play(rng: np.random.Generator) -> Wave:
        t = np.arange(int(0.5 * SAMPLE_RATE), dtype=np.float32) / SAMPLE_RATE
        phase = 2 * np.pi * frequency * (t + 0.02 * (1 - np.exp(-t / 0.04)))
        wave = np.sin(phase) * np.exp(-t / 0.14)
        skin = noise_burst(0.02, 400, 8000, rng, 0.15)
        wave[: len(skin)] += 0.25 * skin
        return _finish(wave.astype(np.float32))

    return play
