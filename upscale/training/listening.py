"""What a person looks at and listens to in TensorBoard: spectrograms on one scale, and sounds that play."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.figure import Figure
from torch import Tensor

from upscale.datamodule import Batch
from upscale.metrics.spectral import spectrum_blocks

DYNAMIC_RANGE_DB = 100.0


def spectrogram_figure(wavs: Mapping[str, Tensor], sample_rate: int = 44_100, fft_size: int = 2048) -> Figure:
    """One spectrogram for each named wav `[C, T]` (channels averaged in power), all on the loudest one's scale."""
    levels = {name: _levels(wav, fft_size=fft_size) for name, wav in wavs.items()}
    top = max(float(level.max()) for level in levels.values())
    figure = Figure(figsize=(4.2 * len(wavs) + 0.8, 3.4), layout="constrained")
    axes = figure.subplots(1, len(wavs), sharey=True, squeeze=False)[0]
    for axis, (name, level) in zip(axes, levels.items(), strict=True):
        seconds = wavs[name].shape[-1] / sample_rate
        image = axis.imshow(
            level,
            origin="lower",
            aspect="auto",
            extent=(0, seconds, 0, sample_rate / 2000),
            vmin=top - DYNAMIC_RANGE_DB,
            vmax=top,
            cmap="magma",
        )
        axis.set(title=name, xlabel="seconds")
    axes[0].set_ylabel("kHz")
    figure.colorbar(image, ax=axes, label="dB")
    return figure


def _levels(wav: Tensor, fft_size: int) -> np.ndarray:
    """`[C, T] -> [bins, frames]` in dB full scale."""
    blocks = spectrum_blocks(wav.detach().float().cpu(), fft_size, fft_size // 4)  # [C, frames, bins]
    power = torch.cat([block.abs().square().mean(dim=0) for block in blocks])
    return (10 * torch.log10(power + 1e-12)).T.numpy()


class Listening(Callback):
    """Logs the first clips of the validation set: a picture of clean, degraded and restored, and the three sounds.

    Clean and degraded do not change from epoch to epoch, so they are stored once and restored after each validation.
    """

    def __init__(self, num_clips: int = 3, sample_rate: int = 44_100) -> None:
        self.num_clips, self.sample_rate = num_clips, sample_rate
        self._clips: list[dict[str, Any]] = []
        self._stored = False

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._clips = []

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        for index in range(min(len(batch.key), self.num_clips - len(self._clips))):
            wavs = {"clean": batch.clean, "degraded": batch.degraded, "restored": outputs["restored"]}
            clip = {side: wav[index].float().cpu() for side, wav in wavs.items()}
            self._clips.append({"name": f"{len(self._clips)}_{batch.bitrate[index]:.0f}k", "wavs": clip})

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        logger = next((logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)), None)
        if trainer.sanity_checking or logger is None or not trainer.is_global_zero:
            return
        for clip in self._clips:
            self._log(logger, name=clip["name"], wavs=clip["wavs"], step=trainer.global_step - 1)
        self._stored = True

    def _log(self, logger: TensorBoardLogger, name: str, wavs: dict[str, Tensor], step: int) -> None:
        figure = spectrogram_figure(wavs, sample_rate=self.sample_rate)
        logger.experiment.add_figure(f"spectrogram/{name}", figure, global_step=step)
        for side in ["restored"] if self._stored else list(wavs):
            # one channel: TensorBoard's writer takes no more
            sound = wavs[side].mean(dim=0, keepdim=True).clamp(-1, 1)
            logger.experiment.add_audio(f"{name}/{side}", sound, global_step=step, sample_rate=self.sample_rate)
