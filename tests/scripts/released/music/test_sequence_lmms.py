"""A MIDI file plays on the presets of synthesisers."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

pytest.importorskip("mido")
from scripts.released.music import sequence_lmms


def test_a_midi_file_plays_on_presets_note_by_note(tune: Path, tmp_path: Path) -> None:
    preset = tmp_path / "preset.xpf"
    preset.write_text('<lmms-project><instrumenttrack><instrument name="sid"/></instrumenttrack></lmms-project>')

    def played(seed: int) -> ElementTree.Element:
        project = ElementTree.fromstring(
            "<lmms-project><head bpm='90'/><song><trackcontainer>"
            "<track><instrumenttrack basenote='57'><instrument name='audiofileprocessor'>"
            "<audiofileprocessor src='rim.ogg'/></instrument></instrumenttrack><pattern><note/></pattern></track>"
            "<track/></trackcontainer></song></lmms-project>"
        )
        sequence_lmms.sequence(project, tune, sequence_lmms.Sounds(["kick.ds"], [preset]), np.random.default_rng(seed))
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
    assert len(places) == pytest.approx(2 * sequence_lmms.SECONDS, abs=1)
    assert np.diff(places) == pytest.approx(sequence_lmms.TICKS_PER_SECOND / 2, abs=1), "two notes a second"
    assert b".ogg" not in ElementTree.tostring(project)
    assert ElementTree.tostring(played(0)) == ElementTree.tostring(played(0)) != ElementTree.tostring(played(1))
