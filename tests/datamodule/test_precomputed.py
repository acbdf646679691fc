"""Precomputed pieces: clips are cut on the grid of frames, replay, and are told the bitrate or not."""

from pathlib import Path

import pytest
import torch

from upscale.datamodule.precomputed import FrameBatch, PrecomputedClips, PrecomputedDataModule, write_piece
from upscale.errors import UserError


@pytest.fixture
def pieces(tmp_path: Path) -> Path:
    """Two passages of ten blocks of eight samples, each sample its own number; one more row of similarity."""
    for split, number in (("train", 0), ("train", 1), ("val", 2)):
        wav = (torch.arange(80)[:, None] + 100 * number).float().expand(80, 2)
        rows = torch.arange(11)[:, None].float().expand(11, 3)
        arrays = {"clean": wav, "degraded": wav, "filtered": wav, "matches": wav[:, None].expand(80, 3, 2)}
        (tmp_path / split).mkdir(exist_ok=True)
        path = tmp_path / split / f"{number}.safetensors"
        write_piece(path, arrays | {"similarity": rows}, kind="repetitions", num_frames=10, bitrate=64)
    return tmp_path


def test_a_clip_is_cut_at_a_frame_with_all_its_arrays(pieces: Path) -> None:
    clips = PrecomputedClips(sorted(pieces.glob("train/*")), num_frames=4, bitrate_known=0.5, seed=0, fixed=False)
    draws = [(number % 2, 0, number) for number in range(20)]
    batch, again = clips[draws], clips[draws]
    assert batch.matches.shape == (20, 3, 2, 32) and batch.similarity.shape == (20, 3, 5)
    assert torch.equal(batch.clean, again.clean) and torch.equal(batch.bitrate, again.bitrate)
    first = batch.clean[:, 0, 0] % 100
    assert torch.equal(first, 8 * batch.similarity[:, 0, 0]) and len(first.unique()) > 3
    assert torch.equal(batch.matches[:, 2], batch.filtered)
    assert set(batch.bitrate.tolist()) == {0.0, 64.0}, "some clips are told, some are not"


def test_validation_takes_the_middle_of_a_piece(pieces: Path) -> None:
    data = PrecomputedDataModule(str(pieces), num_frames=4, batch_size=1, num_workers=0)
    data.setup("fit")
    (batch,) = data.val_dataloader()
    assert batch.clean[0, 0, 0] == 200 + 3 * 8 and batch.bitrate.item() == 64


def test_frames_have_time_last(tmp_path: Path) -> None:
    arrays = {"inputs": torch.zeros(20, 7), "target": torch.full((20, 3, 5), float("nan"))}
    write_piece(tmp_path / "a.safetensors", arrays, kind="frames", num_frames=20, bitrate=0)
    clips = PrecomputedClips([tmp_path / "a.safetensors"], num_frames=6, bitrate_known=1, seed=0, fixed=False)
    batch = clips[[(0, 0, 0)]]
    assert isinstance(batch, FrameBatch)
    assert batch.inputs.shape == (1, 7, 6) and batch.target.shape == (1, 3, 5, 6) and batch.target.isnan().all()


def test_missing_short_and_damaged_pieces_are_refused_by_name(pieces: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"precompute"):
        PrecomputedDataModule(str(tmp_path / "none"), num_frames=4).setup("fit")
    paths = sorted(pieces.glob("train/*"))
    with pytest.raises(UserError, match=r"0\.safetensors has 10 frames: lower data\.num_frames=11"):
        PrecomputedClips(paths, num_frames=11, bitrate_known=1, seed=0, fixed=False)[[(0, 0, 0)]]
    paths[0].write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"0\.safetensors cannot be read"):
        PrecomputedClips(paths, num_frames=4, bitrate_known=1, seed=0, fixed=False)[[(0, 0, 0)]]
