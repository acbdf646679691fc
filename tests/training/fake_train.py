"""What train.py does as a sweep sees it, without training: composes conf/train.yaml, leaves a result or fails."""

import json
from pathlib import Path

import hydra
from omegaconf import DictConfig

from upscale.entrypoint import run, user_errors
from upscale.errors import UserError

CONF = str(Path(__file__).parents[2] / "conf")


@hydra.main(version_base="1.3", config_path=CONF, config_name="train")
@user_errors
def main(config: DictConfig) -> float:
    bitrate = config.codec.bitrates[0]
    if bitrate == 96:
        raise UserError("no music | at 96")
    gains = {f"val/si_sdr_gain/{rate}": (rate - bitrate) / 100 for rate in (64, 128)}
    best = {"val/loss": config.optimizer.lr, "val/sdr_gain": 0.5, "val/si_sdr_gain": 0.25, **gains}
    result = {"monitor": "val/loss", "best": config.optimizer.lr, "best_metrics": best}
    Path(config.output_dir, "result.json").write_text(json.dumps(result))
    return config.optimizer.lr


if __name__ == "__main__":
    run(main)
