"""Train, validation and test by song: decided before anything is cut, and the same for the same song everywhere."""

from collections.abc import Sequence
from dataclasses import replace

from upscale.corpus.musdb18hq import official_splits
from upscale.corpus.track import Track
from upscale.seeds import derive_seed

SPLITS = ("train", "val", "test")


def assign_splits(tracks: Sequence[Track], val_share: float, test_share: float, seed: int) -> list[Track]:
    """The tracks with `split` set.

    A song that MUSDB18 knows takes MUSDB18's split, in whatever data set it lies. Others go by the hash of their
    group, so that adding songs moves no other song; two tracks of one identity always land together.
    Where chance leaves validation or test without a song, the nearest group fills it.
    """
    known = official_splits() | {track.identity: track.split for track in tracks if track.split is not None}
    ordered = sorted(tracks, key=lambda track: (track.dataset, track.name))
    group_of: dict[str, str] = {}  # of a free song: the group of its first track
    for track in ordered:
        if track.identity not in known:
            group_of.setdefault(track.identity, f"{track.dataset}/{track.group}")
    chance = {group: derive_seed(seed, "split", group) / 2**63 for group in group_of.values()}
    split_of = {group: _split(value, val_share, test_share) for group, value in chance.items()}
    taken = {known[track.identity] for track in ordered if track.identity in known}
    _fill_empty(split_of, chance, taken=taken, shares={"val": val_share, "test": test_share})
    return [replace(t, split=known.get(t.identity) or split_of[group_of[t.identity]]) for t in ordered]


def _split(chance: float, val_share: float, test_share: float) -> str:
    if chance < test_share:
        return "test"
    return "val" if chance < test_share + val_share else "train"


def _fill_empty(split_of: dict[str, str], chance: dict[str, float], taken: set[str], shares: dict[str, float]) -> None:
    for split, share in shares.items():
        train = [group for group in split_of if split_of[group] == "train"]
        if share > 0 and split not in taken and split not in split_of.values() and len(train) > 1:
            split_of[min(train, key=lambda group: (chance[group], group))] = split
