"""Batches of pairs: aligned, at one gain, the same again from the same seed, disjoint between ranks."""

import shutil
from collections import Counter

import numpy as np
import pytest
import torch

from upscale.datamodule import PairDataModule
from upscale.errors import UserError


def epoch(data: PairDataModule, number: int) -> list:
    loader = data.train_dataloader()
    loader.sampler.set_epoch(number)
    return list(loader)


def song_of(key: str) -> str:
    return key.split("@")[0]


def test_a_batch_holds_aligned_pairs(make):
    batch = next(iter(make().train_dataloader()))
    assert batch.degraded.shape == batch.clean.shape == (4, 2, 22_050)
    assert batch.degraded.dtype == batch.clean.dtype == batch.bitrate.dtype == torch.float32
    noise = (batch.degraded - batch.clean).square().mean((1, 2)) / batch.clean.square().mean((1, 2))
    assert (noise > 0).all() and (noise < 0.2).all()
    assert len(set(map(song_of, batch.key))) == 4


def test_songs_are_split_by_name_and_none_is_in_both(make):
    data = make()
    train, val = (set(data.clips[split].source.names) for split in ("train", "val"))
    assert len(train) + len(val) == 6 and not train & val and val
    assert set(make(seed=5).clips["val"].source.names) == val
    named = make(val_songs=["album/song 1"])
    assert named.clips["val"].source.names == ["album/song 1"]


def test_folders_of_splits_are_taken_as_they_are(make, root, tmp_path):
    for split in ("train", "val"):
        shutil.copytree(root, tmp_path / split)
    (tmp_path / "val/clean/song 4.wav").unlink()
    data = make(root=str(tmp_path))
    assert (len(data.clips["train"].source.names), len(data.clips["val"].source.names)) == (6, 5)


def test_two_runs_are_equal_and_two_epochs_differ(make, digest):
    data = make(num_batches=4)
    assert digest(epoch(data, 0)) == digest(epoch(make(num_batches=4), 0))
    assert digest(epoch(data, 0)) != digest(epoch(data, 1))
    assert digest(epoch(make(num_batches=4, seed=1), 0)) != digest(epoch(data, 0))
    assert digest(list(data.val_dataloader())) == digest(list(make().val_dataloader()))


def test_worker_processes_change_nothing(make, digest):
    alone, shared = make(num_batches=5), make(num_batches=5, num_workers=2)
    assert digest(epoch(alone, 1)) == digest(epoch(shared, 1))


def test_an_interrupted_epoch_goes_on_with_the_next_clip(make, digest):
    whole = epoch(make(num_batches=6), 2)
    loader = make(num_batches=6).train_dataloader()
    loader.sampler.set_epoch(2)
    batches = iter(loader)
    first = [next(batches) for _ in range(4)]
    later = make(num_batches=6).train_dataloader()
    later.load_state_dict(loader.state_dict())
    later.sampler.set_epoch(2)
    assert digest(first + list(later)) == digest(whole)


def test_any_batch_is_made_again_from_its_draws(make, digest):
    data = make(num_batches=6)
    loader = data.train_dataloader()
    assert digest([make().clips["train"][loader.sampler.batch(3, 5)]]) == digest([epoch(data, 3)[5]])


def test_ranks_share_the_songs(make, monkeypatch):
    trained, validated = [], []
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))
        data = make(batch_size=2, num_batches=1)
        trained += [song_of(key) for batch in data.train_dataloader() for key in batch.key]
        validated += [key for batch in data.val_dataloader() for key in batch.key]
    assert len(trained) == len(set(trained)) == 4
    assert len(validated) == len(set(validated)) == len(data.clips["val"])


def test_every_song_is_heard_equally_often(make):
    keys = [
        song_of(key)
        for number in range(2)
        for batch in epoch(make(num_batches=5, batch_size=4), number)
        for key in batch.key
    ]
    counts = Counter(keys)
    assert max(counts.values()) - min(counts.values()) <= 1


