"""Keeping some images back, so that two copies of one image never end on both sides."""

import hashlib

import numpy as np

from saccade.data.findings import DataError
from saccade.data.source import Source, Split, labels_of
from saccade.structures import Known


def hold_out(source: Source, fraction: float, seed: int, known: Known = "labels") -> Source:
    """The same set with "train" and "val": its own validation folder, else a keyed share of each class.

    fraction  of each class, rounded, at least one image; 0 keeps nothing back
    seed      another seed chooses other images
    known     what will be learnt; where that is not the class of each image, the share is of all images alike

    Raises DataError when a class is too small to be divided.
    """
    if "val" in source.splits:
        if "train" not in source.splits:
            raise DataError(f"{source.name} has {', '.join(source.splits)} but no train folder")
        return source
    rest = {name: split for name, split in source.splits.items() if name == "test"}
    whole = source.splits.get("train") or source.splits.get("all")
    if whole is None:
        raise DataError(f"{source.name} has {', '.join(source.splits)} but no train folder")
    if not fraction:
        return source.with_splits({"train": whole, **rest})
    if known == "labels":
        kept = held_out(whole, source.classes, fraction, seed)
    else:
        kept = held_out(whole, ("the images",), fraction, seed, np.zeros(len(whole), dtype=np.int64))
    return source.with_splits(
        {"train": whole.take(np.flatnonzero(~kept)), "val": whole.take(np.flatnonzero(kept)), **rest}
    )


def held_out(
    split: Split, classes: tuple[str, ...], fraction: float, seed: int, labels: np.ndarray | None = None
) -> np.ndarray:
    """Which images are kept back, [N] bool: within each class those whose keyed content hash ranks lowest.

    labels  [N] int64, the class of each; None for the split's own
    """
    labels = labels_of(split) if labels is None else labels
    key = seed.to_bytes(8, "little")
    digests = np.array(
        [hashlib.blake2b(split.content(i), digest_size=16, key=key).hexdigest() for i in range(len(split))]
    )
    side: dict[str, bool] = {}
    for label, name in enumerate(classes):
        mine = np.sort(np.unique(digests[labels == label]))
        if len(mine) < 2:
            raise DataError(
                f"{name!r} has {len(mine)} different image(s), too few to keep one back for validation; "
                f"add images, give a val folder, or keep none back with --set hold_out=0"
            )
        wanted = min(max(1, round(fraction * len(mine))), len(mine) - 1)
        # A picture that stands in two classes stays where it was put first, and counts there.
        wanted -= sum(side.get(digest, False) for digest in mine)
        undecided = [digest for digest in mine if digest not in side]
        side |= {digest: rank < wanted for rank, digest in enumerate(undecided)}
    return np.array([side[digest] for digest in digests])
