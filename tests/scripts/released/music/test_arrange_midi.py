"""Other arrangements are music, and the same every time."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mido")
import mido

from scripts.released.music import arrange_midi


def test_an_arrangement_keeps_drums_and_intervals_ends_and_replays(tune: Path, tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        arrange_midi.arrange(tune, tmp_path / f"{name}.mid", np.random.default_rng(seed))
    content = {name: (tmp_path / f"{name}.mid").read_bytes() for name in ("one", "again", "other")}
    assert content["one"] == content["again"] != content["other"]

    arranged = mido.MidiFile(tmp_path / "one.mid")
    assert arranged.length <= arrange_midi.SECONDS + 0.01
    notes = [message for message in arranged if message.type == "note_on"]
    assert {message.note for message in notes if message.channel == 9} == {38}
    melody = [message.note for message in notes if message.channel == 0]
    assert np.array_equal(np.diff(melody), np.diff([60 + beat % 12 for beat in range(len(melody))]))
    stopped = {message.channel for message in arranged if message.is_cc(arrange_midi.ALL_SOUND_OFF)}
    assert stopped == set(range(16))