def test_without_a_number_an_epoch_is_as_long_as_the_songs(make):
    data = make()
    num_songs = len(data.clips["train"])
    assert len(data.train_dataloader()) == num_songs * 6 // 4


def test_gain_sign_and_channels_are_drawn_for_both_sides(make, root):
    data = make(num_batches=30, gain_db=[-20.0, 0.0], clip_seconds=0.1)
    source = data.clips["train"].source
    gains, swapped = [], []
    for batch in epoch(data, 0):
        for key, clean, degraded in zip(batch.key, batch.clean.numpy(), batch.degraded.numpy(), strict=True):
            name, start = song_of(key), int(key.split("+")[1])
            version = key.split("@")[1].split("+")[0]
            song = source.names.index(name)
            number = [one.name for one in source.versions[song]].index(version)
            stored, coded = (
                source.read_clean(song, number, start, 4_410),
                source.read_degraded(song, number, start, 4_410),
            )
            straight = np.vdot(clean, stored) / np.vdot(stored, stored)
            is_swapped = not np.allclose(clean, straight * stored, atol=1e-6)
            order = -1 if is_swapped else 1
            gain = np.vdot(clean, stored[::order]) / np.vdot(stored, stored)
            np.testing.assert_allclose(clean, gain * stored[::order], atol=1e-5)
            np.testing.assert_allclose(degraded, gain * coded[::order], atol=1e-5)
            gains.append(gain)
            swapped.append(is_swapped)
    assert 0.3 < np.mean(swapped) < 0.7 and 0.3 < np.mean(np.array(gains) > 0) < 0.7
    levels = 20 * np.log10(np.abs(gains))
    assert -20 <= levels.min() < -16 and -4 < levels.max() <= 1e-3


def test_loudness_puts_levels_near_the_upper_end(make):
    def mean_level(loudness: float) -> float:
        crop = make(loudness=loudness).clips["train"]
        rng = np.random.default_rng(0)
        return float(np.mean([20 * np.log10(abs(crop._change(rng)[0])) for _ in range(500)]))

    assert mean_level(1.0) == pytest.approx(-15, abs=1)
    assert mean_level(3.0) == pytest.approx(-7.5, abs=1)


def test_half_of_the_clips_do_not_tell_their_bitrate(make):
    def bitrates(**changes) -> list[float]:
        data = make(num_batches=30, clip_seconds=0.1, **changes)
        return [value for batch in epoch(data, 0) for value in batch.bitrate.tolist()]

    assert 0.35 < np.mean(np.array(bitrates()) == 0) < 0.65
    assert set(bitrates(bitrate_known=1.0)) == {64.0, 128.0}
    assert set(bitrates(bitrate_known=0.0)) == {0.0}
    assert {value for batch in make().val_dataloader() for value in batch.bitrate.tolist()} == {64.0, 128.0}


def test_weights_decide_which_version_is_drawn(make):
    def share_of_64(weights) -> float:
        values = [
            v for b in epoch(make(num_batches=50, bitrate_known=1.0, bitrate_weights=weights), 0) for v in b.bitrate
        ]
        return float(np.mean(np.array(values) == 64))

    assert share_of_64({64: 3, 128: 1}) == pytest.approx(0.75, abs=0.1)
    assert share_of_64({64: 1.2}) == 1
    with pytest.raises(UserError, match=r"data.bitrate_weights names none of the versions that there are: 128, 64"):
        make(bitrate_weights={96: 1})


def test_validation_stays_as_it_is_and_takes_turns(make):
    data = make()
    bitrates = Counter(value for batch in data.val_dataloader() for value in batch.bitrate.tolist())
    assert abs(bitrates[64.0] - bitrates[128.0]) <= 1
    source = data.clips["val"].source
    for batch in data.val_dataloader():
        for key, clean in zip(batch.key, batch.clean.numpy(), strict=True):
            stored = source.read_clean(source.names.index(song_of(key)), 0, int(key.split("+")[1]), 22_050)
            np.testing.assert_array_equal(clean, stored)


