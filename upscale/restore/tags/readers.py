"""Every format's tags in one form. Each reader takes what mutagen found and adds it to `Tags` under Vorbis names."""

import base64
import io
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import mutagen
import soundfile
from mutagen import id3
from mutagen._vorbis import VComment
from mutagen.apev2 import APEBinaryValue, APEv2
from mutagen.asf import ASFTags
from mutagen.flac import FLAC, Picture
from mutagen.mp4 import MP4FreeForm, MP4Tags

from upscale.audio.mpeg import sync_layer
from upscale.restore.tags import names as tag_names
from upscale.restore.tags.form import Tags

# Junk in front of an MP3 (a torn download, a stream's header) is skipped up to here to find its tag.
MAX_LEADING_BYTES = 2**17
ID3_HEADER = re.compile(rb"ID3[\x02-\x04]\x00[\x00-\xff][\x00-\x7f]{4}", re.DOTALL)


def read_tags(path: Path) -> Tags:
    """All that a file says about itself; of an MP3 the ID3v2, ID3v1 and APE tags, the first that says it wins."""
    with path.open("rb") as file:
        head = file.read(12)
    if path.suffix.lower() in (".mp3", ".mp2", ".mpga") or head[:3] == b"ID3" or sync_layer(head):
        return _read_mpeg(path)
    tags = Tags()
    found = _attempt(lambda: mutagen.File(path), tags)
    if found is not None:
        _read_any(found.tags, tags)
        if isinstance(found, FLAC):
            _add_pictures(found.pictures, tags)
    tags.add_missing(_read_chunks(path))
    return tags


def _read_mpeg(path: Path) -> Tags:
    tags, ape = Tags(), Tags()
    with path.open("rb") as file:
        header = ID3_HEADER.search(file.read(MAX_LEADING_BYTES))
        start = header.start() if header else 0
        file.seek(start)
        source: Any = path if start == 0 else io.BytesIO(file.read())
    _read_any(_attempt(lambda: id3.ID3(source), tags), tags)
    _read_any(_attempt(lambda: APEv2(path), ape), ape)
    tags.add_missing(ape)
    return tags


def _attempt(load: Callable[[], Any], tags: Tags) -> Any:
    """What mutagen reads, or nothing: no tag is no loss, a broken one is named."""
    try:
        return load()
    except (id3.ID3NoHeaderError, mutagen.apev2.APENoHeaderError):
        return None
    except Exception as error:  # broken tags break mutagen in many ways; none of them may stop a file
        tags.lost.append(f"broken tag ({error or type(error).__name__})")
        return None


def _read_any(found: Any, tags: Tags) -> None:
    if isinstance(found, id3.ID3):
        _read_id3(found, tags)
    elif isinstance(found, VComment):
        _read_vorbis(found, tags)
    elif isinstance(found, APEv2):
        _read_ape(found, tags)
    elif isinstance(found, MP4Tags):
        _read_mp4(found, tags)
    elif isinstance(found, ASFTags):
        _read_asf(found, tags)


def _read_id3(found: id3.ID3, tags: Tags) -> None:
    found.update_to_v24()
    for frame in found.values():
        name = frame.FrameID
        if name in tag_names.PAIRS:
            for text in frame.text:
                tags.add_pair(tag_names.PAIRS[name], text)
        elif name == "TCON":
            _add_texts("GENRE", frame.genres, tags)  # "(17)" and "17" are Rock
        elif name == "TXXX":
            _add_texts(frame.desc or name, frame.text, tags)
        elif name in ("TIPL", "TMCL"):
            _add_texts("PERFORMER", [f"{person} ({role})" if role else person for role, person in frame.people], tags)
        elif name.startswith("T") or name in tag_names.ID3:
            _add_texts(tag_names.ID3.get(name, name), getattr(frame, "text", None) or [frame.url], tags)
        else:
            _read_id3_special(frame, tags)


