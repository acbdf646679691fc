"""How far the level network of `perceptual` is from the clean spectrum, song by song, beside doing nothing.

    python -m scripts.released.measure_levels --checkpoint levels.pt [bands.pt ...] --music FOLDER [--bitrates 64 96]

Three figures in log10 power for the middle `--seconds` of each song of `--music` (FLAC, encoded whole), not told the
bitrate: the distance of the means of bands (what the stage `bands` learns) and of single bins (the log-spectral
distance, before the way back to sound adds to it), and how much too bright the answer is, on average, above 11 kHz; all
of it up to where the song is known (`scripts/released/music/decode_vorbis.py`). A checkpoint is one of `scripts/released/train_released.py`, or
the `weights.safetensors` of a bundle. With several checkpoints the last column is the mean of what they say.
"""

import argparse
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from scripts.released.music.decode_vorbis import known_hz
from scripts.released.train_released import frame_distance, level_weights_of
from upscale.codec import CodecSpec, roundtrip
from upscale.models.spectral.log_magnitude import LogMagnitudePredictor

SAMPLE_RATE = 44_100
TREBLE_HZ = 11_000  # about where LAME cuts off at 64 kbit/s


def load(path: Path) -> LogMagnitudePredictor:
    """The level network of a checkpoint of `bands`, `levels` or `perceptual`."""
    model = LogMagnitudePredictor()
    model.load_state_dict(level_weights_of(path))
    return model.eval()


@torch.no_grad()
def answers(model: LogMagnitudePredictor, wav: Tensor) -> tuple[Tensor, Tensor]:
    """[1, 2, T] to log10 power of bands [1, 2, K, N] and of bins [1, 2, F - 1, N]."""
    spectrum = model.stft.analyse(wav)
    return model.bands(wav), model(wav, spectrum, spectrum)


def figures(answer: tuple[Tensor, Tensor], target: tuple[Tensor, Tensor], known: float) -> list[float]:
    """Both are what `answers` gives; `known` Hz is how far up the target can be believed."""
    (bands, bins), (wanted_bands, wanted_bins) = ([below(part, known) for part in parts] for parts in (answer, target))
    distances = [frame_distance(bands, wanted_bands, dim=2).mean(), frame_distance(bins, wanted_bins, dim=2).mean()]
    treble = (bins - wanted_bins)[:, :, below(answer[1], TREBLE_HZ).shape[2] :]
    return [float(figure) for figure in (*distances, treble.mean())]


def below(spectrum: Tensor, frequency: float) -> Tensor:
    """Those rows of [B, C, rows, N], from 0 to half the sample rate, that lie below a frequency in Hz."""
    return spectrum[:, :, : round(frequency / SAMPLE_RATE * 2 * spectrum.shape[2])]


def clips(song: Path, bitrate: int, seconds: float) -> tuple[Tensor, Tensor]:
    wav = soundfile.read(song, dtype="float32", always_2d=True)[0].T
    degraded = roundtrip(wav, CodecSpec(bitrate=bitrate), SAMPLE_RATE)
    length = int(seconds * SAMPLE_RATE)
    start = max(0, wav.shape[1] - length) // 2
    clean, coded = (torch.tensor(part[None, :, start : start + length]) for part in (wav, degraded))
    return clean, coded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, nargs="+", required=True)
    parser.add_argument("--music", type=Path, nargs="+", required=True)
    parser.add_argument("--bitrates", type=int, nargs="+", default=[64, 96])
    parser.add_argument("--seconds", type=float, default=12)
    arguments = parser.parse_args()
    models = [load(path) for path in arguments.checkpoint]
    spectra = LogMagnitudePredictor()
    names = ["nothing done", *(path.stem for path in arguments.checkpoint)]
    names += ["their mean"] if len(models) > 1 else []
    print("bands / bins / too bright".ljust(40), *(name.rjust(23) for name in names))
    for bitrate in arguments.bitrates:
        rows = []
        for song in sorted(song for folder in arguments.music for song in folder.glob("*.flac")):
            clean, coded = clips(song, bitrate, arguments.seconds)
            bins, given = (spectra.log_power(spectra.stft.analyse(wav)) for wav in (clean, coded))
            found = [(spectra.band_mean(given), given), *(answers(model, coded) for model in models)]
            if len(models) > 1:
                found.append(tuple(torch.stack(parts).mean(dim=0) for parts in zip(*found[1:], strict=True)))
            target, known = (spectra.band_mean(bins), bins), known_hz(song)
            rows.append([figures(answer, target, known) for answer in found])
            show(f"{song.stem[-32:]} at {bitrate}", rows[-1])
        show(f"mean at {bitrate}", np.mean(rows, axis=0).tolist())


def show(name: str, row: list[list[float]]) -> None:
    columns = [f"{bands:.3f} / {bins:.3f} / {bright:+.2f}" for bands, bins, bright in row]
    print(name.ljust(40), *(column.rjust(23) for column in columns), flush=True)


if __name__ == "__main__":
    main()
