"""Other instruments from a soundfont: each sample darker, coarser or with another colour, drawn from a seed.

    python -m scripts.released.music.vary_soundfont FONT.sf2 [FONT.sf2 ...] --out FOLDER [--count 3]

Writes OUT/varied_NUMBER_FONT.sf2. General MIDI fonts have one bright, 16-bit piano each; trackers, games and
synthesisers also have samples of 8 bits or of a few kilohertz. A sample keeps its length, pitch and loop. The layout is
that of the SoundFont 2.04 specification (E-mu, 2006): a RIFF file whose chunk `smpl` holds all samples as int16 one
after another, and whose chunk `shdr` says where each begins and ends.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.random import Generator
from scipy import fft

from scripts.released.music.augment_music import equaliser
from upscale import atomic
from upscale.seeds import derive_seed

HEADER = np.dtype(
    [
        ("name", "S20"),
        ("start", "<u4"),
        ("end", "<u4"),
        ("loop", "<u4", 2),
        ("sample_rate", "<u4"),
        ("pitch", "u1"),
        ("correction", "i1"),
        ("link", "<u2"),
        ("type", "<u2"),
    ]
)
DARKER, STEPPED, EIGHT_BITS, COLOURED = 0.6, 0.25, 0.4, 0.7  # how often; STEPPED of those that are darker
LOWEST_HZ, HIGHEST_HZ = 3000, 20_000  # of the low-pass that is drawn
NUM_GAINS, GAIN_DB = 7, 5
SHORTEST_RECORDING = 2000


def chunks(content: bytes) -> dict[str, slice]:
    """Where the contents of the chunks of a RIFF file lie, those inside LIST chunks too."""
    found, position = {}, 12
    while position + 8 <= len(content):
        name, size = content[position : position + 4], int.from_bytes(content[position + 4 : position + 8], "little")
        if name == b"LIST":
            position += 12
            continue
        found[name.decode("latin-1")] = slice(position + 8, position + 8 + size)
        position += 8 + size + size % 2
    return found


def varied(content: bytes, seed: int) -> bytes:
    """The soundfont `content` with other samples; the same for the same seed."""
    places = chunks(content)
    changed = bytearray(content)
    samples = np.frombuffer(memoryview(changed)[places["smpl"]], "<i2")
    headers = np.frombuffer(content[places["shdr"]], HEADER)[:-1]  # the last one ends the list
    for index, header in enumerate(headers):
        part = samples[header["start"] : header["end"]]
        if len(part) < 64 or not part.any():
            continue
        pair = min(index, int(header["link"])) if header["type"] in (2, 4) else index  # right and left alike
        part[:] = varied_sample(part, int(header["sample_rate"]), np.random.default_rng(derive_seed(seed, pair)))
    return bytes(changed)


def recordings(content: bytes) -> list[np.ndarray]:
    """The samples of a soundfont that last: int16 [T] each, of a stereo pair the left one."""
    places = chunks(content)
    samples = np.frombuffer(content[places["smpl"]], "<i2")
    headers = np.frombuffer(content[places["shdr"]], HEADER)[:-1]
    parts = [samples[header["start"] : header["end"]] for header in headers if header["type"] in (1, 4)]
    return [part for part in parts if len(part) > SHORTEST_RECORDING and part.any()]


def varied_sample(sample: np.ndarray, sample_rate: int, rng: Generator) -> np.ndarray:
    """int16 [T] to the same, as loud as it was."""
    wav = sample.astype(np.float64)
    length = fft.next_fast_len(2 * len(wav), real=True)
    spectrum = fft.rfft(np.concatenate([wav, wav[::-1]]), length)  # mirrored: no step at the end
    hz = fft.rfftfreq(length, 1 / sample_rate)
    if rng.random() < COLOURED:
        octave = np.log2(hz.clip(min=86) / 86)
        spectrum *= equaliser(octave, GAIN_DB * rng.standard_normal(NUM_GAINS))
    cutoff = np.exp(rng.uniform(np.log(LOWEST_HZ), np.log(HIGHEST_HZ)))
    darker = rng.random() < DARKER and cutoff < sample_rate / 2
    if darker:
        spectrum *= ((1.05 * cutoff - hz) / (0.1 * cutoff)).clip(0, 1)
    changed = fft.irfft(spectrum, length)[: len(wav)]
    if darker and rng.random() < STEPPED:  # a few values a second, straight lines between them: with mirror images
        time = np.arange(len(wav))
        few = np.arange(0, len(wav), sample_rate / (2 * cutoff))
        changed = np.interp(time, few, np.interp(few, time, changed))
    changed *= np.sqrt(np.mean(wav**2) / (np.mean(changed**2) + 1e-9))
    peak = np.abs(changed).max()
    if rng.random() < EIGHT_BITS:
        changed = np.round(changed * (127 / peak)) * (peak / 127)
    return np.round(changed * min(1, 32_767 / peak)).astype("<i2")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fonts", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=3, help="of each font")
    arguments = parser.parse_args()
    for font in arguments.fonts:
        content = font.read_bytes()
        for number in range(arguments.count):
            path = arguments.out / f"varied_{number}_{font.name}"
            if not path.exists():
                with atomic.replacing(path) as temporary:
                    temporary.write_bytes(varied(content, derive_seed("soundfont", font.name, number)))
                print(path, flush=True)


if __name__ == "__main__":
    main()
