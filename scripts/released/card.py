"""card.md of a released bundle: a template of `scripts/released/cards` with what `model.yaml` says filled in."""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from upscale.errors import UserError
from upscale.evaluation.scores import METRICS

TEMPLATES = Path(__file__).parent / "cards"
HEAD = ("metric", "kbit/s", "doing nothing", "level-matched", "restored", "gain", "worst song", "songs that got worse")


def template(name: str) -> str:
    """The text of NAME.md, with the names of what `fill` fills in between braces."""
    path = TEMPLATES / f"{name}.md"
    if not path.is_file():
        names = ", ".join(sorted(path.stem for path in TEMPLATES.glob("*.md") if path.stem != "data"))
        raise UserError(f"there is no card {name} in {TEMPLATES}; choose from {names}")
    return path.read_text(encoding="utf-8")


def fill(template: str, model_yaml: Path) -> str:
    """The card, from what a bundle's `model.yaml` says."""
    description = yaml.safe_load(model_yaml.read_text(encoding="utf-8"))
    metrics = description["metrics"]
    return template.format(
        model_class=description["class"],
        bitrates=", ".join(map(str, description["bitrates"])),
        context_seconds=f"{metrics['context_seconds']:.1f}",
        results="\n\n".join(map(results_section, metrics["results"])),
        training=training_section(metrics["training"]),
        data=(TEMPLATES / "data.md").read_text(encoding="utf-8").strip(),
    )


def results_section(results: dict[str, Any]) -> str:
    """The heading, how it was measured, the table, and the gain by kind of music."""
    channels = {(1,): "mono", (2,): "stereo", (1, 2): "mono and stereo, each as it is"}
    excerpt = results["excerpt_seconds"]
    how = [
        f"{len(results['songs'])} songs, {channels.get(tuple(results['channels']), 'any number of channels')}",
        "whole" if excerpt is None else f"the middle {excerpt:g} s of each",
        f"the bitrate was {'given' if results['bitrate_known'] else 'not given'} to the model",
    ]
    if results["visqol_seconds"] is not None:
        how.append(f"ViSQOL of {results['visqol_seconds']:g} s")
    parts = [f"### {results['data']}", f"{'; '.join(how)}:", f"    {results['command']}", table(results["table"])]
    if results["kinds"]:
        parts += ["Gain by kind of music (and its worst song):", kinds_table(results["kinds"])]
    return "\n\n".join(parts)


def table(lines: Sequence[dict[str, Any]]) -> str:
    rows = [list(HEAD)]
    for line in lines:
        metric = METRICS[line["metric"]]
        rows.append(
            [
                metric.title,
                str(line["bitrate"]),
                *(number(line, name) for name in ("do_nothing", "level", "restored")),
                *(number(line, name, signed=True) for name in ("improvement", "worst")),
                "–" if math.isnan(line["share_worse"]) else f"{100 * line['share_worse']:.0f} %",
            ]
        )
    return markdown(rows)


def kinds_table(kinds: dict[str, list[dict[str, Any]]]) -> str:
    """A row for each kind and metric, a column for each bitrate."""
    bitrates = list(dict.fromkeys(line["bitrate"] for lines in kinds.values() for line in lines))
    rows = [["kind", "songs", "metric", *map(str, bitrates)]]
    for kind, lines in kinds.items():
        for metric in dict.fromkeys(line["metric"] for line in lines):
            found = {line["bitrate"]: line for line in lines if line["metric"] == metric}
            num_songs = max(line["songs"] for line in found.values())
            rows.append([kind, str(num_songs), METRICS[metric].title, *(gain(found.get(rate)) for rate in bitrates)])
    return markdown(rows)


def gain(line: dict[str, Any] | None) -> str:
    if line is None:
        return ""
    return f"{number(line, 'improvement', signed=True)} ({number(line, 'worst', signed=True)})"


def number(line: dict[str, Any], name: str, signed: bool = False) -> str:
    """A figure of a line: two digits where it has a unit, three where it is dimensionless (LSD)."""
    digits = 2 if METRICS[line["metric"]].unit else 3
    if math.isnan(line[name]):
        return "–"
    return f"{line[name] + 0.0:{'+' if signed else ''}.{digits}f}"


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """The first row is the head."""
    head, *body = rows
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *body])


def training_section(training: dict[str, Any]) -> str:
    """The runs of `train.py`, or what was written down about a training before it."""
    if "runs" not in training:
        note = str(training.get("note", "Nothing was written down about its training."))
        return textwrap.fill(note, 120, break_on_hyphens=False)
    return "\n\n".join(map(run_section, training["runs"]))


def run_section(run: dict[str, Any]) -> str:
    if "command" not in run:
        return f"It began from the bundle `{run['name']}`."
    steps = "" if run["steps"] is None else f"{run['steps']:,} steps"
    minutes = "" if run["seconds"] is None else f" in {run['seconds'] / 60:.0f} minutes"
    return f"    {run['command']}\n\n`{run['name']}`: {steps}{minutes}."
