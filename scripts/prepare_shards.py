"""Make shards of clean clips: python scripts/prepare_shards.py 'sources=[folder]' roots.folder=DIR out=data/shards"""

import sys

import hydra
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from upscale.entrypoint import run, user_errors
from upscale.shards.prepare import Summary, prepare


@hydra.main(version_base="1.3", config_path="../conf", config_name="prepare")
@user_errors
def main(config: DictConfig) -> None:
    """Prepare, print what came out, and exit with 1 where files had to be left out."""
    summary = prepare(**OmegaConf.to_container(config, resolve=True))  # type: ignore[arg-type]
    _print(summary, config.out)
    if summary.broken:
        print(f"error: {len(summary.broken)} files could not be read and were left out:", file=sys.stderr)
        for name, reason in summary.broken:
            print(f"  {name}: {reason}", file=sys.stderr)
        sys.exit(1)


def _print(summary: Summary, out: str) -> None:
    table = Table("split", "songs", "clips", "minutes", title=out)
    for split, totals in summary.splits.items():
        table.add_row(split, str(totals["songs"]), str(totals["clips"]), f"{totals['seconds'] / 60:.1f}")
    Console().print(table)
    print(f"{summary.num_silent} silent clips skipped, {len(summary.lossy)} songs that look once lossy")


if __name__ == "__main__":
    run(main)
