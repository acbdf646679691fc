"""What is a pair, and what is said where there is none."""

import json
import time

import numpy as np
import pytest
from pair_files import store

from upscale.audio import resample
from upscale.codec import CodecSpec, encode
from upscale.datamodule import PairDataModule
from upscale.datamodule.pairs import checks
from upscale.datamodule.pairs.folder import find_pairs, read_bitrates
from upscale.errors import UserError


def opened(root, **changes) -> PairDataModule:
    data = PairDataModule(str(root), **({"clip_seconds": 0.5, "num_workers": 0, "channels": 2} | changes))
    data.prepare_data()
    data.setup("fit")
    return data


def refusal(root, **changes) -> str:
    with pytest.raises(UserError) as raised:
        opened(root, **changes)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_nested_songs_find_their_variants(root):
    pairs = find_pairs(root, {})
    assert len(pairs) == 12
    assert {(pair.variant, pair.bitrate) for pair in pairs} == {("64", 64), ("128", 128)}
    assert sum(pair.name.startswith("album/") for pair in pairs) == 6


def test_one_version_needs_no_folder_of_its_own_and_no_bitrate(one_pair, songs):
    pairs = find_pairs(one_pair(songs[0][0], songs[0][1][64]), {})
    assert [(pair.name, pair.variant, pair.bitrate) for pair in pairs] == [("a", "", 0), ("b", "", 0)]


@pytest.mark.parametrize(
    ("name", "text"),
    [("pairs.csv", "name,bitrate\nv2,190\nv5/b,130\n"), ("pairs.yaml", "v2: 190\nv5/b: 130\n")],
)
def test_a_table_names_bitrates(tmp_path, songs, name, text):
    for song in ("a", "b"):
        store(tmp_path / "clean" / f"{song}.wav", songs[0][0])
        for variant in ("v2", "v5"):
            store(tmp_path / "degraded" / variant / f"{song}.wav", songs[0][1][64])
    (tmp_path / name).write_text(text)
    found = {(pair.variant, pair.name): pair.bitrate for pair in find_pairs(tmp_path, read_bitrates(tmp_path))}
    assert found == {("v2", "a"): 190, ("v2", "b"): 190, ("v5", "a"): 0, ("v5", "b"): 130}


@pytest.mark.parametrize("text", ["v2: much", "- v2", "{"])
def test_a_broken_table_is_refused(one_pair, songs, text):
    folder = one_pair(songs[0][0], songs[0][1][64])
    (folder / "pairs.yaml").write_text(text)
    assert "pairs.yaml: cannot be read" in refusal(folder)


def test_missing_partners_are_counted_and_named(one_pair, songs, caplog):
    folder = one_pair(songs[0][0], songs[0][1][64])
    store(folder / "clean/lonely.wav", songs[1][0])
    store(folder / "degraded/64/other.wav", songs[1][0])
    opened(folder)
    assert "2 files have no partner and are left out: clean/lonely, degraded/64/other" in caplog.text


def test_nothing_to_pair_is_refused(tmp_path, songs):
    assert "no such folder" in refusal(tmp_path / "nowhere")
    assert "has no folder clean/" in refusal(tmp_path)
    store(tmp_path / "clean/a.wav", songs[0][0])
    assert "has no folder degraded/" in refusal(tmp_path)
    (tmp_path / "degraded").mkdir()
    assert "degraded holds no audio file" in refusal(tmp_path)
    store(tmp_path / "degraded/b.wav", songs[0][0])
    assert "holds no pairs: no file of degraded/ (such as b) has the name of one in clean/ (such as a)" in refusal(
        tmp_path
    )


def test_another_sample_rate_is_refused(one_pair, songs):
    clean = songs[0][0]
    line = refusal(one_pair(clean, resample(clean, 44_100, 48_000), rates=(44_100, 48_000)))
    assert "degraded/a.wav: has 48000 Hz, models take 44100 Hz: resample" in line


def test_other_channels_are_refused(one_pair, songs):
    clean = songs[0][0]
    assert "has 1 channels" in refusal(one_pair(clean, clean[:1]))
    three = np.concatenate([clean, clean[:1]])
    assert "has 3 channels; mix both sides down" in refusal(one_pair(three, three))


