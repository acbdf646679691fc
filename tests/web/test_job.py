"""The whole job in this process, on real files."""

from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import soundfile
from mutagen.flac import FLAC
from mutagen.id3 import ID3, TIT2

from upscale import audio
from upscale.errors import UserError
from upscale.restore import Restorer
from upscale.web.job import AFTER_PICTURE, BEFORE_PICTURE, PREVIEW, RESTORED, Request, run
from upscale.web.pictures import draw_spectrograms
from upscale.web.preview import FULL_SCALE, read_preview


def request_for(source: Path, tiny_model: Path, folder: Path) -> Request:
    return Request(
        folder=str(folder),
        source=str(source),
        name="My song.mp3",
        model=str(tiny_model),
        device="cpu",
        audio_seconds=60.0,
    )


def test_a_job_makes_everything_the_page_shows(song: Path, tiny_model: Path, tmp_path: Path) -> None:
    source = tmp_path / "input.mp3"
    source.write_bytes(song.read_bytes())
    tags = ID3()
    tags.add(TIT2(encoding=3, text="A title"))
    tags.save(source)
    stages: list[tuple[str, float]] = []
    result = run(request_for(source, tiny_model, tmp_path), lambda *stage: stages.append(stage))

    before, rate = audio.read(source)
    after, _ = audio.read(tmp_path / RESTORED)
    expected = Restorer.load(tiny_model, "cpu")(before, rate)
    gain = np.vdot(expected, after) / np.vdot(expected, expected)
    np.testing.assert_allclose(after, expected * gain, atol=2**-22)
    assert FLAC(tmp_path / RESTORED)["title"] == ["A title"]

    assert (result.sample_rate, result.channels, result.num_samples) == (rate, *before.shape)
    assert (result.codec, result.bitrate, result.already_good) == ("mp3", 128, None)
    shown_before, shown_after = read_preview(tmp_path / PREVIEW, 2, 0, result.num_samples)
    assert np.abs(shown_before - np.clip(before, -1, 1 - 1 / FULL_SCALE)).max() <= 0.5 / FULL_SCALE + 1e-7
    assert np.abs(shown_after - after).max() <= 0.5 / FULL_SCALE + 1e-7
    assert result.louder_db == pytest.approx(10 * np.log10((after**2).sum() / (before**2).sum()), abs=1e-3)

    assert {stage for stage, _ in stages} == {"Checking", "Loading the model", "Restoring", "Drawing"}
    assert all(0 <= fraction <= 1 for _, fraction in stages)
    pictures = [matplotlib.image.imread(tmp_path / name) for name in (BEFORE_PICTURE, AFTER_PICTURE)]
    assert pictures[0].shape == pictures[1].shape and pictures[0].std() > 0.05


def test_pictures_share_one_scale_and_show_frequency_upwards(tmp_path: Path) -> None:
    time = np.arange(88_200) / 44_100
    tone = (0.5 * np.sin(2 * np.pi * 5_512.5 * time)).astype(np.float32)
    steps = np.stack([tone, tone * 0.1], axis=1)
    (tmp_path / PREVIEW).write_bytes(np.rint(steps * FULL_SCALE).astype("<i2").tobytes())
    bottom, top = draw_spectrograms(tmp_path / PREVIEW, 1, tmp_path / "a.png", tmp_path / "b.png")
    light = [matplotlib.image.imread(tmp_path / name)[..., :3].sum(-1) for name in ("a.png", "b.png")]
    assert -20 <= top <= 0 and bottom == top - 100
    for picture in light:
        height = picture.shape[0]
        assert abs(int(picture.mean(1).argmax()) - height * 3 / 4) <= 1, (
            "a quarter of the Nyquist frequency, from below"
        )
    assert light[1].max() < light[0].max() - 0.1, "20 dB quieter is darker on the same scale"


def test_a_file_over_the_length_limit_is_refused_whatever_its_header_says(tmp_path: Path, tiny_model: Path) -> None:
    source = tmp_path / "input.wav"
    soundfile.write(source, np.zeros((8000 * 3, 1), np.float32), 8000)
    request = replace(request_for(source, tiny_model, tmp_path), audio_seconds=2.0)
    with pytest.raises(UserError, match=r"^My song\.mp3: is longer than the 0\.0333333 minutes"):
        run(request, lambda *_: None)
    assert not (tmp_path / RESTORED).exists()


def test_a_decompression_bomb_stops_at_the_limit(tmp_path: Path, tiny_model: Path) -> None:
    """Half an hour of silence in an eighth of a megabyte of FLAC: decoding ends as soon as the limit is passed."""
    source = tmp_path / "input.flac"
    with soundfile.SoundFile(source, "w", samplerate=8000, channels=1, subtype="PCM_16") as file:
        silence = np.zeros(8000 * 600, np.int16)
        for _ in range(3):
            file.write(silence)
    assert source.stat().st_size < 2**17
    seen: list[float] = []
    with pytest.raises(UserError, match="longer"):
        run(replace(request_for(source, tiny_model, tmp_path), audio_seconds=60.0), lambda _, done: seen.append(done))
    assert len(seen) < 70, "about 60 blocks of one second, not 1,800"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"This is a text, not music.\n" * 100, "My song.mp3: "),
        (b"\xff\xfb\x90\x00" + bytes(3), "My song.mp3: "),
        (b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f", "My song.mp3: "),
    ],
)
def test_a_broken_file_is_one_line_with_its_own_name(
    content: bytes, line: str, tmp_path: Path, tiny_model: Path
) -> None:
    source = tmp_path / "input.mp3"
    source.write_bytes(content)
    with pytest.raises(UserError) as caught:
        run(request_for(source, tiny_model, tmp_path), lambda *_: None)
    message = str(caught.value)
    assert message.startswith(line) and "\n" not in message and str(tmp_path) not in message


def test_more_than_two_channels_are_refused(tmp_path: Path, tiny_model: Path) -> None:
    source = tmp_path / "input.wav"
    soundfile.write(source, np.zeros((100, 6), np.float32), 44_100)
    with pytest.raises(UserError, match="6 channels"):
        run(request_for(source, tiny_model, tmp_path), lambda *_: None)
