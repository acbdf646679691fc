"""Instruments that nobody patched, drawn from a random generator: a note in, a mono wave out.

Wavetables behind a moving resonant low-pass, frequency modulation, strings and bars, noise. Some are played as a
tracker plays them: from a short sample of few bits at other speeds, with the artefacts of such a read.
"""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from scipy.signal import resample

from upscale.corpus import synth
from upscale.corpus.synth import SAMPLE_RATE, TABLE_SIZE, Voice, Wave

NUM_CUTOFFS = 8  # tables that a moving low-pass fades between
SAMPLED = 0.35  # how often a sound is played from a sample


def log_uniform(rng: Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def harmonics(rng: Generator) -> Callable[[np.ndarray], np.ndarray]:
    """What a wave is made of, by the number of the harmonic: a slope, a pulse, odd or even ones, formants."""
    slope, duty, even = rng.uniform(0, 1.8), rng.uniform(0.05, 0.5), rng.choice([1.0, 1.0, rng.uniform(0, 0.3)])
    bumps = [(log_uniform(rng, 1, 60), rng.uniform(0.1, 0.6), rng.uniform(0, 4)) for _ in range(rng.integers(0, 4))]
    pulse = rng.random() < 0.4

    def amplitudes(m: np.ndarray) -> np.ndarray:
        shape = m**-slope * np.where(m % 2, 1, even)
        if pulse:
            shape = shape * np.abs(np.sin(np.pi * m * duty))
        for centre, width, gain in bumps:
            shape = shape * (1 + gain * np.exp(-0.5 * (np.log(m / centre) / width) ** 2))
        return np.asarray(shape)

    return amplitudes


def wavetable(rng: Generator) -> Voice:
    """Detuned oscillators behind a low-pass of 12 or 24 dB an octave that moves as an envelope and an LFO say."""
    shape = harmonics(rng)
    detune, count = log_uniform(rng, 1e-4, 1e-2), int(rng.choice([1, 1, 2, 3, 5]))
    highest, lowest = log_uniform(rng, 1500, 40_000), log_uniform(rng, 200, 20_000)
    quality, steep = rng.uniform(0.6, 6), int(rng.choice([1, 2]))
    decay, rate, depth = log_uniform(rng, 0.03, 2), log_uniform(rng, 0.1, 8), rng.choice([0, rng.uniform(0, 0.4)])
    vibrato, play_envelope = float(rng.choice([0, 0, 0.004])), envelope(rng)

    def play(frequency: float, seconds: float, rng: Generator) -> Wave:
        amount = play_envelope(seconds)
        time = np.arange(len(amount)) / SAMPLE_RATE
        m = np.arange(1, max(2, min(TABLE_SIZE // 2 - 1, int(22_000 / frequency)) + 1))
        cutoffs = np.geomspace(min(lowest, highest), max(lowest, highest), NUM_CUTOFFS)
        ratio = m * frequency / cutoffs[:, None]
        gains = ((1 - ratio**2) ** 2 + (ratio / quality) ** 2) ** (-0.5 * steep)
        tables = np.stack([synth.table(shape(m) * gain + 1e-12) * gain.clip(max=1).max() for gain in gains])
        swing = 0.5 * depth * np.sin(2 * np.pi * (rate * time + rng.random()))
        place = (np.exp(-time / decay) + swing if lowest < highest else 1 - np.exp(-time / decay) + swing).clip(0, 1)
        place = place * (NUM_CUTOFFS - 1.001)
        lower, share = place.astype(np.int64), (place % 1).astype(np.float32)
        wave = np.zeros(len(time), np.float32)
        for voice in range(count):
            bend = 1 + detune * (2 * voice / max(count - 1, 1) - 1) * (count > 1)
            turns = frequency * bend * (time + vibrato / 35 * np.sin(35 * time)) + rng.random()
            index = (turns * TABLE_SIZE).astype(np.int64) % TABLE_SIZE
            wave += (1 - share) * tables[lower, index] + share * tables[lower + 1, index]
        return wave * amount

    return play


def modulated(rng: Generator) -> Voice:
    """Frequency modulation: a sine whose phase one to three others move, less and less."""
    whole = rng.random() < 0.7
    ratios = rng.integers(1, 12, 3) if whole else rng.uniform(0.3, 12, 3)
    depths = rng.uniform(0, 5, 3) * (rng.random(3) < 0.6)
    decays, held, play_envelope = rng.uniform(0.03, 1.5, 3), rng.uniform(0, 1, 3), envelope(rng)

    def play(frequency: float, seconds: float, rng: Generator) -> Wave:
        amount = play_envelope(seconds)
        time = np.arange(len(amount)) / SAMPLE_RATE
        phase = 2 * np.pi * frequency * time
        for ratio, depth, decay, sustain in zip(ratios, depths, decays, held, strict=True):
            if depth and ratio * frequency < 15_000:
                index = depth * (sustain + (1 - sustain) * np.exp(-time / decay))
                phase = phase + index * np.sin(2 * np.pi * ratio * frequency * time)
        return (np.sin(phase) * amount).astype(np.float32)

    return play


def struck(rng: Generator) -> Voice:
    if rng.random() < 0.5:
        return synth.string(
            rng.uniform(0.04, 0.4), rng.random(), rng.uniform(0.1, 2), log_uniform(rng, 1e-6, 5e-4), 0.3
        )
    ratios = tuple(np.cumprod(rng.uniform(1.05, 2.5, rng.integers(2, 9))).tolist())
    return synth.bar(ratios, rng.uniform(0.05, 1.5), rng.uniform(0, 0.4))


def noisy(rng: Generator) -> Voice:
    """A wave and tuned noise."""
    tone, share, low, width = wavetable(rng), rng.uniform(0.05, 0.7), rng.uniform(0.5, 4), rng.uniform(1.5, 8)

    def play(frequency: float, seconds: float, rng: Generator) -> Wave:
        wave = tone(frequency, seconds, rng)
        spectrum = np.fft.rfft(rng.standard_normal(len(wave)))
        hz = np.fft.rfftfreq(len(wave), 1 / SAMPLE_RATE)
        noise = np.fft.irfft(spectrum * ((hz > low * frequency) & (hz < low * width * frequency)), len(wave))
        return (wave + share * np.abs(wave) * noise).astype(np.float32)

    return play


def hissing(rng: Generator) -> Voice:
    """Noise up to the top, as loud as long as it sounds: a sweep that stands still."""
    slope, low, play_envelope = rng.uniform(-0.5, 1), log_uniform(rng, 50, 8_000), envelope(rng)

    def play(frequency: float, seconds: float, rng: Generator) -> Wave:
        amount = play_envelope(seconds)
        hz = np.fft.rfftfreq(len(amount), 1 / SAMPLE_RATE) + 1
        gains = hz**-slope * (hz > low)
        noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(len(amount))) * gains, len(amount))
        return np.asarray(noise / (noise.std() + 1e-9) * amount, np.float32)

    return play


def envelope(rng: Generator) -> Callable[[float], Wave]:
    attack, release = log_uniform(rng, 0.001, 0.15), log_uniform(rng, 0.002, 0.3)
    decay, sustain = log_uniform(rng, 0.03, 1), rng.choice([0, 1, rng.random()])

    def amount(seconds: float) -> Wave:
        time = np.arange(max(64, int(seconds * SAMPLE_RATE))) / SAMPLE_RATE
        shape = (sustain + (1 - sustain) * np.exp(-time / decay)) * np.minimum(1, time / attack)
        return (shape * np.minimum(1, (time[-1] - time) / release)).astype(np.float32)

    return amount


def sampled(recorded: Wave, rng: Generator) -> Callable[[float], Wave]:
    """A sound as a tracker keeps it, few bits and few samples a second; at a speed, by a nearest or a linear read."""
    rate, bits, linear = log_uniform(rng, 8_000, 44_100), int(rng.choice([8, 8, 16])), rng.random() < 0.6
    peak = np.abs(recorded).max() + 1e-9
    few = resample(recorded / peak, max(16, int(len(recorded) * rate / SAMPLE_RATE)))
    few = np.round(few * 2 ** (bits - 1)) / 2 ** (bits - 1)

    def play(speed: float) -> Wave:
        place = np.arange(int((len(few) - 1) * SAMPLE_RATE / rate / speed)) * (rate * speed / SAMPLE_RATE)
        if linear:
            return np.interp(place, np.arange(len(few)), few).astype(np.float32)
        return np.asarray(few[place.astype(np.int64)], np.float32)

    return play


def from_sample(voice: Voice, rng: Generator) -> Voice:
    pitch = rng.uniform(45, 75)
    base = synth.midi_to_hz(pitch)
    sample = sampled(voice(base, rng.uniform(0.3, 1.5), rng), rng)

    def play(frequency: float, seconds: float, rng: Generator) -> Wave:
        wave = sample(frequency / base)
        wave = wave[: int(seconds * SAMPLE_RATE)]
        return wave if len(wave) else np.zeros(64, np.float32)

    return play


def patch(rng: Generator) -> Voice:
    kinds = (wavetable, wavetable, wavetable, modulated, modulated, struck, struck, noisy, hissing)
    voice = kinds[rng.integers(len(kinds))](rng)
    return from_sample(voice, rng) if rng.random() < SAMPLED else voice


def percussion(drum: str, rng: Generator) -> Wave:
    """Kicks and toms are swept sines, all else is noise and metal of any colour and length."""
    if drum == "kick":
        wave = synth.kick(rng)
    elif "tom" in drum or (drum == "snare" and rng.random() < 0.4):
        wave = synth.tom(rng.uniform(80, 400))(rng) if rng.random() < 0.5 else synth.snare(rng)
    elif rng.random() < 0.5:
        length = {"hat": 0.05, "snare": 0.12, "open_hat": 0.2, "crash": 0.7}[drum] * log_uniform(rng, 0.3, 2.5)
        low = log_uniform(rng, 300, 12_000)
        high = min(21_500, low * log_uniform(rng, 1.3, 20))
        wave = synth.noise_burst(length, low, high, rng, min(2.5, 6 * length))
    else:
        wave = synth.metal(log_uniform(rng, 0.02, 0.6), log_uniform(rng, 1_000, 9_000))(rng)
    wave = wave / (np.abs(wave).max() + 1e-9)
    return sampled(wave, rng)(log_uniform(rng, 0.7, 1.4)) if rng.random() < SAMPLED else wave
