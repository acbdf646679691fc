"""Spectrograms and sounds of validation clips in TensorBoard."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from upscale.audio import spectrogram
from upscale.datamodule import Batch


class AudioLogging(Callback):
    """Logs the first clips of the validation set: spectrograms on one scale, and the sounds.

    The clean and the degraded sound do not change between epochs and are logged once, the restored one every time.
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
        if outputs["restored"] is None:  # a part was trained that restores no sound
            return
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
        levels = {side: spectrogram.levels(wav.numpy()) for side, wav in wavs.items()}
        figure = spectrogram.figure(levels, wavs["clean"].shape[-1], self.sample_rate, in_a_row=True)
        logger.experiment.add_figure(f"spectrogram/{name}", figure, global_step=step)
        for side in ["restored"] if self._stored else list(wavs):
            # one channel: TensorBoard's writer takes no more
            sound = wavs[side].mean(dim=0, keepdim=True).clamp(-1, 1)
            logger.experiment.add_audio(f"{name}/{side}", sound, global_step=step, sample_rate=self.sample_rate)
