"""What every metric does first and last: check shapes, convert to float64, return the kind of array that was given."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from upscale.errors import UserError

Array = TypeVar("Array", np.ndarray, Tensor)

LIMIT_DB = 200.0
"""Ratios in dB are limited to ±200: float32 audio cannot come near it, so +200 dB means 'no error at all'."""


def compare(metric: Callable[[Tensor, Tensor], Tensor], reference: Array, estimate: Array) -> Array:
    """Apply `metric` to two wavs `[..., C, T]` of one shape; the result is `[...]`, NumPy or Torch as given.

    Raises UserError where the shapes differ (mono against stereo, another length) or there is no sample: a metric
    never pads, cuts or mixes channels on its own. `upscale.evaluation` states its rules for that, and applies them.
    """
    if reference.shape != estimate.shape:
        raise UserError(
            f"a metric compares equal shapes, got reference {tuple(reference.shape)} and estimate "
            f"{tuple(estimate.shape)}: bring them to one length and one number of channels first"
        )
    if reference.ndim < 2 or 0 in reference.shape[-2:]:
        raise UserError(f"a metric takes wavs [..., C, T] with samples in them, got shape {tuple(reference.shape)}")
    value = metric(_float64(reference), _float64(estimate))
    if isinstance(reference, np.ndarray):
        return value.numpy()
    return value.to(reference.device, torch.float32)


def _float64(wav: np.ndarray | Tensor) -> Tensor:
    tensor = torch.as_tensor(wav)
    if tensor.device.type == "mps":  # has no float64
        tensor = tensor.cpu()
    return tensor.to(torch.float64)


def ratio_db(signal: Tensor, error: Tensor) -> Tensor:
    """10 log10(signal / error) of two energies, limited to ±LIMIT_DB. The caller excludes 0/0."""
    return (10 * (torch.log10(signal) - torch.log10(error))).clamp(-LIMIT_DB, LIMIT_DB)


def energy(wav: Tensor) -> Tensor:
    """Sum of squares over all channels and samples: `[..., C, T] -> [...]`."""
    return wav.square().sum(dim=(-2, -1))
