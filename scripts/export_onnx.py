"""Export a model to ONNX in every size, and measure each: python scripts/export_onnx.py --model fidelity --out DIR

Writes NAME.onnx, NAME-float16.onnx and NAME-int8.onnx, the last in the way (dynamic or static) that costs less SI-SDR
and none that costs more than 0.1 dB; and one table, NAME.md and NAME.json, of size, speed and quality.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from upscale.codec import CodecSpec, roundtrip
from upscale.corpus.demo import compose
from upscale.errors import UserError
from upscale.export import export_onnx, to_float16, to_int8_dynamic, to_int8_static
from upscale.metrics import si_sdr
from upscale.restore import Restorer

BITRATES = (64, 128)
CLIP_SECONDS = 6.0
TEST_SEEDS, CALIBRATION_SEEDS = (9001, 9002, 9003), (9101, 9102)
MAX_LOSS_DB = 0.1
SAMPLE_RATE = 44_100
Clip = tuple[np.ndarray, np.ndarray, int]  # clean, degraded, kbit/s


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    try:
        export(options.model, options.out)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def export(model: str, out: Path) -> list[dict[str, Any]]:
    """Write every file and the table; returns its rows."""
    whole_model = Restorer.load(model, device="cpu")
    restorer = whole_model.low_latency()
    if restorer is not whole_model:
        print("an exported file does not look seconds ahead: that part of the model stays behind")
    name = restorer.traits.name
    whole = export_onnx(restorer, out / f"{name}.onnx")
    to_float16(whole, out / f"{name}-float16.onnx")
    calibration = [(degraded[None], float(bitrate)) for _, degraded, bitrate in clips(CALIBRATION_SEEDS, restorer)]
    candidates = {
        "int8 dynamic": to_int8_dynamic(whole, out / f".{name}-dynamic.onnx"),
        "int8 static": to_int8_static(whole, out / f".{name}-static.onnx", calibration),
    }
    test = clips(TEST_SEEDS, restorer)
    rows = [measure("PyTorch float32", restorer, None, test)]
    for title, path in {"ONNX float32": whole, "ONNX float16": out / f"{name}-float16.onnx"}.items():
        rows.append(measure(title, Restorer.load(path, device="cpu"), path, test))
    quantised = [measure(title, Restorer.load(path, device="cpu"), path, test) for title, path in candidates.items()]
    _keep_best(quantised, candidates, reference=rows[0], target=out / f"{name}-int8.onnx")
    rows += quantised
    table = as_table(rows)
    (out / f"{name}.md").write_text(table)
    (out / f"{name}.json").write_text(json.dumps(rows, indent=2) + "\n")
    print(table)
    return rows


def clips(seeds: Sequence[int], restorer: Restorer) -> list[Clip]:
    """Composed music, degraded."""
    found = []
    for seed in seeds:
        clean = compose(seed, CLIP_SECONDS)[: restorer.traits.channels]
        found += [(clean, roundtrip(clean, CodecSpec(bitrate=bitrate)), bitrate) for bitrate in BITRATES]
    return found


def measure(title: str, restorer: Restorer, path: Path | None, test: Sequence[Clip]) -> dict[str, Any]:
    """One row: megabytes, seconds of sound a second, mean SI-SDR in dB of doing nothing and of the restored clips."""
    degraded_scores, restored_scores, elapsed = [], [], []
    for clean, degraded, bitrate in test:
        started = time.perf_counter()
        restored = restorer(degraded, SAMPLE_RATE, bitrate=bitrate)
        elapsed.append(time.perf_counter() - started)
        degraded_scores.append(float(si_sdr(clean, degraded)))
        restored_scores.append(float(si_sdr(clean, restored)))
    return {
        "model": title,
        "megabytes": None if path is None else round(path.stat().st_size / 1e6, 2),
        "times_real_time": round(CLIP_SECONDS / float(np.median(elapsed)), 1),
        "degraded_si_sdr": round(float(np.mean(degraded_scores)), 3),
        "restored_si_sdr": round(float(np.mean(restored_scores)), 3),
    }


def as_table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown."""
    reference = rows[0]["restored_si_sdr"]
    lines = ["| model | MB | x real time | SI-SDR degraded | restored | against PyTorch |", "|---|---|---|---|---|---|"]
    for row in rows:
        size = "" if row["megabytes"] is None else f"{row['megabytes']:.2f}"
        lines.append(
            f"| {row['model']} | {size} | {row['times_real_time']:.1f} | {row['degraded_si_sdr']:.3f} "
            f"| {row['restored_si_sdr']:.3f} | {row['restored_si_sdr'] - reference:+.3f} |"
        )
    return "\n".join(lines) + "\n"


def _keep_best(
    rows: Sequence[dict[str, Any]], paths: dict[str, Path], *, reference: dict[str, Any], target: Path
) -> None:
    best = max(rows, key=lambda row: row["restored_si_sdr"])
    loss = reference["restored_si_sdr"] - best["restored_si_sdr"]
    if loss <= MAX_LOSS_DB:
        os.replace(paths[best["model"]], target)
        print(f"{target}: {best['model']}, {loss:+.3f} dB lost")
    else:
        print(f"no int8 file: the better way loses {loss:.2f} dB, more than {MAX_LOSS_DB}")
    for path in paths.values():
        path.unlink(missing_ok=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="fidelity", help="a shipped model, a bundle or a .ckpt (default: fidelity)")
    parser.add_argument("--out", type=Path, default=Path("outputs/onnx"), help="folder (default: outputs/onnx)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
