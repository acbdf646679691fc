"""Tags and cover art from every kind of file, usual, unusual and broken, into FLAC, WAV and AIFF."""

from pathlib import Path

import av
import mutagen
import numpy as np
import pytest
from mp3s import RATE, by_lame, music, save
from mutagen import apev2, id3
from mutagen.aiff import AIFF
from mutagen.flac import FLAC, Picture
from mutagen.mp4 import MP4
from mutagen.oggvorbis import OggVorbis
from mutagen.wave import WAVE

from upscale import audio
from upscale.restore.tags import copy_tags, read_tags

FRAMES = by_lame(music(seconds=0.3))
JPEG = b"\xff\xd8\xff\xe0" + bytes(200)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(300)


def _target(folder: Path, suffix: str = ".flac") -> Path:
    path = folder / f"restored{suffix}"
    audio.write(path, np.zeros((1, 1000), np.float32), RATE)
    return path


def _copied(source: Path) -> FLAC:
    target = _target(source.parent)
    assert copy_tags(source, target) == []
    return FLAC(target)


@pytest.mark.parametrize("version", [3, 4])
def test_id3v2_fields_and_pictures_are_copied(tmp_path, version):
    source = save(tmp_path / "song.mp3", FRAMES)
    tags = id3.ID3()
    tags.add(id3.TIT2(encoding=1, text="Älska — 愛"))
    tags.add(id3.TPE1(encoding=3, text=["One", "Two"]))
    tags.add(id3.TRCK(encoding=0, text="3/12"))
    tags.add(id3.TPOS(encoding=0, text="1"))
    tags.add(id3.TCON(encoding=0, text="(17)"))
    tags.add(id3.TDRC(encoding=0, text="1997-05-21"))
    tags.add(id3.COMM(encoding=3, lang="eng", desc="", text="a\nremark"))
    tags.add(id3.USLT(encoding=3, lang="eng", desc="", text="la la"))
    tags.add(id3.TXXX(encoding=3, desc="replaygain_track_gain", text="-7.1 dB"))
    tags.add(id3.UFID(owner="http://musicbrainz.org", data=b"1234-abcd"))
    tags.add(id3.APIC(encoding=3, mime="image/jpg", type=3, desc="front", data=JPEG))
    tags.add(id3.APIC(encoding=3, mime="", type=4, desc="back", data=PNG))
    tags.save(source, v2_version=version, v23_sep="/" if version == 3 else None)
    flac = _copied(source)
    assert flac["title"] == ["Älska — 愛"]
    assert flac["artist"] == (["One/Two"] if version == 3 else ["One", "Two"])
    assert (flac["tracknumber"], flac["tracktotal"], flac["discnumber"]) == (["3"], ["12"], ["1"])
    assert (flac["genre"], flac["date"], flac["comment"]) == (["Rock"], ["1997-05-21"], ["a\nremark"])
    assert (flac["lyrics"], flac["replaygain_track_gain"]) == (["la la"], ["-7.1 dB"])
    assert flac["musicbrainz_trackid"] == ["1234-abcd"]
    pictures = [(picture.type, picture.mime, picture.data, picture.desc) for picture in flac.pictures]
    assert pictures == [(3, "image/jpeg", JPEG, "front"), (4, "image/png", PNG, "back")]


def test_id3v1_fields_are_copied(tmp_path):
    tag = b"TAG" + b"Title".ljust(30, b"\0") + b"Caf\xe9".ljust(30, b"\0") + bytes(30) + b"1999" + bytes(28)
    source = save(tmp_path / "song.mp3", FRAMES + tag + b"\0\x07" + bytes([17]))
    flac = _copied(source)
    assert (flac["title"], flac["artist"], flac["date"]) == (["Title"], ["Café"], ["1999"])
    assert (flac["tracknumber"], flac["genre"]) == (["7"], ["Rock"])


def test_ape_tags_of_an_mp3_add_the_fields_that_id3_lacks(tmp_path):
    source = save(tmp_path / "song.mp3", FRAMES)
    ape = apev2.APEv2()
    ape.update({"Title": "from APE", "Artist": ["A", "B"], "Track": "2/9", "Year": "2001"})
    ape["Cover Art (Front)"] = apev2.APEValue(b"cover.png\0" + PNG, apev2.BINARY)
    ape.save(source)
    id3.ID3().save(source)
    tags = id3.ID3(source)
    tags.add(id3.TIT2(encoding=3, text="from ID3"))
    tags.save(source)
    flac = _copied(source)
    assert (flac["title"], flac["artist"], flac["date"]) == (["from ID3"], ["A", "B"], ["2001"])
    assert (flac["tracknumber"], flac["tracktotal"]) == (["2"], ["9"])
    assert [picture.data for picture in flac.pictures] == [PNG]


def test_id3_behind_leading_garbage_is_found(tmp_path):
    tagged = save(tmp_path / "tagged.mp3", FRAMES)
    tags = id3.ID3()
    tags.add(id3.TIT2(encoding=3, text="behind"))
    tags.save(tagged)
    source = save(tmp_path / "song.mp3", b"junk ID3 junk" * 99 + tagged.read_bytes())
    assert _copied(source)["title"] == ["behind"]


