"""Clips that a manifest promises and the shards no longer hold: named and counted before training starts."""

import logging
from collections import Counter

import numpy as np

from upscale.errors import UserError
from upscale.shards import ClipIndex
from upscale.shards.manifest import NAME, read_manifest

logger = logging.getLogger(__name__)


def count_missing_clips(index: ClipIndex, max_bad_share: float) -> int:
    """Number of clips missing from cut, overwritten or absent shards; a shard with clips of wrong length counts one.

    Raises UserError where they are more than `max_bad_share` of what the manifest promises. Shards of other makers
    have no manifest, and promise nothing.
    """
    folder = index.shards[0].parent
    if not (folder / NAME).exists():
        return 0
    manifest = read_manifest(folder)
    present = {path.name: number for number, path in enumerate(index.shards)}
    clips = Counter(index.shard.tolist())
    samples = np.bincount(index.shard, weights=np.maximum(index.num_samples, 0), minlength=len(index.shards))
    unreadable = set(index.shard[index.num_samples < 0].tolist())  # named and counted one by one when their turn comes
    num_missing, reason = 0, ""
    for entry in manifest.shards:
        number = present.get(entry.name, -1)
        missing = entry.num_clips - clips[number]
        if missing > 0:
            reason = f"{folder / entry.name}: {missing} of its {entry.num_clips} clips are lost"
            reason += ", it is not there" if number < 0 else ", it is not a readable tar to its end"
        elif number not in unreadable and samples[number] != entry.num_samples:
            missing = 1
            reason = f"{folder / entry.name}: holds {samples[number]:.0f} samples instead of {entry.num_samples}"
        else:
            continue
        logger.warning("%s", reason)
        num_missing += missing
    if num_missing > max_bad_share * manifest.num_clips:
        raise UserError(
            f"{num_missing} of {manifest.num_clips} clips cannot be read, more than data.max_bad_share="
            f"{max_bad_share}; {reason}. Run scripts/verify_shards.py on the folder"
        )
    return num_missing
