"""One look at every image: whether it can be read, how large it is, what its label map holds, what it looks like."""

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from saccade.data.decode import DecodeError, Picture
from saccade.data.findings import DataError
from saccade.data.label_maps import UNKNOWN, LabelMaps
from saccade.data.near_copies import SMALLEST, fingerprint
from saccade.data.source import Split
from saccade.data.targets import truth_of
from saccade.progress import track
from saccade.structures import VOID, Known, value_counts


@dataclass(frozen=True)
class Look:
    """What one image showed.

    broken   why it, or its label map, cannot be used; "" when it can
    kind     which of the two
    size     (height, width), upright
    exif     the orientation 1..8 that EXIF gives it; 1 is upright as it is stored
    digest   hash of its content
    hash     its perceptual hash, and `small` its [16, 16] uint8 picture; None for tiny images
    pixels   [K + 1] how many pixels each class has in its label map, and in the end void; None without one
    strange  values of its label map that are no class, as people write them
    """

    broken: str = ""
    kind: str = "broken image"
    size: tuple[int, int] = (0, 0)
    exif: int = 1
    digest: bytes = b""
    hash: int = 0
    small: np.ndarray | None = None
    pixels: np.ndarray | None = None
    strange: tuple[int, ...] = ()


def looks_of(split: Split, what: str) -> list[Look]:
    """A look at each image of a split, in parallel, with a bar."""
    return _in_parallel(lambda index: _look(split, index), len(split), what)


def broken_images(split: Split, what: str, known: Known = "labels") -> dict[int, str]:
    """The images of a split that cannot be used: {index: reason}. Reads every one, in parallel, with a bar.

    known  what will be asked of the data: where that lies in files of its own, these are read too
    """

    def reason(index: int) -> str | None:
        try:
            # Every byte of the file passes the decoder, but few pixels are made.
            picture = split.open(index)
            picture.pixels("RGB", shrink=16)
            if known in ("label_maps", "targets") and getattr(split, known) is not None:
                truth_of(split, index, picture.size, known)
        except DecodeError as error:
            return error.reason
        except DataError as error:
            return str(error)
        return None

    if isinstance(split.images, np.ndarray) and known in ("labels", "objects"):
        return {}
    reasons = _in_parallel(reason, len(split), what)
    return {index: reason for index, reason in enumerate(reasons) if reason}


def _look(split: Split, index: int) -> Look:
    try:
        picture = split.open(index)
        # Every byte of the file passes the decoder, but few pixels are made.
        pixels, _ = picture.pixels("RGB", shrink=max(1.0, min(picture.size) / 32))
        digest = hashlib.blake2b(split.content(index), digest_size=16).digest()
        seen = {} if split.label_maps is None else _look_at_map(split.label_maps, index, picture)
        if split.targets is not None:
            truth_of(split, index, picture.size, "targets")
    except DecodeError as error:
        return Look(broken=error.reason)
    except DataError as error:
        return Look(broken=str(error), kind="broken label map" if split.targets is None else "broken target")
    if min(picture.size) >= SMALLEST:
        seen["hash"], seen["small"] = fingerprint(pixels)
    return Look(size=picture.size, exif=getattr(picture, "orientation", 1), digest=digest, **seen)


def _look_at_map(maps: LabelMaps, index: int, picture: Picture) -> dict[str, Any]:
    """The label map of one image: how many pixels of which class, and values that are none."""
    stored = maps.stored(index)
    if stored.shape != picture.size:
        (high, wide), (height, width) = stored.shape, picture.size
        raise DataError(f"{maps.where(index)} is {wide} x {high} pixels, its image {width} x {height}")
    labels = maps.decoded(stored)
    counts = value_counts(labels)
    strange = np.unique(stored[labels == UNKNOWN]).tolist() if counts[UNKNOWN] else []
    return {"pixels": np.append(counts[: len(maps.classes)], counts[VOID]), "strange": tuple(strange)}


def _in_parallel(look: Callable[[int], Any], count: int, what: str) -> list[Any]:
    """look(0), look(1), ... in threads: decoders let go of Python's lock while they work."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(track(pool.map(look, range(count)), what, count))
