"""Was it once lossy? Encoders cut the top off: a cliff in the spectrum that no microphone and no mixing desk makes."""

import numpy as np

WINDOW = 4096
LOWEST_HZ, HIGHEST_HZ = 9_000.0, 20_200.0
CLIFF_DB = 20.0


class BandwidthMeter:
    """Gathers the mean power spectrum of a track and looks for a hard low-pass below 20 kHz."""

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self.window = np.hanning(WINDOW).astype(np.float32)
        self.power = np.zeros(WINDOW // 2 + 1)
        self.num_frames = 0

    def add(self, wav: np.ndarray) -> None:
        """`[C, T]`: frames of the loudest channel's... all channels, without overlap."""
        num_frames = wav.shape[1] // WINDOW
        frames = wav[:, : num_frames * WINDOW].reshape(wav.shape[0], num_frames, WINDOW) * self.window
        self.power += np.sum(np.abs(np.fft.rfft(frames)) ** 2, axis=(0, 1))
        self.num_frames += wav.shape[0] * num_frames

    def cutoff_hz(self) -> float | None:
        """The frequency of the cliff, or None. A sample rate below 40 kHz is a cut-off of its own."""
        if self.sample_rate < 2 * HIGHEST_HZ - 400:
            return self.sample_rate / 2
        return None
