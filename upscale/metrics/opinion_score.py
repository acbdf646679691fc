"""ViSQOL: a model of how listeners rate coded music."""

from functools import lru_cache
from typing import Any

import numpy as np
import torch

from upscale.errors import UserError
from upscale.metrics.arrays import Array

VISQOL_RATE = 48_000
SHORTEST_SECONDS = 1.0


def visqol(reference: Array, estimate: Array, sample_rate: int) -> float:
    """Mean opinion score (MOS-LQO) of one clip `[C, T]`, 1 (bad) to 4.73 (no audible difference), higher is better.

    ViSQOL 3 in audio mode (Chinen et al., QoMEX 2020) by the package `visqol-python`, at the 48 kHz that its model was
    trained at. ViSQOL is defined on one channel: stereo is mixed down to the mean of its channels, as its own program
    does, so damage to the stereo image goes unseen. NaN below one second, which is too short for its patches, and for
    an all-zero reference. Takes about half the clip's duration. Raises UserError where the package is missing.
    """
    if reference.shape != estimate.shape or reference.ndim != 2:
        shapes = f"{tuple(reference.shape)} and {tuple(estimate.shape)}"
        raise UserError(f"visqol compares two clips of one shape [C, T], got {shapes}")
    mono = [_mono_48k(wav, sample_rate) for wav in (reference, estimate)]
    if reference.shape[-1] < SHORTEST_SECONDS * sample_rate or not mono[0].any():
        return float("nan")
    return float(_api().measure_from_arrays(*mono, VISQOL_RATE).moslqo)


def _mono_48k(wav: np.ndarray | torch.Tensor, sample_rate: int) -> np.ndarray:
    from upscale.audio import resample

    mono = np.asarray(torch.as_tensor(wav).detach().cpu(), dtype=np.float32).mean(axis=0, keepdims=True)
    return resample(mono, sample_rate, VISQOL_RATE)[0].astype(np.float64)


@lru_cache(maxsize=1)
def _api() -> Any:
    try:
        from visqol import VisqolApi
    except ImportError as error:
        raise UserError(
            "the metric visqol needs a package: pip install 'upscalemp3[visqol]', or leave it out of metrics="
        ) from error
    api = VisqolApi()
    api.create(mode="audio")
    return api
