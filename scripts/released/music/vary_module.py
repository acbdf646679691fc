"""Other instruments in tracker modules: each sample darker, coarser or with another colour, drawn from a seed.

    python -m scripts.released.music.vary_module --unpacked FOLDER --out FOLDER [--first 0] [--count 3]
        [--fonts FONT.sf2 ...] [--silent 0.4]

Every module under `--unpacked` (MOD, S3M, XM, IT) becomes OUT/PACKAGE.varied0/modules/NAME and so on: the same notes on
samples that went through `vary_soundfont`. A module brings samples of its own, so a hundred modules are few
instruments. With `--fonts`, most samples without a loop (drums, mainly) are replaced by recordings from these
soundfonts, at another speed, and many with a loop by a synthesiser's wave. Whether that is in tune does not matter to a
network that learns what MP3 took. `--silent` is the share of samples that fall silent: fewer voices, and nothing
between their lines in the spectrum. A sample keeps its length and its loop; compressed ones (of IT) stay as they are.
Layouts as in the documents of FireLight (MOD), Scream Tracker 3 (S3M), Mr.H (XM) and Impulse Tracker (IT).
"""

import argparse
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator
from scipy.signal import resample_poly

from scripts.released.music.render_music import modules
from scripts.released.music.vary_soundfont import recordings, varied_sample
from upscale import atomic
from upscale.seeds import derive_seed

SAMPLE_RATE = 44_100  # where a note that is played high puts a sample: what is drawn is relative to half of it
SHORTEST = 64
EXCHANGED = 0.7  # share of the samples without a loop that become another recording
SLOWEST, FASTEST = 70, 500  # per cent of a recording's speed: trackers store few values a second, or play them high
FADE = 0.05  # of a sample whose recording is longer
SYNTHETIC = 0.6  # share of the samples with a loop that become a synthesizer's wave
SHORTEST_PERIOD, LONGEST_PERIOD = 16, 256  # of that wave


@dataclass(frozen=True)
class Sample:
    start: int
    end: int  # bytes
    wide: bool = False  # 16 bits
    offset: int = 0  # of silence: 0 where values are signed
    delta: bool = False  # each value is the difference to the one before
    loop: int = 0  # values in what is repeated


def samples_of(content: bytes) -> list[Sample]:
    """Where a module keeps its samples. Raises `ValueError` for what is none of the four kinds, or damaged."""
    readers = {"XM": samples_of_xm, "IT": samples_of_it, "S3M": samples_of_s3m, "MOD": samples_of_mod}
    kind = "MOD"
    if content.startswith(b"Extended Module: "):
        kind = "XM"
    elif content.startswith(b"IMPM"):
        kind = "IT"
    elif content[44:48] == b"SCRM":
        kind = "S3M"
    try:
        found = list(readers[kind](content))
    except (struct.error, IndexError) as error:
        raise ValueError(f"damaged {kind} module: {error}") from error
    return [sample for sample in found if sample.end - sample.start > SHORTEST and sample.end <= len(content)]


def samples_of_mod(content: bytes) -> Iterator[Sample]:
    channels = {b"M.K.": 4, b"M!K!": 4, b"FLT4": 4, b"6CHN": 6, b"8CHN": 8}.get(content[1080:1084])
    if channels is None:
        raise ValueError("not a module")
    position = 1084 + (1 + max(content[952:1080])) * 256 * channels
    for index in range(31):
        words, repeated = struct.unpack_from(">H4xH", content, 20 + 30 * index + 22)
        yield Sample(position, position + 2 * words, loop=2 * repeated if repeated > 1 else 0)
        position += 2 * words


def samples_of_s3m(content: bytes) -> Iterator[Sample]:
    num_orders, num_instruments = struct.unpack_from("<HH", content, 32)
    unsigned = struct.unpack_from("<H", content, 42)[0] == 2
    for pointer in struct.unpack_from(f"<{num_instruments}H", content, 96 + num_orders):
        place = 16 * pointer
        if content[place] != 1:  # empty, or a synthesizer's
            continue
        high, low, length, begin, end = struct.unpack_from("<BHIII", content, place + 13)
        looped, wide = content[place + 31] & 1, bool(content[place + 31] & 4)
        start = 16 * ((high << 16) + low)
        offset = (0x8000 if wide else 0x80) if unsigned else 0
        yield Sample(start, start + (length << wide), wide, offset, loop=(end - begin) * looped)


def samples_of_xm(content: bytes) -> Iterator[Sample]:
    size, _, _, _, num_patterns, num_instruments = struct.unpack_from("<IHHHHH", content, 60)
    position = 60 + size
    for _ in range(num_patterns):
        size, _, _, packed = struct.unpack_from("<IBHH", content, position)
        position += size + packed
    for _ in range(num_instruments):
        size, _, _, num_samples = struct.unpack_from("<I22sBH", content, position)
        header = struct.unpack_from("<I", content, position + 29)[0] if num_samples else 0
        position += size
        headers = [struct.unpack_from("<I4xI2xB", content, position + header * index) for index in range(num_samples)]
        position += header * num_samples
        for length, repeated, kind in headers:
            loop = (repeated >> bool(kind & 16)) if kind & 3 else 0
            yield Sample(position, position + length, wide=bool(kind & 16), delta=True, loop=loop)
            position += length


