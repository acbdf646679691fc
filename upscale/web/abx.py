"""A blind ABX test: X is A or B, drawn on the server; the browser learns which only after it has answered."""

import math
import secrets
import threading
from dataclasses import dataclass, field

import numpy as np

from upscale.errors import UserError

MAX_EXCERPT_SECONDS = 30.0
FADE_SECONDS = 0.005
SILENT_POWER = 1e-9  # mean square below which an excerpt cannot be compared


def p_value(num_correct: int, num_trials: int) -> float:
    """The probability of at least that many correct answers by guessing: P(K >= num_correct), K ~ Binomial(n, 1/2)."""
    ways = sum(math.comb(num_trials, k) for k in range(num_correct, num_trials + 1))
    return ways / 2**num_trials


@dataclass
class BlindTest:
    """The running test on one file; every trial is answered at most once."""

    num_trials: int = 0
    num_correct: int = 0
    x_is: str | None = None
    trial: str | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> tuple[str, str]:
        """A new trial: its name and what X is. One that was open is dropped without counting."""
        with self._lock:
            self.trial, self.x_is = secrets.token_urlsafe(12), secrets.choice("AB")
            return self.trial, self.x_is

    def answer(self, trial: str, answer: str) -> dict[str, object]:
        """Count the answer, then say whether it was right."""
        if answer not in ("A", "B"):
            raise UserError("answer A or B")
        with self._lock:
            if self.trial is None or trial != self.trial:
                raise UserError("this trial is over: start the next one")
            correct, x_was = answer == self.x_is, self.x_is
            self.trial = self.x_is = None
            self.num_trials += 1
            self.num_correct += correct
            return {"correct": correct, "x_was": x_was, **self.tally()}

    def tally(self) -> dict[str, object]:
        return {
            "num_trials": self.num_trials,
            "num_correct": self.num_correct,
            "p_value": p_value(self.num_correct, self.num_trials),
        }


def excerpts(before: np.ndarray, after: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Both sides of a trial, `[C, T]`, equally loud, and by how many dB `after` was louder.

    A difference of level is heard as a difference of quality; the louder side is turned down to the other's RMS.
    Both ends fade, so that no click gives a side away.
    """
    power_before, power_after = float(np.mean(before**2)), float(np.mean(after**2))
    if min(power_before, power_after) < SILENT_POWER:
        raise UserError("this excerpt is silent: choose another place")
    gain = math.sqrt(power_after / power_before)
    fade = _fades(before.shape[-1], sample_rate)
    return before * fade * min(1.0, gain), after * fade * min(1.0, 1.0 / gain), 20 * math.log10(gain)


def _fades(num_samples: int, sample_rate: int) -> np.ndarray:
    ramp = min(round(FADE_SECONDS * sample_rate), num_samples // 2)
    edge = 0.5 - 0.5 * np.cos(np.pi * (np.arange(ramp) + 0.5) / max(1, ramp))
    return np.concatenate([edge, np.ones(num_samples - 2 * ramp), edge[::-1]]).astype(np.float32)
