"""MNIST's idx files: train-images-idx3-ubyte and its three companions, gzipped or not."""

import gzip
import math
import re
import struct
import zlib
from pathlib import Path

import numpy as np

from saccade.data.findings import DataError, Findings
from saccade.data.source import Source, Split, labels_of

NAME = "idx"
PATTERN = re.compile(r"(?P<split>train|t10k|test|val|valid)[-_.](?P<kind>images|labels)[-_.]idx[13][-_.]ubyte(\.gz)?$")
SPLITS = {"train": "train", "t10k": "test", "test": "test", "val": "val", "valid": "val"}
LARGEST = 1 << 32  # bytes; a header that promises more than 4 GiB is damaged


def recognises(path: Path) -> bool:
    """Whether `path` holds files named as MNIST's are."""
    return path.is_dir() and any(PATTERN.match(entry.name) for entry in path.iterdir())


def read(path: Path, findings: Findings) -> Source:
    """The idx files of a folder. Classes are named after their labels, unless classes.txt has a name a line.

    Raises DataError naming the file when one is missing, cut short, of the wrong kind, or disagrees with its companion.
    """
    files = {(m["split"], m["kind"]): entry for entry in sorted(path.iterdir()) if (m := PATTERN.match(entry.name))}
    splits = {}
    for name in sorted({split for split, _ in files}, key=list(SPLITS).index):
        for kind in ("images", "labels"):
            if (name, kind) not in files:
                raise DataError(f"{path} has {name} but no {name}-{kind}-idx file beside it")
        images, labels = read_array(files[name, "images"], 3), read_array(files[name, "labels"], 1)
        if len(images) != len(labels):
            raise DataError(
                f"{files[name, 'images']} has {len(images)} images, "
                f"but {files[name, 'labels']} has {len(labels)} labels"
            )
        if not images.size:
            raise DataError(f"{files[name, 'images']} has no images")
        if SPLITS[name] in splits:
            same = " and ".join(sorted({split for split, _ in files if SPLITS[split] == SPLITS[name]}))
            raise DataError(f"{path} has idx files of {same}, which are one and the same split; keep one of them")
        splits[SPLITS[name]] = Split(images, [f"{name}/{i}" for i in range(len(images))], labels.astype(np.int64))
    return Source(str(path), NAME, _classes(path, splits), splits)


def read_array(path: Path, dimensions: int) -> np.ndarray:
    """The array of an idx file: uint8, with that many dimensions."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            header = file.read(4 + 4 * dimensions)
            if len(header) < 4 + 4 * dimensions or header[:4] != bytes((0, 0, 8, dimensions)):
                raise DataError(
                    f"{path} does not begin as an idx file of {dimensions} dimensions of bytes does: "
                    f"expected {bytes((0, 0, 8, dimensions))!r}, got {header[:4]!r}"
                )
            shape = struct.unpack(f">{dimensions}I", header[4:])
            size = math.prod(shape)
            if size > LARGEST:
                raise DataError(f"{path} promises {size:,} bytes in its header; it is damaged")
            content = file.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be unpacked ({error}); fetch it again") from None
    if len(content) != size:
        compared = "is cut short" if len(content) < size else "is too long"
        raise DataError(f"{path} {compared}: its header promises {list(shape)} values, {size:,} bytes")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def _classes(path: Path, splits: dict[str, Split]) -> tuple[str, ...]:
    count = 1 + max(int(labels_of(split).max()) for split in splits.values())
    names = path / "classes.txt"
    if not names.exists():
        return tuple(str(k) for k in range(count))
    try:
        classes = tuple(line.strip() for line in names.read_text(encoding="utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{names} cannot be read as text ({error}); save it as UTF-8, a name a line") from None
    if len(classes) < count:
        raise DataError(f"{names} names {len(classes)} classes, but the labels run to {count - 1}")
    return classes
