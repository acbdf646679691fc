"""The same seed gives the same batches: in any process, after any interruption, through Lightning."""

import lightning.pytorch as pl
import numpy as np
import pytest
import torch

from upscale.datamodule import ShardDataModule
from upscale.datamodule import clips as clips_module
from upscale.shards.prepare import prepare


def epoch(data: ShardDataModule, number: int) -> list:
    loader = data.train_dataloader()
    loader.sampler.set_epoch(number)
    return list(loader)


def test_two_runs_are_equal_and_two_epochs_differ(make, digest):
    data, again = make(), make()
    assert digest(epoch(data, 0)) == digest(epoch(again, 0))
    assert digest(epoch(data, 0)) != digest(epoch(data, 1))
    assert digest(epoch(make(seed=1), 0)) != digest(epoch(data, 0))
    assert digest(list(data.val_dataloader())) == digest(list(again.val_dataloader()))


def test_a_clip_is_cropped_and_degraded_anew_in_every_epoch(make):
    first, second = (
        {key: row for batch in epoch(make(), n) for key, row in zip(batch.key, batch.clean, strict=True)}
        for n in (0, 1)
    )
    assert first.keys() == second.keys()
    assert not any(torch.equal(first[key], second[key]) for key in first)


def test_worker_processes_change_nothing(make, digest):
    alone = make()
    shared = make(num_workers=3)  # more workers than batches need, and than there are shards to give each its own
    assert digest(epoch(alone, 1)) == digest(epoch(shared, 1))
    assert digest(list(alone.val_dataloader())) == digest(list(shared.val_dataloader()))


def test_an_interrupted_epoch_goes_on_with_its_next_batch(make, digest):
    whole = epoch(make(num_batches=6), 2)
    loader = make(num_batches=6).train_dataloader()
    loader.sampler.set_epoch(2)
    batches = iter(loader)
    first = [next(batches) for _ in range(4)]
    state = loader.state_dict()
    later = make(num_batches=6).train_dataloader()
    later.load_state_dict(state)
    later.sampler.set_epoch(2)
    assert digest(first + list(later)) == digest(whole)
    later.sampler.set_epoch(3)
    assert len(list(later)) == 6


def test_ranks_divide_the_clips_between_them(make, monkeypatch):
    trained, validated = [], []
    for rank in range(4):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "4")
        data = make(batch_size=3, num_batches=1)
        trained += [key for batch in data.train_dataloader() for key in batch.key]
        validated += [key for batch in data.val_dataloader() for key in batch.key]
    assert len(trained) == len(set(trained)) == 12
    assert sorted(validated) == sorted(make().clips["val"].index.keys)


@pytest.fixture(scope="session")
def many(tmp_path_factory):
    """36 clips of a quarter second to train on, 18 to validate with."""
    out = tmp_path_factory.mktemp("many")
    cut = {"segment_seconds": 0.25, "min_seconds": 0.25, "clips_per_shard": 7}
    prepare(out, num_demo_songs=6, demo_seconds=2.25, val_share=0.3, test_share=0.0, seed=3, workers=1, **cut)
    return out


def test_4_ranks_with_4_workers_each_share_no_clip(make, many, monkeypatch):
    """Every worker process of every rank has training clips of its own; validation clips come exactly once."""

    def signed(wav, spec, sample_rate):  # instead of a codec: which worker made this?
        info = torch.utils.data.get_worker_info()
        return np.full_like(wav, info.id)

    monkeypatch.setattr(clips_module, "roundtrip", signed)
    monkeypatch.setenv("WORLD_SIZE", "4")
    seen: dict[str, dict[tuple[int, int], list[str]]] = {"train": {}, "val": {}}
    for rank in range(4):
        monkeypatch.setenv("RANK", str(rank))
        data = make(root=str(many), clip_seconds=0.2, num_workers=4, batch_size=2, num_batches=4, channels=1)
        for split, loader in (("train", data.train_dataloader()), ("val", data.val_dataloader())):
            for batch in loader:
                worker = int(batch.degraded[0, 0, 0])
                assert (batch.degraded == worker).all()
                seen[split].setdefault((rank, worker), []).extend(batch.key)
    assert set(seen["train"]) == {(rank, worker) for rank in range(4) for worker in range(4)}
    trained = [key for keys in seen["train"].values() for key in keys]
    assert len(trained) == len(set(trained)) == 32
    validated = sorted(key for keys in seen["val"].values() for key in keys)
    assert validated == sorted(data.clips["val"].index.keys) and len(validated) == 18


def test_workers_stay_for_the_next_epoch(make):
    loader = make(num_workers=1, num_batches=2).train_dataloader()
    list(loader)
    workers = [worker.pid for worker in loader._iterator._workers]
    list(loader)
    assert [worker.pid for worker in loader._iterator._workers] == workers
    loader._iterator._shutdown_workers()


@pytest.mark.parametrize("has_gpu", [False, True])
def test_memory_is_pinned_where_there_is_a_gpu(make, monkeypatch, has_gpu):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    data = make()
    assert [loader.pin_memory for loader in (data.train_dataloader(), data.val_dataloader())] == [has_gpu] * 2


class Recorder(pl.LightningModule):
    """Trains one number and remembers which clips it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.keys: list[tuple[int, tuple[str, ...]]] = []
        self.val_keys: list[str] = []

    def training_step(self, batch, batch_idx):
        self.keys.append((self.trainer.global_step, tuple(batch.key)))
        return ((batch.degraded * self.weight - batch.clean) ** 2).mean()

    def validation_step(self, batch, batch_idx):
        self.val_keys += batch.key

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class StopAt(pl.Callback):
    """Save in the middle of an epoch and stop, as a kill would."""

    def __init__(self, step: int, path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)
            raise KeyboardInterrupt


@pytest.mark.parametrize("num_workers", [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("step", [5, 4])  # in the middle of the second epoch, and at the end of the first
def test_lightning_resumes_with_the_next_batch(make, tmp_path, step, num_workers):
    def trainer(**more) -> pl.Trainer:
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
        return pl.Trainer(max_epochs=3, enable_checkpointing=False, num_sanity_val_steps=0, **quiet, **more)

    whole = Recorder()
    trainer().fit(whole, datamodule=make(num_batches=4, num_workers=num_workers))
    assert len(whole.keys) == 12
    assert len(whole.val_keys) == 3 * 6

    first, second = Recorder(), Recorder()
    stop = StopAt(step, tmp_path / "last.ckpt")
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        trainer(callbacks=[stop]).fit(first, datamodule=make(num_batches=4, num_workers=num_workers))
    trainer().fit(second, datamodule=make(num_batches=4, num_workers=num_workers), ckpt_path=tmp_path / "last.ckpt")
    assert first.keys + second.keys == whole.keys
    torch.testing.assert_close(second.weight, whole.weight, rtol=0, atol=0)
