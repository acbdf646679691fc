"""Learning rates over the steps of a run, beyond torch's own."""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from upscale.errors import UserError


def linear(optimizer: Optimizer, *, num_steps: int, warmup_steps: int = 0) -> LambdaLR:
    """Step n, from 0: rate * min(1, (n + 1) / warmup_steps) * (1 - n / num_steps); zero from `num_steps` on."""
    if num_steps < 1:
        raise UserError("scheduler=linear falls over the run's steps: say how many with trainer.max_steps=...")

    def factor(step: int) -> float:
        rising = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
        return rising * max(0.0, 1 - step / num_steps)

    return LambdaLR(optimizer, factor)
