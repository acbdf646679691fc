"""Measure what a model, or somebody else's outputs, gain over doing nothing.

python evaluate.py ckpt=outputs/.../best.ckpt data=FOLDER                  songs or shards, five MP3 bitrates
python evaluate.py system=folder root=OUTPUTS data=FOLDER bitrates=[64]    another program's outputs, by name
python evaluate.py --cfg job                                               every option
"""

import hydra
from omegaconf import DictConfig

from upscale.entrypoint import run, user_errors
from upscale.evaluation.task import evaluate


@hydra.main(version_base="1.3", config_path="conf/evaluate", config_name="evaluate")
@user_errors
def main(config: DictConfig) -> None:
    evaluate(config)


if __name__ == "__main__":
    run(main)
