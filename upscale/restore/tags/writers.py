"""Tags and cover art into a restored file: FLAC (Vorbis comments, pictures), WAV or AIFF (an ID3 chunk)."""

from pathlib import Path

from mutagen import id3
from mutagen._vorbis import VComment
from mutagen.aiff import AIFF
from mutagen.flac import FLAC
from mutagen.wave import WAVE

from upscale.restore.tags import names as tag_names
from upscale.restore.tags.form import Tags
from upscale.restore.tags.readers import read_tags


def copy_tags(source: Path, target: Path) -> list[str]:
    """Write to `target` (.flac, .wav or .aiff) what `source` says about itself; returns what was lost, in words."""
    tags = read_tags(source)
    if tags.fields or tags.pictures:
        (_write_flac if target.suffix.lower() == ".flac" else _write_id3)(tags, target)
    return tags.lost


def _write_flac(tags: Tags, target: Path) -> None:
    file = FLAC(target)
    if file.tags is None:
        file.add_tags()
    assert isinstance(file.tags, VComment)
    file.tags.extend(tags.fields)
    for picture in tags.pictures:
        file.add_picture(picture)
    file.save()


def _write_id3(tags: Tags, target: Path) -> None:
    file = WAVE(target) if target.suffix.lower() == ".wav" else AIFF(target)
    file.add_tags()
    assert file.tags is not None
    frames = {name: frame for frame, name in tag_names.ID3.items()}
    values: dict[str, list[str]] = {}
    for name, value in tags.fields:
        values.setdefault(name, []).append(value)
    for frame, names in tag_names.PAIRS.items():
        parts = [values.pop(name, [""])[0] for name in names]
        if any(parts):
            file.tags.add(id3.Frames[frame](encoding=3, text="/".join(parts).rstrip("/")))
    for name, texts in values.items():
        file.tags.add(_frame(name, texts, frames.get(name)))
    for picture in tags.pictures:
        file.tags.add(id3.APIC(encoding=3, mime=picture.mime, type=picture.type, desc=picture.desc, data=picture.data))
    file.save()


def _frame(name: str, texts: list[str], frame: str | None) -> id3.Frame:
    if name == "COMMENT":
        return id3.COMM(encoding=3, lang="XXX", desc="", text=texts)
    if name == "LYRICS":
        return id3.USLT(encoding=3, lang="XXX", desc="", text="\n".join(texts))
    if frame is None or not frame.startswith("T"):
        return id3.TXXX(encoding=3, desc=name, text=texts)
    return id3.Frames[frame](encoding=3, text=texts)
