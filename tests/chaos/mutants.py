"""Audio files that lie, break off or never were audio: mutant number n is the same bytes on every machine."""

import io
import random
import struct
from collections.abc import Callable

import numpy as np
import soundfile

from upscale.codec import CodecSpec, encode
from upscale.corpus.demo import compose

RATE = 44_100
Seeds = dict[str, bytes]


def seeds() -> Seeds:
    """Ending -> a good file of 0.4 s."""
    wav = compose(seed=5, seconds=0.4)
    return {
        "wav": written(wav, "WAV", "PCM_16"),
        "float.wav": written(wav, "WAV", "FLOAT"),
        "flac": written(wav, "FLAC", "PCM_16"),
        "ogg": written(wav, "OGG", "VORBIS"),
        "aiff": written(wav, "AIFF", "PCM_24"),
        "mp3": encode(wav, CodecSpec(bitrate=96)),
        "m4a": encode(wav, CodecSpec(codec="aac", bitrate=96)),
    }


def written(wav: np.ndarray, kind: str, subtype: str, rate: int = RATE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, wav.T, rate, format=kind, subtype=subtype)
    return file.getvalue()


def mutant(number: int, good: Seeds) -> tuple[str, str, bytes]:
    """(kind of mutation, ending, bytes)."""
    generator = random.Random(f"mutant {number}")
    kind = list(KINDS)[number % len(KINDS)]
    ending, data = KINDS[kind](generator, good)
    return kind, ending, data


def bits_flipped(generator: random.Random, good: Seeds) -> tuple[str, bytes]:
    ending = generator.choice(list(good))
    data = bytearray(good[ending])
    for _ in range(generator.choice([1, 8, 100, 2_000])):
        data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
    return ending, bytes(data)


def header_flipped(generator: random.Random, good: Seeds) -> tuple[str, bytes]:
    ending = generator.choice(list(good))
    data = bytearray(good[ending])
    for _ in range(generator.choice([1, 3, 10])):
        data[generator.randrange(min(200, len(data)))] = generator.choice([0, 1, 0x7F, 0x80, 0xFF])
    return ending, bytes(data)


def truncated(generator: random.Random, good: Seeds) -> tuple[str, bytes]:
    ending = generator.choice(list(good))
    return ending, good[ending][: generator.randrange(len(good[ending]))]


def zero_length(generator: random.Random, good: Seeds) -> tuple[str, bytes]:
    """Nothing at all, or a header without a sample."""
    ending = generator.choice(list(good))
    none = np.zeros((2, 0), dtype=np.float32)
    return generator.choice([(ending, b""), ("wav", written(none, "WAV", "PCM_16")), ("mp3", b"ID3")])


def spliced(generator: random.Random, good: Seeds) -> tuple[str, bytes]:
    """The head of one file on the body of another, under the ending of either."""
    first, second = generator.sample(list(good), 2)
    head = good[first][: generator.choice([4, 12, 44, 200, 2_000])]
    return generator.choice([first, second]), head + good[second][generator.randrange(100) :]


def lying_length(generator: random.Random, good: Seeds) -> tuple[str, bytes]:
    """RIFF and data sizes, FLAC's number of samples, the frame count of the Xing header."""
    lie = generator.choice([0, 1, 3, 0x7FFFFFFF, 0xFFFFFFFF, generator.getrandbits(32)])
    ending = generator.choice(["wav", "float.wav", "flac", "mp3"])
    data = bytearray(good[ending])
    if ending == "flac":
        data[22:26] = struct.pack(">I", lie)
    elif ending == "mp3":
        place = max(data.find(b"Info"), data.find(b"Xing"), 0)
        data[place + 8 : place + 12] = struct.pack(">I", lie)
    else:
        place = data.find(b"data") + 4 if generator.random() < 0.7 else 4
        data[place : place + 4] = struct.pack("<I", lie)
    return ending, bytes(data)


def lying_rate(generator: random.Random, good: Seeds) -> tuple[str, bytes]:
    lie = generator.choice(
        [0, 1, 7, 8_000, 44_101, 192_000, 768_000, 0x7FFFFFFF, 0xFFFFFFFF, generator.getrandbits(32)]
    )
    ending = generator.choice(["wav", "float.wav", "flac"])
    data = bytearray(good[ending])
    if ending == "flac":
        data[18:21] = struct.pack(">I", (lie & 0xFFFFF) << 4 | data[20] & 0x0F)[1:]
    else:
        data[24:28] = struct.pack("<I", lie)
    return ending, bytes(data)


def huge_id3(generator: random.Random, good: Seeds) -> tuple[str, bytes]:
    """A tag that claims up to 256 MB, with as much behind it as it pleases; or one that really is large."""
    size = generator.choice([2**28 - 1, 2**27, 1_000_000, 300_000])
    digits = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    body = generator.choice([b"", b"\0" * min(size, 1_000_000), b"TIT2" + b"\x7f" * 6 + b"x" * 50_000])
    return "mp3", b"ID3\x04\0" + bytes([generator.choice([0, 0x40, 0x80, 0xFF])]) + digits + body + good["mp3"]


def not_finite(generator: random.Random, good: Seeds) -> tuple[str, bytes]:
    wav = np.frombuffer(good["float.wav"][-8_000:], dtype="<f4").copy()
    value = generator.choice([np.nan, np.inf, -np.inf, 1e30, 3.4e38, 1e-40])
    wav[generator.randrange(wav.size) :: generator.choice([1, 7, 100_000])] = value
    return "wav", written(wav.reshape(1, -1), "WAV", generator.choice(["FLOAT", "DOUBLE"]))


def odd_shape(generator: random.Random, good: Seeds) -> tuple[str, bytes]:
    """Many channels, low and high rates, one sample: all of them good files."""
    rate = generator.choice([8_000, 192_000, 11_025, 44_100, 48_000, 1, 1_000_000])
    channels = generator.choice([1, 2, 3, 6, 32, 200])
    length = generator.choice([1, 2, 100, 3_000])
    wav = np.random.default_rng(generator.getrandbits(32)).uniform(-0.5, 0.5, (channels, length))
    return "wav", written(wav, "WAV", generator.choice(["PCM_16", "PCM_24", "FLOAT", "PCM_U8"]), rate=rate)


def garbage(generator: random.Random, good: Seeds) -> tuple[str, bytes]:
    """No audio, or audio with a hole, a foreign body or itself once more in it."""
    ending = generator.choice(list(good))
    data, place = good[ending], generator.randrange(len(good[ending]))
    length = generator.randrange(1, 3_000)
    return ending, generator.choice(
        [
            generator.randbytes(length),
            data[:place] + data[place + length :],
            data[:place] + generator.randbytes(length) + data[place:],
            data + data,
            b"#EXTM3U\nfile:///etc/passwd\n",
        ]
    )


KINDS: dict[str, Callable[[random.Random, Seeds], tuple[str, bytes]]] = {
    "bits flipped": bits_flipped,
    "header flipped": header_flipped,
    "truncated": truncated,
    "zero length": zero_length,
    "spliced headers": spliced,
    "lying length": lying_length,
    "lying sample rate": lying_rate,
    "huge ID3": huge_id3,
    "NaN, Inf, 1e30": not_finite,
    "32 channels, 8 kHz, 192 kHz": odd_shape,
    "garbage": garbage,
}
