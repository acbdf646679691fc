"""The one form that every format's tags are read into: Vorbis comment names and FLAC pictures."""

from dataclasses import dataclass, field

from mutagen.flac import Picture

# FLAC keeps the size of a block in 24 bits; the rest is room for the picture's own header.
MAX_PICTURE_BYTES = 2**24 - 1024


@dataclass
class Tags:
    """`fields`: (Vorbis name, value), in order, names may repeat. `lost`: what could not be read or kept, in words."""

    fields: list[tuple[str, str]] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def add(self, name: str, value: object) -> None:
        """Keep a field if both parts can stand in a Vorbis comment; halves of surrogate pairs become '?'."""
        name = name.strip().upper()
        text = str(value).encode("utf-8", "replace").decode("utf-8").strip("\x00")
        if not name or any(not 0x20 <= ord(letter) <= 0x7D or letter == "=" for letter in name):
            self.lost.append(f"tag with the name {name!r}")
        elif text and (name, text) not in self.fields:
            self.fields.append((name, text))

    def add_pair(self, names: tuple[str, str], value: object) -> None:
        """`3/12` as a number and a total."""
        for name, part in zip(names, str(value).split("/", maxsplit=1), strict=False):
            if part.strip():
                self.add(name, part.strip())

    def add_picture(self, data: bytes, *, kind: int = 3, mime: str = "", description: str = "") -> None:
        """Cover art; the type is taken from the data where that shows it. `kind` as in ID3, 3 is the front cover."""
        if not 0 < len(data) <= MAX_PICTURE_BYTES:
            self.lost.append(f"picture of {len(data)} bytes")
            return
        picture = Picture()
        picture.data, picture.type, picture.desc = data, kind, description
        picture.mime = _mime(data) or mime or "application/octet-stream"
        if all(picture.data != kept.data or picture.type != kept.type for kept in self.pictures):
            self.pictures.append(picture)

    def add_missing(self, other: "Tags") -> None:
        """Take from a second set of tags what this one does not have."""
        names = {name for name, _ in self.fields}
        self.fields += [(name, value) for name, value in other.fields if name not in names]
        self.pictures = self.pictures or other.pictures
        self.lost += other.lost


def _mime(data: bytes) -> str:
    """The type that a picture's first bytes show, or nothing."""
    starts = {b"\xff\xd8\xff": "jpeg", b"\x89PNG\r\n": "png", b"GIF8": "gif", b"BM": "bmp"}
    for start, name in starts.items():
        if data.startswith(start):
            return f"image/{name}"
    return "image/webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else ""
