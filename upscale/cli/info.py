"""`upscale info`: what a file is, and what restoring would do with it."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from upscale.errors import UserError
from upscale.restore.batch import display
from upscale.restore.inspect_file import Inspection, inspect_file
from upscale.restore.library import find_files
from upscale.restore.restorer import trained_bitrates


def main(argv: Sequence[str]) -> int:
    """Describe each file; 1 if one of them cannot be read."""
    options = _parser().parse_args(argv)
    model = options.model or "fidelity"
    bitrates = trained_bitrates(model)
    reports, status = [], 0
    for path, _ in find_files(options.inputs):
        try:
            found = inspect_file(path)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            status = 1
            continue
        if options.json:
            reports.append(as_json(found, model, bitrates))
        else:
            print("\n".join([display(path), *(f"  {name:<11}{text}" for name, text in lines(found, model, bitrates))]))
    if options.json:
        print(json.dumps(reports, indent=2))
    return status


def lines(found: Inspection, model: str, bitrates: Sequence[int]) -> list[tuple[str, str]]:
    """Name and text of each fact."""
    return [
        ("codec", _codec(found)),
        ("bitrate", _bitrate(found)),
        ("encoder", _encoder(found)),
        ("gapless", _gapless(found)),
        ("cut-off", "none found" if found.cutoff_hz is None else f"{found.cutoff_hz / 1000:.1f} kHz"),
        ("re-encode", _reencode(found)),
        ("model", verdict(found, model, bitrates)),
    ]


def verdict(found: Inspection, model: str, bitrates: Sequence[int]) -> str:
    """Which model would be used, or why none."""
    good = found.is_good(bitrates)
    return f"none: {good}" if good else f"{model}, for {found.effective_bitrate:.0f} kbit/s"


def as_json(found: Inspection, model: str, bitrates: Sequence[int]) -> dict[str, Any]:
    values = asdict(found)
    good = found.is_good(bitrates)
    return values | {
        "path": display(found.path),
        "effective_bitrate": found.effective_bitrate,
        "model": None if good else model,
        "already_good": good,
    }


def _codec(found: Inspection) -> str:
    mode = found.mpeg.mode if found.mpeg else {1: "mono", 2: "stereo"}.get(found.channels, f"{found.channels} channels")
    length = "length not stated"
    if found.seconds is not None:
        length = f"{int(found.seconds // 60)}:{found.seconds % 60:06.3f}"
    junk = found.mpeg.leading_bytes if found.mpeg else 0
    return f"{found.codec}, {found.sample_rate} Hz, {mode}, {length}" + (
        f", {junk} bytes of junk first" if junk else ""
    )


def _bitrate(found: Inspection) -> str:
    if found.bitrate is None:
        return "lossless"
    return f"{found.bitrate:.0f} kbit/s" + (f" {found.mpeg.method}" if found.mpeg else "")


def _encoder(found: Inspection) -> str:
    lame = found.mpeg.lame if found.mpeg else None
    if lame is None:
        header = found.mpeg.header if found.mpeg else None
        return f"not stated ({header} header without a LAME tag)" if header else "not stated"
    parts = [lame.encoder, lame.settings, f"low-pass {lame.lowpass_hz / 1000:.1f} kHz" if lame.lowpass_hz else None]
    return ", ".join(part for part in parts if part)


def _gapless(found: Inspection) -> str:
    lame = found.mpeg.lame if found.mpeg else None
    return f"delay {lame.delay}, padding {lame.padding} samples" if lame else "not stated"


def _reencode(found: Inspection) -> str:
    if not found.looks_reencoded:
        return "no sign of one"
    kind = "a decoded lossy file" if found.bitrate is None else "a re-encode"
    return f"looks like {kind}: its sound ends where {found.heard_bitrate} kbit/s end"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="upscale info", description="Say what files are. Nothing is changed.")
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="files, folders or quoted patterns")
    parser.add_argument("--model", metavar="NAME", help="the model to judge for (default: fidelity)")
    parser.add_argument("--json", action="store_true", help="print a JSON list instead")
    return parser
