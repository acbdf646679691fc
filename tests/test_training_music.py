"""The music that the released models are trained on: other arrangements are music, and the same every time."""

import importlib.util
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile

mido = pytest.importorskip("mido")
SCRIPTS = Path(__file__).parents[1] / "scripts"


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tune(tmp_path: Path) -> Path:
    """Two minutes of a note and a drum each half second; the notes never end."""
    tune = mido.MidiFile(ticks_per_beat=96)
    track = tune.add_track()
    track.append(mido.Message("program_change", channel=0, program=0))
    for beat in range(240):
        track.append(mido.Message("note_on", channel=0, note=60 + beat % 12, velocity=90, time=96 if beat else 0))
        track.append(mido.Message("note_on", channel=9, note=38, velocity=100))
    tune.save(tmp_path / "tune.mid")
    return tmp_path / "tune.mid"


def test_an_arrangement_keeps_drums_and_intervals_ends_and_replays(
    tune: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = load("arrange_midi", monkeypatch)
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        script.arrange(tune, tmp_path / f"{name}.mid", np.random.default_rng(seed))
    content = {name: (tmp_path / f"{name}.mid").read_bytes() for name in ("one", "again", "other")}
    assert content["one"] == content["again"] != content["other"]

    arranged = mido.MidiFile(tmp_path / "one.mid")
    assert arranged.length <= script.SECONDS + 0.01
    notes = [message for message in arranged if message.type == "note_on"]
    assert {message.note for message in notes if message.channel == 9} == {38}
    melody = [message.note for message in notes if message.channel == 0]
    assert np.array_equal(np.diff(melody), np.diff([60 + beat % 12 for beat in range(len(melody))]))
    stopped = {message.channel for message in arranged if message.is_cc(script.ALL_SOUND_OFF)}
    assert stopped == set(range(16))


def test_no_lossy_sample_is_left_in_a_rearranged_project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = load("render_lmms", monkeypatch)
    preset = tmp_path / "preset.xpf"
    preset.write_text('<lmms-project><instrumenttrack><instrument name="sid"/></instrumenttrack></lmms-project>')
    for seed in range(20):
        project = ElementTree.fromstring(
            "<lmms-project><instrumenttrack><instrument name='audiofileprocessor'>"
            "<audiofileprocessor src='drums/rim01.ogg'/></instrument></instrumenttrack></lmms-project>"
        )
        script.arrange(project, ["drumsynth/kick.ds"], [preset], np.random.default_rng(seed))
        assert b".ogg" not in ElementTree.tostring(project)


def test_dark_music_is_told_from_bright(monkeypatch: pytest.MonkeyPatch) -> None:
    script = load("render_music", monkeypatch)
    noise = np.random.default_rng(0).standard_normal((44_100, 2))
    dark = np.cumsum(np.cumsum(noise, axis=0), axis=0)
    assert script.brightness_db(noise) == pytest.approx(0, abs=1)
    assert script.brightness_db(dark - dark.mean(axis=0)) < script.brightness_db(noise) - 6


def test_a_faster_song_is_higher_and_shorter_by_the_same_factor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = load("speed_up_music", monkeypatch)
    seconds, frequency = 2, 1000
    time = np.arange(seconds * 44_100) / 44_100
    soundfile.write(tmp_path / "mod_sine.flac", 0.5 * np.sin(2 * np.pi * frequency * time), 44_100)
    script.speed_up(tmp_path / "mod_sine.flac", tmp_path / "mod_sine_faster0.flac")
    faster, _ = soundfile.read(tmp_path / "mod_sine_faster0.flac")
    factor = len(time) / len(faster)
    assert 1.04 < factor < 1.27
    spectrum = np.abs(np.fft.rfft(faster * np.hanning(len(faster))))
    assert np.argmax(spectrum) * 44_100 / len(faster) == pytest.approx(frequency * factor, abs=1)


def test_an_equaliser_gives_each_octave_its_gain_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    equalised = load("train_released", monkeypatch).equalised
    time = np.arange(44_100) / 44_100
    wav = np.stack([np.sin(2 * np.pi * 689 * time), np.sin(2 * np.pi * 5512 * time)]).astype(np.float32)
    assert np.allclose(equalised(wav, np.zeros(6)), wav, atol=1e-5)
    octaves = np.log2(np.array([689, 5512]) / 22_050) + 8
    gains = np.array([0, -6, 3, 6, -3, 1])
    expected = np.interp(octaves, np.linspace(0, 8, 6), gains)
    louder = 20 * np.log10(equalised(wav, gains).std(axis=1) / wav.std(axis=1))
    assert louder == pytest.approx(expected, abs=0.02)
