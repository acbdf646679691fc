"""The one trainer: `train.py` composes a config, `fit.fit` trains what it describes.

The run:

- `fit`: builds every part and runs Lightning's Trainer. `module`: the LightningModule, one step for training and
  validation. `arguments`: what train.py spells out before Hydra reads the command line.
- `initial_weights` (`ckpt=`, `init.PART=`), `freezing` (`freeze=`, `train_only=`): what a run starts from and trains.
- `muon` (`optimizer=muon`), `schedules` (`scheduler=linear`), `ema` (`callbacks=ema`), `cuda_graph`.

What a run survives:

- `resume` (`resume=RUN`), `checkpoints`, `loop_state`, `interrupt`: signals, kills, full disks.
- `non_finite`, `replay`: a loss that is not finite, and its batch made again. `skip_non_finite`: such gradients.

What a run shows:

- `scores`, `audio_logging`, `progress`; `sweep_summary` and `sweep_plot` for multiruns.
"""
