"""A MIDI file to arrange and to play."""

from pathlib import Path

import pytest


@pytest.fixture
def tune(tmp_path: Path) -> Path:
    """Two minutes of a note and a drum each half second; the notes never end."""
    mido = pytest.importorskip("mido")
    tune = mido.MidiFile(ticks_per_beat=96)
    track = tune.add_track()
    track.append(mido.Message("program_change", channel=0, program=0))
    for beat in range(240):
        track.append(mido.Message("note_on", channel=0, note=60 + beat % 12, velocity=90, time=96 if beat else 0))
        track.append(mido.Message("note_on", channel=9, note=38, velocity=100))
    tune.save(tmp_path / "tune.mid")
    return tmp_path / "tune.mid"