def samples_of_it(content: bytes) -> Iterator[Sample]:
    num_orders, num_instruments, num_samples = struct.unpack_from("<HHH", content, 32)
    for place in struct.unpack_from(f"<{num_samples}I", content, 192 + num_orders + 4 * num_instruments):
        flags, convert = content[place + 18], content[place + 46]
        length, begin, end, _, sustain_begin, sustain_end, start = struct.unpack_from("<7I", content, place + 48)
        if flags & 1 and not flags & 12:  # there, neither stereo nor compressed
            wide = bool(flags & 2)
            offset = 0 if convert & 1 else 0x8000 if wide else 0x80
            loop = end - begin if flags & 0x10 else sustain_end - sustain_begin if flags & 0x20 else 0
            yield Sample(start, start + (length << wide), wide, offset, loop=loop)


def exchanged(sample: np.ndarray, recording: np.ndarray, rng: Generator) -> np.ndarray:
    """int16 [T]: as much of `recording` as there is room for, at a speed that is drawn, as loud as `sample`."""
    percent = int(np.exp(rng.uniform(np.log(SLOWEST), np.log(FASTEST))))
    needed = len(sample) * percent // 100 + 1
    wav = resample_poly(recording[:needed].astype(np.float64), 100, percent)[: len(sample)]
    if np.abs(wav).max() < 1:  # it begins with silence
        return sample
    if needed < len(recording):
        fade = max(1, int(FADE * len(wav)))
        wav[-fade:] *= np.linspace(1, 0, fade)
    wav *= np.abs(sample.astype(np.float64)).max() / (np.abs(wav).max() + 1e-9)
    return np.pad(np.round(wav), (0, len(sample) - len(wav))).clip(-32_768, 32_767).astype("<i2")


def synthetic(sample: np.ndarray, loop: int, rng: Generator) -> np.ndarray:
    """int16 [T]: a wave of harmonics, a whole number of periods to the loop, as loud as `sample`."""
    period = loop / max(1, round(loop / np.exp(rng.uniform(np.log(SHORTEST_PERIOD), np.log(LONGEST_PERIOD)))))
    harmonics = np.arange(1, max(2, int(period / 2)))
    weights = harmonics ** -rng.uniform(0.3, 2) * 10 ** (rng.uniform(0, 8) * rng.standard_normal(len(harmonics)) / 20)
    weights *= np.abs(np.sin(np.pi * rng.choice([0.5, rng.uniform(0.05, 0.5)]) * harmonics))  # a square wave, a pulse
    phases = rng.uniform(0, 2 * np.pi, len(harmonics))
    angles = 2 * np.pi * np.arange(max(1, round(period * 8))) / max(1, round(period * 8))  # eight values to one
    wave = (weights[:, None] * np.cos(harmonics[:, None] * angles + phases[:, None])).sum(axis=0)
    position = np.arange(len(sample)) / period % 1
    wav = np.interp(position, np.arange(len(wave) + 1) / len(wave), np.append(wave, wave[0]))
    wav *= min(sample.astype(np.float64).std() / (wav.std() + 1e-9), 32_767 / (np.abs(wav).max() + 1e-9))
    return np.round(wav).astype("<i2")


def varied(content: bytes, seed: int, others: Sequence[np.ndarray] = (), silent: float = 0) -> bytes:
    """The module `content` with other samples, some of them out of `others`; the same for the same seed.

    `silent`: share of the samples that become silence.
    """
    changed = bytearray(content)
    for index, sample in enumerate(samples_of(content)):
        stored = np.frombuffer(
            content, "<i2" if sample.wide else "i1", (sample.end - sample.start) >> sample.wide, sample.start
        )
        wav = (
            np.cumsum(stored, dtype=stored.dtype)
            if sample.delta
            else stored - np.array(sample.offset).astype(stored.dtype)
        )
        if not wav.any():
            continue
        loud = wav.astype("<i2") * (1 if sample.wide else 256)
        rng = np.random.default_rng(derive_seed("other", seed, index))
        if others and rng.random() < (SYNTHETIC if sample.loop else EXCHANGED):
            recording = others[int(rng.integers(len(others)))]
            loud = synthetic(loud, sample.loop, rng) if sample.loop else exchanged(loud, recording, rng)
        other = varied_sample(loud, SAMPLE_RATE, np.random.default_rng(derive_seed(seed, index)))
        if np.random.default_rng(derive_seed("silent", seed, index)).random() < silent:
            other = np.zeros_like(other)
        wav = other if sample.wide else (other >> 8).astype("i1")
        wav = (
            np.diff(wav, prepend=wav.dtype.type(0)) if sample.delta else wav + np.array(sample.offset).astype(wav.dtype)
        )
        changed[sample.start : sample.start + stored.nbytes] = wav.astype(stored.dtype).tobytes()
    return bytes(changed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unpacked", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--first", type=int, default=0, help="number of the first")
    parser.add_argument("--count", type=int, default=3, help="of each module")
    parser.add_argument("--fonts", type=Path, nargs="+", default=[], help="soundfonts to take recordings from")
    parser.add_argument("--silent", type=float, default=0, help="share of the samples that fall silent, 0 to 1")
    arguments = parser.parse_args()
    others = [recording for font in arguments.fonts for recording in recordings(font.read_bytes())]
    for module in [path for path in modules(arguments.unpacked) if arguments.out not in path.parents]:
        content = module.read_bytes()
        for number in range(arguments.first, arguments.first + arguments.count):
            path = arguments.out / f"{module.parts[-3]}.varied{number}" / "modules" / module.name
            try:
                other = varied(content, derive_seed("module", module.name, number), others, arguments.silent)
            except ValueError as error:
                print(f"left out {module}: {error}", flush=True)
                break
            if other == content:  # nothing in it that can be changed
                break
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic.replacing(path) as temporary:
                temporary.write_bytes(other)


if __name__ == "__main__":
    main()