def _read_id3_special(frame: Any, tags: Tags) -> None:
    match frame.FrameID:
        case "COMM":
            _add_texts(f"COMMENT:{frame.desc}" if frame.desc else "COMMENT", frame.text, tags)
        case "USLT":
            tags.add("LYRICS", frame.text)
        case "WXXX":
            tags.add(frame.desc or "WEBSITE", frame.url)
        case "UFID":
            name = "MUSICBRAINZ_TRACKID" if "musicbrainz" in frame.owner else f"UFID:{frame.owner}"
            tags.add(name, frame.data.decode("ascii", "replace"))
        case "POPM":
            tags.add("RATING", frame.rating)
        case "APIC":
            tags.add_picture(frame.data, kind=int(frame.type), mime=frame.mime, description=frame.desc)
        case name:
            tags.lost.append(f"ID3 frame {name}")


def _read_vorbis(found: VComment, tags: Tags) -> None:
    for name, value in found:
        if name.upper() == "METADATA_BLOCK_PICTURE":
            picture = _attempt(partial(_decode_picture, value), tags)
            _add_pictures([] if picture is None else [picture], tags)
        elif name.upper() == "COVERART":
            tags.add_picture(_attempt(partial(base64.b64decode, value), tags) or b"")
        elif name.upper() != "COVERARTMIME":
            tags.add(name, value)


def _read_ape(found: APEv2, tags: Tags) -> None:
    for name, value in found.items():
        key = name.title()
        if isinstance(value, APEBinaryValue):
            if key.startswith("Cover Art"):
                # A file name, a zero, the picture.
                tags.add_picture(bytes(value.value or b"").partition(b"\0")[2], kind=4 if "Back" in key else 3)
            else:
                tags.lost.append(f"APE item {name}")
        elif key in tag_names.APE_PAIRS:
            tags.add_pair(tag_names.APE_PAIRS[key], value)
        else:
            _add_texts(tag_names.APE.get(key, name), list(value), tags)


def _read_mp4(found: MP4Tags, tags: Tags) -> None:
    for name, values in found.items():
        if name in tag_names.MP4_PAIRS:
            for pair in values:
                tags.add_pair(tag_names.MP4_PAIRS[name], "/".join(str(part) for part in pair if part))
        elif name == "covr":
            for picture in values:
                tags.add_picture(bytes(picture))
        elif name.startswith("----:"):
            texts = [bytes(value).decode("utf-8", "replace") for value in values if isinstance(value, MP4FreeForm)]
            _add_texts(name.rpartition(":")[2], texts, tags)
        elif name in tag_names.MP4:
            texts = values if isinstance(values, list) else [str(int(values))]
            _add_texts(tag_names.MP4[name], texts, tags)
        else:
            tags.lost.append(f"MP4 atom {name}")


def _read_asf(found: ASFTags, tags: Tags) -> None:
    for name, value in found:
        if name == "WM/Picture":
            # One byte of kind, four of size, type and description in UTF-16, each ended by a zero, the picture.
            data = bytes(value.value)
            tags.add_picture(data[-int.from_bytes(data[1:5], "little") :], kind=data[0])
        elif name in tag_names.ASF:
            tags.add(tag_names.ASF[name], value)
        else:
            tags.add(name.removeprefix("WM/"), value)


def _read_chunks(path: Path) -> Tags:
    """The text chunks of WAV and AIFF (RIFF INFO and the like), which mutagen does not read."""
    tags = Tags()
    if path.suffix.lower() not in (".wav", ".aif", ".aiff"):
        return tags
    try:
        with soundfile.SoundFile(str(path)) as file:
            chunks = file.copy_metadata()
    except soundfile.LibsndfileError:
        return tags
    for name, value in chunks.items():
        tags.add(name, value)
    return tags


def _decode_picture(text: str) -> Picture:
    return Picture(base64.b64decode(text))


def _add_texts(name: str, texts: list[Any], tags: Tags) -> None:
    for text in texts:
        tags.add(name, text)


def _add_pictures(pictures: list[Picture], tags: Tags) -> None:
    for picture in pictures:
        tags.add_picture(picture.data, kind=picture.type, mime=picture.mime, description=picture.desc)
