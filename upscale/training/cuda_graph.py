"""A network's forward and backward pass as CUDA graphs, launched whole instead of a thousand kernels one by one.

With small batches a GPU is done before the next kernel is launched. Replayed, a step takes what its kernels take. The
shapes of the first batch hold for the whole run, as the data module gives them; validation runs as ever.
"""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from upscale.datamodule import Batch
from upscale.errors import UserError


class CudaGraph(Callback):
    """Captures `module.net` at the first batch of training."""

    captured = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if trainer.strategy.root_device.type != "cuda":
            raise UserError("cuda_graph=true needs an NVIDIA GPU: leave it out, or add trainer=gpu")
        if trainer.world_size > 1:
            raise UserError("cuda_graph=true works on one GPU: add trainer=gpu")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        if not self.captured:
            with trainer.precision_plugin.forward_context():
                capture(pl_module.net, (batch.degraded.clone(), batch.bitrate.clone()))
            self.captured = True


def capture(net: Any, inputs: tuple[torch.Tensor, ...]) -> None:
    """From now on `net`, in training and for inputs of these shapes, replays; under autocast, if that is on now."""
    cached = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)  # what is cast within a graph belongs to the graph
    # Capturing warms up on a stream of its own, on purpose; the first replays would be warned of for that.
    torch.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(False)
    try:
        torch.cuda.make_graphed_callables(net, inputs, allow_unused_input=True)
    finally:
        torch.set_autocast_cache_enabled(cached)
