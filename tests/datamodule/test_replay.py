"""The same seed gives the same batches: in any process, after any interruption, through Lightning."""

import lightning.pytorch as pl
import pytest
import torch

from upscale.datamodule import ShardDataModule


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


def test_an_interrupted_epoch_goes_on(make, digest):
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


def test_the_ranks_of_a_job_share_the_clips(make, monkeypatch):
    trained, validated = [], []
    for rank in range(4):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "4")
        data = make(batch_size=3, num_batches=1)
        trained += [key for batch in data.train_dataloader() for key in batch.key]
        validated += [key for batch in data.val_dataloader() for key in batch.key]
    assert len(trained) == len(set(trained)) == 12
    assert sorted(validated) == sorted(make().clips["val"].index.keys)


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
