"""Damaged clips are named and counted; too many of them end the run with one line."""

import shutil

import pytest

from upscale.errors import UserError
from upscale.shards import index_shards


@pytest.fixture
def damaged(root, tmp_path):
    """damaged(n): a copy of the data whose first n training clips have no RIFF header any more; returns their keys."""

    def make(num_clips: int) -> list[str]:
        shutil.copytree(root, tmp_path / "data")
        shards = sorted((tmp_path / "data/train").glob("*.tar"))
        index = index_shards(shards)
        for number in range(num_clips):
            with open(shards[index.shard[number]], "r+b") as file:
                file.seek(int(index.offsets[number, 0]))
                file.write(b"\0" * 16)
        return index.keys[:num_clips]

    return make


@pytest.mark.parametrize("num_workers", [0, 2])
def test_training_goes_on_without_damaged_clips(make, damaged, tmp_path, caplog, num_workers):
    bad = damaged(2)
    data = make(root=str(tmp_path / "data"), max_bad_share=0.2, num_workers=num_workers, num_batches=8)
    batches = list(data.train_dataloader())
    assert all(len(batch.key) == 4 for batch in batches)
    assert not set(bad) & {key for batch in batches for key in batch.key}
    assert data.clips["train"].num_bad == 2
    if num_workers == 0:
        assert all(caplog.text.count(key) == 1 for key in bad)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_too_many_damaged_clips_end_the_run(make, damaged, tmp_path, num_workers):
    damaged(2)
    data = make(root=str(tmp_path / "data"), max_bad_share=0.1, num_workers=num_workers, num_batches=8)
    with pytest.raises(UserError, match=r"^2 of 12 clips cannot be read, more than data.max_bad_share=0.1") as raised:
        list(data.train_dataloader())
    assert "\n" not in str(raised.value) and "verify_shards" in str(raised.value)


def test_a_shard_that_is_cut_short_ends_the_run(make, root, tmp_path):
    shutil.copytree(root, tmp_path / "data")
    shard = sorted((tmp_path / "data/train").glob("*.tar"))[0]
    shard.write_bytes(shard.read_bytes()[:-400_000])
    with pytest.raises(UserError, match="not a readable tar"):
        make(root=str(tmp_path / "data"))