def test_other_lengths_are_refused_or_trimmed(one_pair, songs):
    clean, degraded = songs[0][0], songs[0][1][64]
    folder = one_pair(clean, degraded[:, :-1000])
    line = refusal(folder)
    assert "holds 131300 samples" in line and "132300" in line and "data.align=true" in line
    assert opened(folder, align=True).clips


@pytest.mark.parametrize(("lag", "words"), [(3, "3 samples late"), (-1105, "1105 samples early")])
def test_a_lag_is_refused_and_align_removes_it(one_pair, songs, lag, words):
    clean, degraded = songs[0][0], songs[0][1][64]
    folder = one_pair(clean, np.roll(degraded, lag, axis=1))
    assert words in (line := refusal(folder)) and "data.align=true" in line
    data = opened(folder, align=True, val_songs=["b"])
    file = data.clips["train"].source.files[0][0]
    assert (file.clean_start, file.degraded_start) == (max(0, -lag), max(0, lag))
    assert file.num_samples == clean.shape[1] - abs(lag)
    batch = next(iter(data.train_dataloader()))
    assert ((batch.degraded - batch.clean).square().mean() < 0.1 * batch.clean.square().mean()).all()


def test_inverted_polarity_is_refused_and_align_turns_it(one_pair, songs):
    folder = one_pair(songs[0][0], -songs[0][1][64])
    assert "is inverted" in refusal(folder)
    batch = next(iter(opened(folder, align=True, val_songs=["b"]).train_dataloader()))
    assert ((batch.degraded - batch.clean).square().mean() < 0.1 * batch.clean.square().mean()).all()


def test_drift_is_refused_whatever_is_asked(one_pair, songs):
    clean = songs[0][0]
    drifting = resample(clean, 2_000, 2_001)[:, : clean.shape[1]]
    folder = one_pair(clean, drifting)
    for align in (False, True):
        assert "degraded/a.wav: drifts against" in (line := refusal(folder, align=align)) and "samples late at" in line


def test_another_recording_is_refused(one_pair, songs):
    assert "does not resemble" in refusal(one_pair(songs[0][0], songs[4][0]), align=True)


def test_unreadable_files_have_a_share(one_pair, songs, caplog):
    folder = one_pair(songs[0][0], songs[0][1][64])
    (folder / "degraded/a.wav").write_bytes(b"nothing")
    assert "a.wav: cannot be read as audio" in refusal(folder)
    store(folder / "clean/c.wav", songs[1][0])
    store(folder / "degraded/c.wav", songs[1][1][64])
    opened(folder, max_bad_share=0.4)
    assert "pair left out" in caplog.text


def test_the_degraded_side_may_be_an_mp3_file(one_pair, songs):
    folder = one_pair(songs[0][0], songs[0][1][64])
    (folder / "degraded/a.wav").unlink()
    (folder / "degraded/a.mp3").write_bytes(encode(songs[0][0], CodecSpec(bitrate=64)))
    assert opened(folder, val_songs=["b"]).clips["train"].source.versions[0][0].num_samples == 132_300


def test_pairs_are_checked_once(one_pair, songs, monkeypatch):
    folder = one_pair(songs[0][0], songs[0][1][64])
    opened(folder)
    assert set(json.loads((folder / ".pairs.json").read_text())["findings"]) == {"degraded/a.wav", "degraded/b.wav"}
    checked = []
    check = checks.check_pair
    monkeypatch.setattr(checks, "check_pair", lambda pair: (checked.append(pair.name), check(pair))[1])
    opened(folder)
    assert checked == []
    time.sleep(0.01)
    store(folder / "degraded/a.wav", np.roll(songs[0][1][64], 7, axis=1))
    assert "7 samples late" in refusal(folder)
    assert checked == ["a"]


def test_a_folder_that_is_read_only_is_checked_anew(one_pair, songs, monkeypatch):
    folder = one_pair(songs[0][0], songs[0][1][64])

    def refuse(path, content):
        raise UserError(f"{path}: cannot be written")

    monkeypatch.setattr(checks, "write_json", refuse)
    assert opened(folder).clips
