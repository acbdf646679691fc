"""The instruments that come with ZynAddSubFX, on tracks of LMMS, which has that synthesiser within itself.

1,318 of them in the Debian package `zynaddsubfx-data`: pads, voices, plucked strings, organs and noises of a dozen
makers, where LMMS brings 150 presets of its own.
"""

import gzip
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, fromstring

BANKS = Path("/usr/share/zynaddsubfx/banks")
VOLUME = 127  # of 127: they are quieter than LMMS's own
CENTRED = ("filterfreq", "filterq", "bandwidth", "resbandwidth", "rescenterfreq")  # controllers, in their middle


def zyn_instruments(banks: Path) -> list[Path]:
    return sorted(banks.glob("*/*.xiz"))


def read_instrument(path: Path) -> Element:
    """The element INSTRUMENT of a `.xiz`, XML that may be compressed and may begin with an empty line."""
    content = path.read_bytes()
    content = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
    instrument = fromstring(content.lstrip()).find("INSTRUMENT")
    if instrument is None:
        raise ValueError(f"{path}: no INSTRUMENT in it")
    return instrument


def set_zyn_instrument(track: Element, path: Path) -> None:
    """That instrument as the only part of the synthesiser, without LMMS's own arpeggios and effects."""
    instrument = track.find("instrument")
    assert instrument is not None
    instrument.clear()
    instrument.set("name", "zynaddsubfx")
    others = {"fmgain": "127", "portamento": "0", "forwardmidicc": "1", "modifiedcontrollers": ""}
    synthesiser = SubElement(instrument, "zynaddsubfx", dict.fromkeys(CENTRED, "64") | others)
    data = SubElement(synthesiser, "ZynAddSubFX-data", {"version-major": "2", "version-minor": "4"})
    master = SubElement(data, "MASTER")
    SubElement(master, "par", name="volume", value=str(VOLUME))
    part = SubElement(master, "PART", id="0")
    SubElement(part, "par_bool", name="enabled", value="yes")
    part.append(read_instrument(path))
    for name in ("chordcreator", "arpeggiator", "fxchain"):
        for element in track.findall(name):
            track.remove(element)
