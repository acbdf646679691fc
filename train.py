"""Train a model: `python train.py experiment=phase1`; `python train.py resume=RUN` goes on with an interrupted run."""

import sys

import hydra
from omegaconf import DictConfig

from upscale.entrypoint import run, user_errors
from upscale.training.arguments import with_open_init
from upscale.training.resume import with_resume


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
@user_errors
def main(config: DictConfig) -> float | None:
    from upscale.training.fit import fit  # after Hydra has read the command line: a typing mistake answers at once

    return fit(config)


def start() -> None:
    sys.argv[1:] = with_open_init(with_resume(sys.argv[1:]))
    main()


if __name__ == "__main__":
    run(start)
