"""What evaluate.py measured, as the plain values that a bundle's `model.yaml` keeps."""

import shlex
from pathlib import Path
from typing import Any

import yaml

from upscale.errors import UserError
from upscale.evaluation.results import read_csv
from upscale.evaluation.statistics import Summary, summarise, summarise_kinds

DIGITS = 3


def read_results(folder: Path, name: str) -> dict[str, Any]:
    """The table of one evaluation, how it was measured, and the command that repeats it for a shipped model."""
    rows = read_csv(folder / "results.csv")
    settings = read_settings(folder / "settings.yaml")
    options = settings["options"]
    return {
        "data": Path(options["data"]).name,
        "songs": sorted({row.song for row in rows}),
        "channels": sorted({row.channels for row in rows}),
        "bitrate_known": options["bitrate_known"],
        "excerpt_seconds": options["excerpt_seconds"],
        "visqol_seconds": options["visqol_seconds"],
        "command": command(options, name),
        "machine": settings["machine"],
        "versions": settings["versions"],
        "table": [line(summary) for summary in summarise(rows)],
        "kinds": {kind: [line(summary) for summary in summaries] for kind, summaries in summarise_kinds(rows).items()},
    }


def read_settings(path: Path) -> dict[str, Any]:
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
        return {name: settings[name] for name in ("options", "machine", "versions")}
    except (OSError, KeyError, TypeError, yaml.YAMLError) as error:
        raise UserError(f"{path} is not a settings.yaml of evaluate.py ({error}); measure again") from error


def line(summary: Summary) -> dict[str, Any]:
    """One metric at one bitrate: means over songs, the worst song, and the share of songs that got worse."""
    return {
        "metric": summary.metric,
        "bitrate": summary.spec.bitrate,
        "songs": summary.num_songs,
        **{
            name: round(getattr(summary, name), DIGITS)
            for name in ("do_nothing", "level", "restored", "improvement", "worst", "share_worse")
        },
        "worst_song": summary.worst_song,
    }


def command(options: dict[str, Any], name: str) -> str:
    """`python evaluate.py ckpt=NAME` with the options that say what is measured; the data by its folder's name."""
    words = [f"ckpt={name}", f"data={Path(options['data']).name}"]
    for option in ("bitrate_known", "bitrates", "metrics", "excerpt_seconds", "visqol_seconds", "visqol_bitrates"):
        if options[option] is not None:
            words.append(f"{option}={hydra_value(options[option])}")
    return " ".join(["python evaluate.py", *map(shlex.quote, words)])


def hydra_value(value: Any) -> str:
    """As Hydra's command line reads it."""
    if isinstance(value, list):
        return f"[{','.join(map(hydra_value, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)
