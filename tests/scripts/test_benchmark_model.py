"""The model benchmark counts the plain form's work, orders its cells, and names what it could not run."""

import argparse

import pytest
import torch

from scripts.benchmarks._cell import in_turn, work
from scripts.benchmarks.blocks import operations
from scripts.benchmarks.model import cells_of, run_cell

CELL = {"preset": "wavelet_packet", "batch": 1, "mode": "eager", "dtype": "fp32", "device": "cpu"}
OPTIONS = {"pairs": 1, "seconds": 1.0, "profile": False}


@pytest.mark.slow
def test_work_is_counted_in_the_plain_form():
    """At any level, the products of all convolutions; a fast algorithm that needs fewer does not change the count."""
    operations, num_bytes = work("wavelet_packet")
    frames = 1393  # 44,100 samples halved five times, each time a few more for the ends
    convolutions = frames * (2 * 32 * 96 + 10 * 9 * 96 * 96)
    assert operations / 2 == pytest.approx(convolutions, rel=0.05)  # the transforms are the rest
    assert num_bytes == pytest.approx(4 * (frames * (2 * 128 + 10 * 192) + 10 * 9 * 96 * 96), rel=0.05)


def test_the_plain_cells_of_every_preset_come_first():
    options = argparse.Namespace(
        presets=["a", "b"],
        batches=[1, 16],
        modes=["eager", "compiled"],
        dtypes=["fp32", "bf16"],
        device="cpu",
        **OPTIONS,
    )
    cells = [(cell["preset"], cell["batch"], cell["mode"], cell["dtype"]) for cell in cells_of(options)]
    assert len(cells) == len(set(cells)) == 16
    assert cells[:3] == [("a", 1, "eager", "fp32"), ("b", 1, "eager", "fp32"), ("a", 16, "eager", "fp32")]


def test_a_cell_out_of_time_says_so():
    assert "not reached" in run_cell({**CELL, **OPTIONS}, seconds=1)


@pytest.mark.slow
def test_a_cell_has_rows_or_a_reason():
    rows = run_cell({**CELL, **OPTIONS}, seconds=300)
    assert [row["what"] for row in rows] == ["forward", "step"]
    assert all(row["seconds"] > 0 and row["share_of_roof"] > 0 and row["peak_gib"] > 0.1 for row in rows)
    assert "Error" in run_cell({**CELL, **OPTIONS, "preset": "nothing"}, seconds=300)


def test_measurements_take_turns():
    calls = []
    medians = in_turn([lambda: calls.append("a"), lambda: calls.append("b")], "cpu", count=3, seconds=100)
    assert calls == ["a", "b"] * 4
    assert len(medians) == 2


def test_blocks_of_any_size_are_the_same_convolution_to_time():
    """Each S is given images and kernels of one size in all, and gradients of the kernel's own shape."""
    weight = torch.randn(4, 2, 16)
    for size in (1, 2, 4):
        forward, by_image, by_kernel = operations(64, weight, size, batch=3)
        output = forward()
        assert output.numel() == 3 * 64 * 4 and output.shape[1] == 4 * size
        assert by_image()[0].numel() == 3 * 64 * 2
        assert by_kernel()[1].shape[:2] == (4 * size, 2 * size)
