"""Turn the weights of upscalemp3_v2 into a bundle for infer.py, evaluate.py and export.

    python scripts/import_keras.py weights=model_13M.weights.h5 out=models/original [normalize_peak=true]

`weights`: a .weights.h5 or .keras file. The original saw every clip scaled to full scale; `normalize_peak=true` scales
what it is given in the same way and scales the result back. Without it the weights compute on the sound as it is.
"""

import sys

from upscale.entrypoint import run
from upscale.errors import UserError
from upscale.keras_import import import_bundle

USAGE = "write: python scripts/import_keras.py weights=FILE out=FOLDER [normalize_peak=true]"
CHOICES = {"true": True, "false": False}


def main() -> None:
    values = dict(argument.partition("=")[::2] for argument in sys.argv[1:])
    unknown = sorted(values.keys() - {"weights", "out", "normalize_peak"})
    normalize = values.get("normalize_peak", "false").lower()
    if unknown or not (values.get("weights") and values.get("out")) or normalize not in CHOICES:
        raise UserError(f"cannot read {' '.join(sys.argv[1:]) or 'an empty command line'}; {USAGE}")
    folder = import_bundle(values["weights"], values["out"], normalize_peak=CHOICES[normalize])
    print(f"wrote {folder}; try: python infer.py ckpt={folder} input=song.mp3 output=restored.wav")


if __name__ == "__main__":
    run(main)
