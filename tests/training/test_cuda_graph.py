"""The network is captured once, as the run will call it; asked for where there is no GPU, one line says so."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from upscale.datamodule import Batch
from upscale.errors import UserError
from upscale.training.cuda_graph import CudaGraph


def trainer(device: str, world_size: int = 1) -> SimpleNamespace:
    strategy = SimpleNamespace(root_device=torch.device(device))
    precision = SimpleNamespace(forward_context=nullcontext)
    return SimpleNamespace(strategy=strategy, world_size=world_size, precision_plugin=precision)


@pytest.mark.parametrize("device, world_size, hint", [("cpu", 1, "needs an NVIDIA GPU"), ("cuda", 2, "one GPU")])
def test_cuda_graph_is_refused_where_it_cannot_work(device, world_size, hint):
    with pytest.raises(UserError, match=hint):
        CudaGraph().setup(trainer(device, world_size), None, "fit")


def test_cuda_graph_is_captured_at_the_first_batch_alone_with_nothing_cast_outside(monkeypatch):
    calls = []

    def capture(net, inputs, allow_unused_input):
        calls.append((net, inputs, torch.is_autocast_cache_enabled()))

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", capture)
    module = SimpleNamespace(net=nn.Identity())
    wav, bitrate = torch.randn(2, 1, 8), torch.tensor([64.0, 128.0])
    batch = Batch(clean=wav, degraded=wav, bitrate=bitrate, key=["a", "b"])
    callback = CudaGraph()
    for index in range(3):
        callback.on_train_batch_start(trainer("cuda"), module, batch, index)
    [(net, inputs, cached)] = calls
    assert net is module.net and [value.shape for value in inputs] == [wav.shape, bitrate.shape] and not cached
    assert inputs[0].data_ptr() != wav.data_ptr()  # the graph's own memory
    assert torch.is_autocast_cache_enabled()
