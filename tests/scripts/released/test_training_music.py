"""The music that the released models are trained on: other arrangements are music, and the same every time."""

import gzip
import importlib
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile
import torch
from scipy.signal import fftconvolve, firwin

from upscale.codec.vorbis import encode_vorbis
from upscale.models.spectral.log_magnitude import FrameBlock

mido = pytest.importorskip("mido")


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    package = "scripts.released" if name in ("train_released", "average_weights") else "scripts.released.music"
    return importlib.import_module(f"{package}.{name}")


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


def test_a_midi_file_plays_on_presets_note_by_note(tune: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = load("sequence_lmms", monkeypatch)
    preset = tmp_path / "preset.xpf"
    preset.write_text('<lmms-project><instrumenttrack><instrument name="sid"/></instrumenttrack></lmms-project>')

    def played(seed: int) -> ElementTree.Element:
        project = ElementTree.fromstring(
            "<lmms-project><head bpm='90'/><song><trackcontainer>"
            "<track><instrumenttrack basenote='57'><instrument name='audiofileprocessor'>"
            "<audiofileprocessor src='rim.ogg'/></instrument></instrumenttrack><pattern><note/></pattern></track>"
            "<track/></trackcontainer></song></lmms-project>"
        )
        script.sequence(project, tune, script.Sounds(["kick.ds"], [preset]), np.random.default_rng(seed))
        return project

    project = next(project for seed in range(9) if len(list((project := played(seed)).iter("track"))) == 2)
    drum, melody = project.iter("track")
    assert [track.find("instrumenttrack/instrument").get("name") for track in (drum, melody)] == [
        "audiofileprocessor",
        "sid",
    ]
    assert {note.get("key") for note in drum.iter("note")} == {"57"}
    keys = [int(note.get("key")) for note in melody.iter("note")]
    assert set(np.diff(keys)) == {1, -11}, "the intervals of the tune"
    places = [int(note.get("pos")) for note in melody.iter("note")]
    assert len(places) == pytest.approx(2 * script.SECONDS, abs=1)
    assert np.diff(places) == pytest.approx(script.TICKS_PER_SECOND / 2, abs=1), "two notes a second"
    assert b".ogg" not in ElementTree.tostring(project)
    assert ElementTree.tostring(played(0)) == ElementTree.tostring(played(0)) != ElementTree.tostring(played(1))


def test_a_voice_plays_on_an_instrument_of_zynaddsubfx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = load("sequence_lmms", monkeypatch)
    banks = tmp_path / "banks"
    (banks / "Pads").mkdir(parents=True)
    written = b"\n<?xml version='1.0'?><ZynAddSubFX-data><INSTRUMENT><INFO>%s</INFO></INSTRUMENT></ZynAddSubFX-data>"
    (banks / "Pads" / "1.xiz").write_bytes(gzip.compress(written % b"one"))
    (banks / "Pads" / "2.xiz").write_bytes(written % b"two")
    preset = tmp_path / "preset.xpf"
    preset.write_text('<lmms-project><instrumenttrack><instrument name="sid"/></instrumenttrack></lmms-project>')

    def names(share: float) -> list[str]:
        sounds = script.Sounds([], [preset], script.zyn_instruments(banks), share)
        rng, found = np.random.default_rng(0), []
        for _ in range(200):
            track = ElementTree.fromstring(
                "<instrumenttrack vol='50'><instrument name='x'/><fxchain/></instrumenttrack>"
            )
            sounds.set_voice(track, rng)
            playing = track.find("instrument/zynaddsubfx/ZynAddSubFX-data/MASTER/PART/INSTRUMENT/INFO")
            assert track.get("vol") == "50" and (playing is None or track.find("fxchain") is None)
            found.append(track.find("instrument").get("name") if playing is None else playing.text)
        return found

    assert set(names(0)) == {"sid"} and set(names(1)) == {"one", "two"}
    assert names(0.75).count("sid") == pytest.approx(50, abs=20)
    (banks / "Pads" / "1.xiz").write_bytes(b"<ZynAddSubFX-data/>")
    with pytest.raises(ValueError, match="INSTRUMENT"):
        names(1)


def test_dark_music_is_told_from_bright(monkeypatch: pytest.MonkeyPatch) -> None:
    script = load("render_music", monkeypatch)
    noise = np.random.default_rng(0).standard_normal((44_100, 2))
    dark = np.cumsum(np.cumsum(noise, axis=0), axis=0)
    assert script.brightness_db(noise) == pytest.approx(0, abs=1)
    assert script.brightness_db(dark - dark.mean(axis=0)) < script.brightness_db(noise) - 6


def test_a_module_that_two_games_share_is_rendered_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = load("render_music", monkeypatch)
    contents = {
        "one/tune.xm": b"a" * 20_000,
        "other/tune.xm": b"a" * 20_000,
        "song.mod": b"b" * 20_000,
        "dtd.mod": b"c",
    }
    for name, content in contents.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    found = [path.relative_to(tmp_path).as_posix() for path in script.modules(tmp_path)]
    assert found == ["one/tune.xm", "song.mod"]


def test_an_accompaniment_has_its_measures_in_order_and_replays(monkeypatch: pytest.MonkeyPatch) -> None:
    script = load("accompany", monkeypatch)
    grooves = ["Waltz", "WaltzFill", "WaltzEnd", "WaltzIntro"]
    text = script.piece(grooves, np.random.default_rng(0))
    assert text == script.piece(grooves, np.random.default_rng(0)) != script.piece(grooves, np.random.default_rng(1))
    measures = [int(line.split()[0]) for line in text.splitlines() if line[0].isdigit()]
    used = [line.split()[1] for line in text.splitlines() if line.startswith("Groove")]
    assert measures == list(range(1, script.MEASURES_PER_GROOVE * len(used) + 1))
    assert len(set(used)) == len(used) >= 2


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    folder = tmp_path / "songs"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("midi_a", "lmms_b", "mod_c", "loop_d"):
        soundfile.write(folder / f"{name}.flac", 0.1 * rng.standard_normal((12 * 44_100, 2)), 44_100)
    return folder


def test_a_piece_of_the_pool_replays_and_its_mp3_lies_on_it(
    songs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = load("augment_music", monkeypatch)
    for folder in ("once", "again"):
        (tmp_path / folder).mkdir()
        for number in range(3):
            script.write_piece(number, kinds=script.songs_in([songs]), as_it_is=0.4, out=tmp_path / folder)
    names = sorted(path.name for path in (tmp_path / "once").iterdir())
    assert len(names) == 6
    pieces = {name: np.load(tmp_path / "once" / name) for name in names}
    for name, piece in pieces.items():
        assert np.array_equal(piece, np.load(tmp_path / "again" / name))
        assert piece.shape == (script.SECONDS * 44_100, 2)
    for name, piece in pieces.items():
        if "clean" in name:
            continue
        clean = pieces[f"{name.split('@')[0]}@clean.npy"]
        mono, coded = clean.mean(axis=1), 2.0 * piece.mean(axis=1)  # degraded is stored at half scale
        spectrum = np.fft.rfft(mono) * np.fft.rfft(coded).conj()
        assert np.argmax(np.fft.irfft(spectrum)) == 0
        assert 10 * np.log10(np.mean(mono**2) / np.mean((mono - coded) ** 2)) > 0


def test_no_piece_overshoots_whatever_is_drawn(songs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = load("augment_music", monkeypatch)
    kinds = script.songs_in([songs])
    assert sorted(kinds) == ["lmms", "midi", "mod", "other"]
    pieces = [script.mixed(kinds, 44_100, as_it_is=0.4, rng=np.random.default_rng(seed))[0] for seed in range(30)]
    assert all(np.isfinite(piece).all() and 0.01 < np.abs(piece).max() <= 1 for piece in pieces)


def test_an_equaliser_gives_each_octave_its_gain_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    equalised = load("augment_music", monkeypatch).equalised
    time = np.arange(44_100) / 44_100
    wav = np.stack([np.sin(2 * np.pi * 689 * time), np.sin(2 * np.pi * 5512 * time)], axis=1).astype(np.float32)
    assert np.allclose(equalised(wav, np.zeros(6)), wav, atol=1e-5)
    octaves = np.log2(np.array([689, 5512]) / 22_050) + 8
    gains = np.array([0, -6, 3, 6, -3, 1])
    expected = np.interp(octaves, np.linspace(0, 8, 6), gains)
    louder = 20 * np.log10(equalised(wav, gains).std(axis=0) / wav.std(axis=0))
    assert louder == pytest.approx(expected, abs=0.02)


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


def test_a_varied_soundfont_has_other_samples_at_the_same_places(monkeypatch: pytest.MonkeyPatch) -> None:
    script = load("vary_soundfont", monkeypatch)
    rng = np.random.default_rng(0)
    samples = [(3000 * rng.standard_normal(5000)).astype("<i2") for _ in range(20)]
    font = soundfont(samples, script.HEADER)
    other = script.varied(font, seed=0)
    assert other == script.varied(font, seed=0) != script.varied(font, seed=1)
    place = script.chunks(font)["smpl"]
    assert font[: place.start] == other[: place.start] and font[place.stop :] == other[place.stop :]
    before, after = (np.frombuffer(content[place], "<i2").reshape(20, -1) for content in (font, other))
    assert not after[:, 5000:].any()  # the silence between samples
    before, after = before.astype(float), after.astype(float)
    assert np.median(after.std(axis=1) / before.std(axis=1)) == pytest.approx(1, abs=0.01)
    treble = [np.abs(np.fft.rfft(wav[:, :5000]))[:, 2000:].mean(axis=1) for wav in (before, after)]
    assert 3 <= (treble[1] < 0.3 * treble[0]).sum() <= 17  # some are darker, not all


def test_muon_and_adam_share_the_weights_and_go_on_where_they_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    script = load("train_released", monkeypatch)

    def trained(steps: list[int]) -> list[torch.Tensor]:
        torch.manual_seed(0)
        model = FrameBlock(width=16, dilation=1)
        hidden, state = torch.randn(2, 20, 16), None
        for count in steps:
            optimizer = script.MatrixOptimizer(model)
            if state is not None:
                optimizer.load_state_dict(state)
            optimizer.set_rate(1e-2)
            for _ in range(count):
                model.zero_grad()
                (model.eval()(hidden) - 1).square().mean().backward()
                optimizer.step()
            state = optimizer.state_dict()
        return [parameter.detach() for parameter in model.parameters()]

    at_once, in_two, before = trained([4]), trained([2, 2]), trained([])
    for once, halves, start in zip(at_once, in_two, before, strict=True):
        assert torch.equal(once, halves)
        assert not torch.equal(once, start)


def test_a_matrix_steps_along_its_nearest_orthogonal_one(monkeypatch: pytest.MonkeyPatch) -> None:
    script = load("train_released", monkeypatch)
    torch.manual_seed(0)
    model = FrameBlock(width=16, dilation=1)
    before = model.up.weight.detach().clone()
    optimizer = script.MatrixOptimizer(model)
    optimizer.set_rate(1e-2)
    gradient = torch.randn(48, 16)
    model.up.weight.grad = gradient.clone()
    optimizer.step()
    step = model.up.weight.detach() - before * (1 - 1e-4)  # rate times decay of the weights
    left, _, right = torch.linalg.svd(gradient, full_matrices=False)
    direction = -(left @ right)
    assert (step * direction).sum() / (step.norm() * direction.norm()) > 0.97
    assert step.square().mean().sqrt() == pytest.approx(0.2e-2, rel=0.2)  # what AdamW's steps come to


def test_bands_that_were_trained_on_come_into_a_finished_level_network(monkeypatch: pytest.MonkeyPatch) -> None:
    script = load("average_weights", monkeypatch)
    names = ("frame_network.head.weight", "band_tail.bias", "band_bias", "offset_tail.weight", "tail.weight")
    rest, before, after = ({name: torch.full((3,), value) for name in names} for value in (9.0, 0.0, 4.0))
    found = script.with_bands(rest, before, after, share=0.75)
    assert {name: float(value[0]) for name, value in found.items()} == {
        name: 9.0 if name in ("offset_tail.weight", "tail.weight") else 3.0 for name in names
    }
    with pytest.raises(AssertionError, match="one stage"):
        script.mean(before, {}, share=0.5)


@pytest.mark.parametrize(("bitrate", "cut_hz", "known"), [(128, None, 18_400), (256, 16_000, 15_300), (64, None, None)])
def test_vorbis_is_believed_up_to_its_low_pass_or_that_of_an_encoder_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bitrate: int, cut_hz: float | None, known: int | None
) -> None:
    script = load("decode_vorbis", monkeypatch)
    wav = 0.1 * np.random.default_rng(0).standard_normal((2, 31 * 44_100))
    if cut_hz:
        wav = fftconvolve(wav, firwin(1023, cut_hz, fs=44_100)[None], mode="same", axes=1)
    for folder in ("package", "out"):
        (tmp_path / folder).mkdir()
    (tmp_path / "package" / "a tune.ogg").write_bytes(encode_vorbis(wav.astype(np.float32), bitrate, 44_100))
    (tmp_path / "package" / "not music.ogg").write_bytes(b"OggS")
    songs = list(script.songs_in(tmp_path))
    assert songs == [("ogg_package__a_tune", tmp_path / "package" / "a tune.ogg")]
    script.decode(songs[0], tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == (["ogg_package__a_tune.flac"] if known else [])
    if known:
        song = tmp_path / "out" / "ogg_package__a_tune.flac"
        assert script.known_hz(song) == pytest.approx(known, abs=300)
        decoded = soundfile.read(song)[0].T
        assert 10 * np.log10(np.mean(wav**2) / np.mean((decoded - wav) ** 2)) > 1, "the same, in time"


def test_a_piece_knows_as_much_as_its_songs(songs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = load("augment_music", monkeypatch)
    with soundfile.SoundFile(songs / "ogg_e.flac", "w", 44_100, 2) as file:
        file.comment = "known up to 15000 Hz"
        file.write(0.1 * np.random.default_rng(1).standard_normal((12 * 44_100, 2)))
    rng = np.random.default_rng(0)
    assert script.mixed({"other": [songs / "midi_a.flac"]}, 44_100, 1, rng)[1] == 22_050
    assert script.mixed({"other": [songs / "ogg_e.flac"]}, 44_100, 1, rng)[1] == 15_000
    known = {script.mixed(script.songs_in([songs]), 44_100, 0, np.random.default_rng(seed))[1] for seed in range(60)}
    assert 22_050 in known and any(0.92 * 15_000 <= hz < 15_000 for hz in known), "slower, and lower"
