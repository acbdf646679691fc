"""Losses of the waveform: each sample counts, so phase and level do, too."""

from torch import Tensor, nn

from upscale.losses.ratios import NOISE_POWER, check_shapes, decibels, plain_error, power, scaled_error
from upscale.losses.spectral import log_spectral_distance


class MSE(nn.Module):
    """Mean squared error; zero where restored equals clean. The original's loss."""

    def forward(self, restored: Tensor, clean: Tensor, degraded: Tensor) -> Tensor:
        check_shapes(restored, clean, degraded)
        return power(restored - clean).mean()


class SDR(nn.Module):
    """Negative signal-to-distortion ratio in dB with a soft ceiling, moved up by that ceiling so that it ends at zero.

        10 log10((error + floor) / floor),    floor = clean power / 10^(ceiling_db / 10) + NOISE_POWER

    Zero where restored equals clean; `ceiling_db` minus the SDR while the SDR is well below the ceiling.
    The soft threshold is that of Wisdom et al., Unsupervised Sound Separation Using Mixture Invariant Training (2020).
    """

    def __init__(self, ceiling_db: float = 60.0) -> None:
        super().__init__()
        self.ceiling_db = ceiling_db

    def forward(self, restored: Tensor, clean: Tensor, degraded: Tensor) -> Tensor:
        check_shapes(restored, clean, degraded)
        floor = power(clean) * 10 ** (-self.ceiling_db / 10) + NOISE_POWER
        return decibels((power(restored - clean) + floor) / floor).mean()


class Fidelity(nn.Module):
    """The error in dB against the input's own error, clip by clip: below zero where restoring helped.

        10 log10((|restored - clean|^2 + noise_power) / (|degraded - clean|^2 + noise_power))

    Zero where restored equals degraded: nothing gained, nothing lost. Where restored equals clean it is at its lowest,
    10 log10(noise_power / (input's error + noise_power)): -60 dB for an input error of -40 dB full scale, and zero for
    an input that is clean already. Each clip counts alike, loud or quiet, 48 or 320 kbit/s.

    `scale_invariant`: the SI-SDR lost in place of the SDR: the level of neither side counts, nor that LAME lowers it.
    `level_weight`: then, so much of the SDR against the input's SI-SDR beside it, at most 6 dB: the level is kept.
    `spectrum_weight`: so much of the log-spectral distance (Hann 2048, hop 1024) as exceeds the input's by more than
    0.01: gains that a filter learns from the waveform shrink spectra.
    `edge`: samples at both ends of a clip that do not count, where a network's windows reach beyond the clip.
    """

    def __init__(
        self,
        scale_invariant: bool = False,
        level_weight: float = 0.0,
        spectrum_weight: float = 0.0,
        edge: int = 0,
        noise_power: float = NOISE_POWER,
    ) -> None:
        super().__init__()
        if level_weight and not scale_invariant:
            raise ValueError("level_weight belongs to scale_invariant=true: without it the level counts already")
        self.scale_invariant, self.level_weight, self.spectrum_weight = scale_invariant, level_weight, spectrum_weight
        self.edge, self.noise_power = edge, noise_power

    def forward(self, restored: Tensor, clean: Tensor, degraded: Tensor) -> Tensor:
        check_shapes(restored, clean, degraded)
        inner = slice(self.edge, restored.shape[-1] - self.edge)
        restored, clean, degraded = restored[..., inner], clean[..., inner], degraded[..., inner]
        loss = self._change(restored, clean, degraded).mean()
        if self.spectrum_weight:
            after, before = (log_spectral_distance(wav, clean, hop=1024) for wav in (restored, degraded))
            loss = loss + self.spectrum_weight * (after - before - 0.01).relu()
        return loss

    def _change(self, restored: Tensor, clean: Tensor, degraded: Tensor) -> Tensor:
        """dB lost against the input: `[B]`."""
        error = scaled_error if self.scale_invariant else plain_error
        given = error(degraded, clean, self.noise_power)
        change = decibels(error(restored, clean, self.noise_power) / given)
        if self.level_weight:
            level = decibels(plain_error(restored, clean, self.noise_power) / given).clamp(max=6)
            change = change + self.level_weight * level
        return change
