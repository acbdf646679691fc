"""Other instruments in a soundfont: the samples change, and nothing but the samples."""

import numpy as np
import pytest

from scripts.released.music import vary_soundfont


def soundfont(samples: list[np.ndarray], header: np.dtype) -> bytes:
    """The two chunks that matter of a soundfont, in the order of the specification."""
    headers, wav = np.zeros(len(samples) + 1, header), np.zeros(0, "<i2")
    for index, sample in enumerate(samples):
        place = len(wav), len(wav) + len(sample)
        headers[index] = (f"sample {index}", *place, place, 44_100, 60, 0, 0, 1)
        wav = np.concatenate([wav, sample, np.zeros(46, "<i2")])
    headers[-1]["name"] = "EOS"

    def chunk(name: bytes, content: bytes) -> bytes:
        return name + len(content).to_bytes(4, "little") + content + b"\0" * (len(content) % 2)

    bank = b"sfbk" + chunk(b"LIST", b"INFO" + chunk(b"INAM", b"odd"))
    bank += chunk(b"LIST", b"sdta" + chunk(b"smpl", wav.tobytes()))
    return chunk(b"RIFF", bank + chunk(b"LIST", b"pdta" + chunk(b"shdr", headers.tobytes())))


def test_a_varied_soundfont_has_other_samples_at_the_same_places() -> None:
    rng = np.random.default_rng(0)
    samples = [(3000 * rng.standard_normal(5000)).astype("<i2") for _ in range(20)]
    font = soundfont(samples, vary_soundfont.HEADER)
    other = vary_soundfont.varied(font, seed=0)
    assert other == vary_soundfont.varied(font, seed=0) != vary_soundfont.varied(font, seed=1)
    place = vary_soundfont.chunks(font)["smpl"]
    assert font[: place.start] == other[: place.start] and font[place.stop :] == other[place.stop :]
    before, after = (np.frombuffer(content[place], "<i2").reshape(20, -1) for content in (font, other))
    assert not after[:, 5000:].any()  # the silence between samples
    before, after = before.astype(float), after.astype(float)
    assert np.median(after.std(axis=1) / before.std(axis=1)) == pytest.approx(1, abs=0.01)
    treble = [np.abs(np.fft.rfft(wav[:, :5000]))[:, 2000:].mean(axis=1) for wav in (before, after)]
    assert 3 <= (treble[1] < 0.3 * treble[0]).sum() <= 17  # some are darker, not all
