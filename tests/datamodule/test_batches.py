"""What is in a batch: aligned pairs at one gain, from the middle of a longer encode."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from multiprocessing import reduction

import numpy as np
import pytest
import torch

from upscale.codec import CodecSampler, CodecSpec, roundtrip
from upscale.corpus.demo import compose
from upscale.datamodule import clips as clips_module
from upscale.datamodule.workers import KilledWorker, is_dying
from upscale.errors import UserError


def identity_codec(monkeypatch, lengths: list[int] | None = None) -> None:
    def roundtrip(wav, spec, sample_rate):
        assert sample_rate == 44_100
        if lengths is not None:
            lengths.append(wav.shape[1])
        return wav

    monkeypatch.setattr(clips_module, "roundtrip", roundtrip)


def test_a_batch_holds_float32_pairs_of_different_clips(make):
    batch = next(iter(make().train_dataloader()))
    assert batch.degraded.shape == batch.clean.shape == (4, 2, 22_050)
    assert batch.degraded.dtype == batch.clean.dtype == batch.bitrate.dtype == torch.float32
    assert set(batch.bitrate.tolist()) <= {64.0, 96.0, 128.0}
    assert len(set(batch.key)) == 4


def test_pairs_are_aligned_and_close(make):
    for batch in make().val_dataloader():
        for degraded, clean in zip(batch.degraded.numpy(), batch.clean.numpy(), strict=True):
            spectra = np.fft.rfft(clean[0], 65_536), np.fft.rfft(degraded[0], 65_536)
            lag = int(np.argmax(np.fft.irfft(np.conj(spectra[0]) * spectra[1])))
            assert lag == 0
            assert not np.array_equal(degraded, clean)
            assert np.mean((degraded - clean) ** 2) < 0.1 * np.mean(clean**2)


def test_both_sides_share_one_gain_and_levels_vary(make, monkeypatch):
    identity_codec(monkeypatch)
    batches = list(make(gain_db=[-30.0, 0.0], num_batches=6).train_dataloader())
    for batch in batches:
        torch.testing.assert_close(batch.degraded, batch.clean, rtol=0, atol=0)
    levels = torch.cat([batch.clean.std(dim=(1, 2)) for batch in batches])
    assert levels.max() / levels.min() > 4
    still = list(make(gain_db=[-30.0, 0.0]).val_dataloader())
    peaks = torch.cat([batch.clean.std(dim=(1, 2)) for batch in still])
    assert peaks.min() > 0.02  # validation is heard at the level it has


def test_the_encoder_hears_a_margin_on_both_sides(make, monkeypatch):
    lengths: list[int] = []
    identity_codec(monkeypatch, lengths)
    list(make().train_dataloader())
    assert set(lengths) == {4410 + 22_050 + 2304}
    lengths.clear()
    list(make(clip_seconds=1.5).train_dataloader())  # as long as the stored clip: no room for a margin
    assert set(lengths) == {66_150}
    lengths.clear()
    list(make(clip_seconds=1.48).train_dataloader())  # room for a part of it
    list(make(clip_seconds=1.48).val_dataloader())
    assert set(lengths) == {66_150}
    lengths.clear()
    list(make(margin_seconds=0.0).train_dataloader())
    assert set(lengths) == {22_050}


@pytest.mark.parametrize(
    "spec", [CodecSpec(), CodecSpec(bitrate=320), CodecSpec(bitrate=130, mode="vbr"), CodecSpec(mode="abr")], ids=str
)
def test_two_frames_after_a_clip_are_as_good_as_the_whole_song(spec):
    """MARGIN_AFTER is no estimate."""
    song = compose(5, seconds=1.0)
    whole = roundtrip(song, spec)
    for end in (30_000, 30_777):
        with_margin = roundtrip(song[:, : end + clips_module.MARGIN_AFTER], spec)[:, :end]
        np.testing.assert_array_equal(with_margin, whole[:, :end])
        assert not np.array_equal(roundtrip(song[:, :end], spec), whole[:, :end])


def test_python_work_does_not_grow_with_clip_length(make, monkeypatch):
    """Beside the codec: as many calls for a long clip as for a short one, and as many for each clip of a batch."""
    identity_codec(monkeypatch)

    def num_calls(clip_seconds: float, batch_size: int) -> int:
        loader = make(clip_seconds=clip_seconds, batch_size=batch_size, num_batches=1).train_dataloader()
        clips, draws = loader.dataset, loader.sampler.batch(0, 0)
        clips[draws]  # shards are mapped, imports done
        calls = []
        sys.setprofile(lambda frame, event, argument: calls.append(event))
        try:
            clips[draws]
        finally:
            sys.setprofile(None)
        return len(calls)

    assert num_calls(0.1, batch_size=2) == num_calls(1.2, batch_size=2)
    one, two, three = (num_calls(0.1, size) for size in (1, 2, 3))
    assert three - two == two - one < 400


def test_crops_reach_both_ends_of_a_clip(make, monkeypatch):
    starts = []
    read = clips_module.ClipReader.read

    def recording(self, start, num_samples):
        starts.append(start)
        return read(self, start, num_samples)

    monkeypatch.setattr(clips_module.ClipReader, "read", recording)
    identity_codec(monkeypatch)
    list(make(num_batches=40).train_dataloader())
    assert min(starts) < 0.05 * 66_150 and max(starts) + 22_050 + 8820 > 0.95 * 66_150


def test_crops_differ_where_the_margin_leaves_little_room(make):
    loader = make(clip_seconds=1.0, margin_seconds=0.5, num_batches=1).train_dataloader()
    places = [loader.dataset._place(66_150, np.random.default_rng(seed)) for seed in range(200)]
    starts = [start for start, _, _ in places]
    assert max(starts) - min(starts) > 0.9 * (22_050 - clips_module.MARGIN_AFTER) / 2
    assert all(0 <= first <= start and start + 44_100 <= last <= 66_150 for start, first, last in places)


def test_mono_models_get_one_channel(make):
    batch = next(iter(make(channels=1).train_dataloader()))
    assert batch.clean.shape == (4, 1, 22_050)


def test_validation_bitrates_take_turns(make):
    bitrates = torch.cat([batch.bitrate for batch in make().val_dataloader()]).tolist()
    counts = [bitrates.count(bitrate) for bitrate in (64, 96, 128)]
    assert max(counts) - min(counts) <= 1


def test_validation_with_several_modes_still_takes_turns(root):
    from upscale.datamodule import ShardDataModule

    codec = CodecSampler(bitrates=[64, 320], modes=["cbr", "abr", "vbr"], double_probability=0.5)
    data = ShardDataModule(str(root), codec, clip_seconds=0.5, num_workers=0, batch_size=8)
    data.setup("validate")
    bitrates = torch.cat([batch.bitrate for batch in data.val_dataloader()]).tolist()
    assert abs(bitrates.count(64) - bitrates.count(320)) <= 1


def test_predegraded_clips_are_read_and_not_encoded(make, monkeypatch):
    monkeypatch.setattr(clips_module, "roundtrip", None)
    data = make(predegraded=True, num_batches=4)
    batches = [*data.train_dataloader(), *data.val_dataloader()]
    bitrates = torch.cat([batch.bitrate for batch in batches])
    assert set(bitrates.tolist()) == {64.0, 160.0}
    noise = torch.cat(
        [(batch.degraded - batch.clean).pow(2).mean((1, 2)) / batch.clean.pow(2).mean((1, 2)) for batch in batches]
    )
    assert 0 < noise[bitrates == 160].mean() < noise[bitrates == 64].mean() < 0.2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"root": "/no/such/folder"}, r"holds no shards; make them with: python scripts/prepare_shards.py .*out="),
        ({"clip_seconds": 9.0}, r"clip_seconds=9 is longer than every clip .*1.5 s.*segment_seconds=9"),
        ({"channels": 3}, "channels=3"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"gain_db": [0.0, -6.0]}, "gain_db"),
    ],
)
def test_wrong_settings_of_the_data_module_are_explained(root, changes, message):
    from upscale.datamodule import ShardDataModule

    with pytest.raises(UserError, match=message):
        data = ShardDataModule(**({"root": str(root), "codec": CodecSampler(), "num_workers": 0} | changes))
        data.prepare_data()
        data.setup("fit")


def test_shards_without_degraded_versions_are_refused_as_predegraded(tmp_path):
    from upscale.datamodule import ShardDataModule
    from upscale.shards.prepare import prepare

    prepare(tmp_path, num_demo_songs=3, demo_seconds=1.0, segment_seconds=1.0, min_seconds=1.0, workers=1)
    data = ShardDataModule(str(tmp_path), CodecSampler(), clip_seconds=0.5, num_workers=0, predegraded=True)
    with pytest.raises(UserError, match=r"no degraded clips.*degrade="):
        data.setup("fit")


@pytest.mark.parametrize("killed", [True, False])
def test_a_batch_that_breaks_off_is_a_killed_worker_only_if_one_was_killed(make, monkeypatch, killed):
    """A worker that dies while its batch is read: its connections close first, its end is known later."""
    loader = make(num_workers=1).train_dataloader()

    def recv_handle(connection):
        if killed:
            threading.Timer(0.3, loader._iterator._workers[0].kill).start()
        raise ConnectionResetError(104, "Connection reset by peer")

    monkeypatch.setattr(reduction, "recv_handle", recv_handle)
    with pytest.raises(KilledWorker if killed else ConnectionResetError):
        next(iter(loader))


def test_the_death_of_a_worker_is_raised_where_a_batch_is_asked_for(make):
    """Not where the run is just then: that may be the writing of a checkpoint."""
    before = signal.getsignal(signal.SIGCHLD)
    loader = make(num_workers=2, num_batches=100).train_dataloader()
    batches = iter(loader)
    next(batches)
    assert signal.getsignal(signal.SIGCHLD) is before
    worker = loader._iterator._workers[0]
    worker.kill()
    time.sleep(0.5)
    with pytest.raises(KilledWorker):
        next(batches)
    assert signal.getsignal(signal.SIGCHLD) is before


def test_the_death_of_a_worker_is_raised_while_a_batch_is_waited_for(make):
    loader = make(num_workers=1, num_batches=100).train_dataloader()
    batches = iter(loader)
    next(batches)
    worker = loader._iterator._workers[0]
    os.kill(worker.pid, signal.SIGSTOP)
    threading.Timer(0.3, worker.kill).start()
    with pytest.raises(KilledWorker):
        list(batches)


def test_a_worker_that_closed_its_connections_is_waited_for():
    workers = [multiprocessing.get_context("fork").Process(target=work) for work in (_die_slowly, _live)]
    for worker in workers:
        worker.start()
    assert is_dying(workers)
    assert not is_dying(workers[1:])
    workers[1].kill()
    workers[1].join()


def _die_slowly():
    """As the kernel has it: a process closes what it has open, then ends."""
    os.closerange(3, 256)
    time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)


def _live():
    time.sleep(60)


def test_a_worker_whose_run_has_ended_prints_no_traceback(capsys):
    """The thread that hands batches on prints what breaks there; all but the other end's going is worth a look."""
    from upscale.datamodule.workers import _without_broken_connections as hook

    hook(ConnectionResetError, ConnectionResetError(104, "Connection reset by peer"), None)
    hook(EOFError, EOFError(), None)
    assert capsys.readouterr().err == ""
    hook(KeyError, KeyError("key"), None)
    assert "KeyError" in capsys.readouterr().err
