"""What a training step computes: a network, or one part of it, its inputs and what its loss compares.

A task is called as `task(net, loss, batch)`, in training and in validation. `Restoration` suits every network. The
others train one part of a spectral network on what `upscale.datamodule.precomputed` or `data=pairs` gives; which
parameters move, the run's `train_only=` and `freeze=` say. `loss` is always computed in float32.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from upscale.datamodule import Batch, FrameBatch, RepetitionBatch

EDGE_FRAMES = 6  # at both ends of a clip, whose windows reach beyond it


Task = Callable[[nn.Module, nn.Module, Any], "TaskOutput"]


class TaskOutput(NamedTuple):
    """The loss to minimise and, where the step restores a sound, `restored` [B, C, T] for callbacks to measure."""

    loss: Tensor
    restored: Tensor | None = None


def full_precision(wav: Tensor) -> AbstractContextManager[Any]:
    """Spectra and ratios of powers need 32 bits, also in mixed precision."""
    return torch.autocast(device_type=wav.device.type, enabled=False)


class Restoration:
    """The whole network from degraded to restored.

    A network with a `restore` trains by that: its quality bypass, which leaves good files alone, gives no gradient.
    """

    def __call__(self, net: nn.Module, loss: nn.Module, batch: Batch) -> TaskOutput:
        restore: Any = net.restore if net.training and hasattr(net, "restore") else net
        restored = restore(batch.degraded, batch.bitrate).float()
        with full_precision(restored):
            return TaskOutput(loss(restored, batch.clean, batch.degraded), restored)


class RepetitionMixing:
    """The repetition mixer of `SpectralCascade`, on what its filters made of a song and its matches found before."""

    def __call__(self, net: nn.Module, loss: nn.Module, batch: RepetitionBatch) -> TaskOutput:
        mixer: Any = net.repeat
        restored = mixer.combine(batch.degraded, batch.filtered, batch.matches, batch.similarity).float()
        with full_precision(restored):
            return TaskOutput(loss(restored, batch.clean, batch.degraded), restored)


class BandEnvelope:
    """The frame network of the log-magnitude predictor: how loud each band of the clean sound was."""

    def __call__(self, net: nn.Module, loss: nn.Module, batch: FrameBatch) -> TaskOutput:
        predicted = predict_bands(net, batch)
        with full_precision(predicted):
            return TaskOutput(loss(predicted[:, :2], batch.target[:, :2]))


class StereoCorrelation:
    """Its layer that says, band by band, how alike left and right of the clean sound were."""

    def __call__(self, net: nn.Module, loss: nn.Module, batch: FrameBatch) -> TaskOutput:
        predicted = predict_bands(net, batch)
        with full_precision(predicted):
            return TaskOutput(loss(predicted[:, 2], batch.target[:, 2]))


def predict_bands(net: nn.Module, batch: FrameBatch) -> Tensor:
    """Log10 power of left and right above the level around a frame, and their correlation: [B, 3, K, N]."""
    predictor: Any = net.level
    return predictor.relative_bands(predictor.with_bitrate(batch.inputs, batch.bitrate)).float()


class LogMagnitude:
    """The log-magnitude predictor bin by bin, behind filters that do not train, against the clean clip's spectrum.

    The filters work without repetitions here: clips of seconds have none.
    """

    def __call__(self, net: nn.Module, loss: nn.Module, batch: Batch) -> TaskOutput:
        predictor: Any = net.level
        stft = predictor.stft
        with torch.no_grad():
            filtered = net.filter.filtered(batch.degraded, batch.bitrate).float()  # type: ignore[operator, union-attr]
        spectra = stft.analyse(batch.degraded), stft.analyse(filtered)
        predicted = predictor(batch.degraded, *spectra, batch.bitrate).float()
        with full_precision(predicted):
            clean, degraded = (predictor.log_power(stft.analyse(wav)) for wav in (batch.clean, batch.degraded))
            inner = slice(EDGE_FRAMES, predicted.shape[-1] - EDGE_FRAMES)
            return TaskOutput(loss(predicted[..., inner], clean[..., inner], degraded[..., inner]))