def test_a_frame_that_cannot_be_copied_is_named_and_the_rest_is_kept(tmp_path):
    good = save(tmp_path / "good.mp3", FRAMES)
    tags = id3.ID3()
    tags.add(id3.TIT2(encoding=3, text="kept"))
    tags.add(id3.PRIV(owner="x", data=b"y"))
    tags.add(id3.APIC(encoding=3, mime="image/png", type=3, desc="", data=PNG * 60_000))
    tags.save(good)
    target = _target(tmp_path)
    lost = copy_tags(good, target)
    assert sorted(lost) == ["ID3 frame PRIV", f"picture of {len(PNG) * 60_000} bytes"]
    assert FLAC(target)["title"] == ["kept"]


@pytest.mark.parametrize(
    "head",
    [
        b"ID3\x04\x00\x00\x00\x00\x7f\x7f",  # longer than the file
        b"ID3\x09\x00\x00\x00\x00\x00\x10" + bytes(16),  # a version that does not exist
        b"ID3\x03\x00\x00\x00\x00\x00\x20TIT2\xff\xff\xff\xff\0\0" + bytes(22),  # a frame without an end
        b"ID3\x04\0\0\0\0\0\x14TIT2\0\0\0\x0a\0\0\x01\xff\xfe\0\xd8\x41\0\0\0\0",  # half a letter
    ],
)
def test_broken_id3_leaves_the_audio_intact(tmp_path, head):
    source = save(tmp_path / "song.mp3", head + FRAMES)
    target = _target(tmp_path)
    copy_tags(source, target)
    assert audio.probe(target).num_samples == 1000


def test_mp4_atoms_are_copied(tmp_path):
    source = tmp_path / "song.m4a"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("aac", rate=RATE)
        frame = av.AudioFrame.from_ndarray(music(seconds=0.3), format="fltp", layout="stereo")
        frame.sample_rate = RATE
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    tags = MP4(source)
    tags.update({"\xa9nam": "T", "aART": "AA", "trkn": [(4, 0)], "tmpo": [120], "cpil": True, "covr": [JPEG]})
    tags["----:com.apple.iTunes:MOOD"] = b"calm"
    tags.save()
    flac = _copied(source)
    assert (flac["title"], flac["albumartist"], flac["tracknumber"]) == (["T"], ["AA"], ["4"])
    assert (flac["bpm"], flac["compilation"], flac["mood"]) == (["120"], ["1"], ["calm"])
    assert "tracktotal" not in flac and flac.pictures[0].data == JPEG


def test_ogg_and_flac_pictures_are_copied(tmp_path):
    import base64

    source = tmp_path / "song.ogg"
    import soundfile

    soundfile.write(source, music(seconds=0.3).T, RATE)
    picture = Picture()
    picture.data, picture.type, picture.mime = PNG, 3, "image/png"
    tags = OggVorbis(source)
    tags["artist"] = ["A", "B"]
    tags["metadata_block_picture"] = [base64.b64encode(picture.write()).decode(), "not base64 at all!"]
    tags.save()
    target = _target(tmp_path)
    lost = copy_tags(source, target)
    assert len(lost) == 1 and "broken" in lost[0]
    assert FLAC(target)["artist"] == ["A", "B"] and FLAC(target).pictures[0].data == PNG
    again = tmp_path / "again.flac"
    audio.write(again, np.zeros((1, 1000), np.float32), RATE)
    assert copy_tags(target, again) == []
    assert FLAC(again).pictures[0].data == PNG and FLAC(again)["artist"] == ["A", "B"]


@pytest.mark.parametrize(("suffix", "kind"), [(".wav", WAVE), (".aiff", AIFF)])
def test_tags_survive_wav_and_aiff_and_back(tmp_path, suffix, kind):
    source = _target(tmp_path)
    flac = FLAC(source)
    fields = {"title": ["T"], "artist": ["A", "B"], "tracknumber": ["3"], "tracktotal": ["12"], "comment": ["c"]}
    flac.update(fields | {"lyrics": ["la"], "odd name": ["x"], "website": ["http://a.b"]})
    picture = Picture()
    picture.data, picture.type, picture.mime = JPEG, 3, "image/jpeg"
    flac.add_picture(picture)
    flac.save()
    target = _target(tmp_path, suffix)
    assert copy_tags(source, target) == []
    written = kind(target).tags
    assert written["TRCK"].text == ["3/12"] and written.getall("APIC")[0].data == JPEG
    back = dict(read_tags(target).fields)
    assert {name: back[name] for name in ("TITLE", "TRACKTOTAL", "LYRICS", "ODD NAME", "WEBSITE", "COMMENT")} == {
        "TITLE": "T", "TRACKTOTAL": "12", "LYRICS": "la", "ODD NAME": "x", "WEBSITE": "http://a.b", "COMMENT": "c"
    }  # fmt: skip
    assert audio.probe(target).num_samples == 1000


def test_riff_info_chunk_is_copied(tmp_path):
    import soundfile

    with soundfile.SoundFile(tmp_path / "song.wav", "w", RATE, 1) as file:
        file.title, file.artist = "chunk title", "chunk artist"
        file.write(np.zeros(1000))
    flac = _copied(tmp_path / "song.wav")
    assert (flac["title"], flac["artist"]) == (["chunk title"], ["chunk artist"])


def test_a_file_without_tags_gives_a_file_without_tags(tmp_path):
    assert mutagen.File(_copied(save(tmp_path / "song.mp3", FRAMES)).filename).tags in (None, [])