def test_mono_is_the_mean_of_both_channels(make):
    batch = next(iter(make(channels=1).train_dataloader()))
    assert batch.clean.shape == (4, 1, 22_050)
    noise = (batch.degraded - batch.clean).square().mean((1, 2)) / batch.clean.square().mean((1, 2))
    assert (noise < 0.2).all()


def test_mono_songs_are_doubled_for_stereo_models(make, one_pair, songs):
    folder = one_pair(songs[0][0][:1], songs[0][1][64][:1])
    batch = next(iter(make(root=str(folder), val_songs=["b"]).train_dataloader()))
    torch.testing.assert_close(batch.clean[:, 0], batch.clean[:, 1], rtol=0, atol=0)


def test_silent_passages_are_drawn_again(make, one_pair, songs):
    clean, degraded = songs[0][0].copy(), songs[0][1][64].copy()
    clean[:, 30_000:] = 0
    degraded[:, 30_000:] = 0
    data = make(root=str(one_pair(clean, degraded)), val_songs=["b"], clip_seconds=0.1, num_batches=10)
    for batch in epoch(data, 0):
        assert (batch.clean.abs().amax((1, 2)) > 0).all()


def test_a_song_that_became_unreadable_is_left_out(make, root, tmp_path, caplog):
    shutil.copytree(root, tmp_path / "data")
    data = make(root=str(tmp_path / "data"), max_bad_share=0.4, num_batches=6)
    name = data.clips["train"].source.names[0]
    path = data.clips["train"].source.files[0][0].pair.clean
    path.write_bytes(b"RIFF" + bytes(200))
    keys = {song_of(key) for batch in data.train_dataloader() for key in batch.key}
    assert name not in keys and data.clips["train"].num_bad == 1
    assert caplog.text.count(f"bad clip {path}") == 1
    with pytest.raises(
        UserError, match=r"1 of \d clips cannot be read, more than data.max_bad_share=0.01.*\. Replace it"
    ):
        strict = make(root=str(root))
        strict.clips["train"].source.files[0] = data.clips["train"].source.files[0]
        epoch(strict, 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clip_seconds": 9.0}, r"clip_seconds=9 is longer than every song \(3.00 s\)"),
        ({"channels": 3}, "channels=3"),
        ({"batch_size": 0}, "batch_size"),
        ({"gain_db": [0.0, -6.0]}, "gain_db"),
        ({"bitrate_known": 2}, "bitrate_known=2"),
        ({"val_songs": ["no such"]}, "val_songs: there is no song no such"),
    ],
)
def test_wrong_settings_of_pairs_are_explained(make, changes, message):
    with pytest.raises(UserError, match=message):
        make(**changes)


def test_shards_with_both_sides_are_pairs(make, tmp_path):
    from upscale.shards.prepare import prepare

    settings = {"segment_seconds": 1.0, "min_seconds": 1.0, "val_share": 0.4, "test_share": 0.0, "workers": 1}
    prepare(tmp_path, num_demo_songs=3, demo_seconds=2.0, degrade=[{"bitrate": 64}, {"bitrate": 128}], **settings)
    data = make(root=str(tmp_path), bitrate_known=1.0, num_batches=8)
    batches = epoch(data, 0)
    assert {value for batch in batches for value in batch.bitrate.tolist()} == {64.0, 128.0}
    for batch in batches:
        noise = (batch.degraded - batch.clean).square().mean((1, 2)) / batch.clean.square().mean((1, 2))
        assert (noise > 0).all() and (noise < 0.2).all()
    prepare(tmp_path, num_demo_songs=3, demo_seconds=2.0, overwrite=True, **settings)
    with pytest.raises(UserError, match="holds no degraded clips; make them with"):
        make(root=str(tmp_path))
