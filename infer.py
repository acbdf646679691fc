"""Restore one file with a trained model: python infer.py input=song.mp3 [ckpt=PATH] [output=restored.wav]

`ckpt` is a checkpoint (outputs/**/checkpoints/*.ckpt), a bundle's folder, an `.onnx` file or the name of a shipped
model; without it, the shipped `fidelity`. Without `output`, NAME.restored.flac beside the input.
File names with characters that Hydra keeps for itself are quoted twice, for the shell and for Hydra:
python infer.py 'input="Song (live), Pt. 1 = [best].mp3"'
"""

import hydra
from omegaconf import DictConfig

from upscale.entrypoint import run, user_errors
from upscale.restore.infer import infer


@hydra.main(version_base="1.3", config_path="conf", config_name="infer")
@user_errors
def main(config: DictConfig) -> None:
    infer(**config)


if __name__ == "__main__":
    run(main)
