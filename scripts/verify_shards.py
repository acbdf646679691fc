"""Read shards back and report every fault: python scripts/verify_shards.py data/shards"""

import argparse
import sys

from rich.console import Console
from rich.table import Table

from upscale.codec import CodecSampler
from upscale.datamodule import ShardDataModule
from upscale.entrypoint import run
from upscale.errors import UserError
from upscale.shards.verify import SplitCheck, verify

MOST_FAULTS = 50


def main() -> None:
    """One table; exit status 1 on any fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="folder with train/, val/ and test/")
    parser.add_argument("--workers", type=int, help="processes (default: one for each core)")
    arguments = parser.parse_args()
    rows = verify(arguments.folder, arguments.workers)
    faults = [fault for row in rows for fault in row.faults] + _batch_faults(arguments.folder, rows)
    table = Table("split", "shards", "songs", "clips", "minutes", "faults", title=arguments.folder)
    for row in rows:
        counts = (row.num_shards, len(row.songs), row.num_clips, f"{row.seconds / 60:.1f}", len(row.faults))
        table.add_row(row.split, *map(str, counts))
    Console().print(table)
    for fault in faults[:MOST_FAULTS]:
        print(fault, file=sys.stderr)
    if faults:
        raise UserError(f"{arguments.folder}: {len(faults)} faults; prepare the shards again (overwrite=true)")
    print("no fault found; a batch could be made")


def _batch_faults(folder: str, rows: list[SplitCheck]) -> list[str]:
    """A training run's first step: batches of one clip from training and validation."""
    splits = {row.split for row in rows}
    if not {"train", "val"} <= splits:
        return []
    try:
        data = ShardDataModule(folder, CodecSampler(), batch_size=1, num_batches=1, num_val_batches=1, num_workers=0)
        data.setup("fit")
        for loader in (data.train_dataloader(), data.val_dataloader()):
            next(iter(loader))
    except Exception as error:  # whatever it is, it is what training would meet
        return [f"no batch can be made: {error}"]
    return []


if __name__ == "__main__":
    run(main)
