"""Features of images, kept on disk: the encoder looks at each image once, a head learns from what it saw in seconds.

What a row was made from is its key: the bytes of the image, and, for the whole store, the network, its weights, the
layer and the preprocessing. So a row is never used for anything else, and what is not there yet is all that is
computed.
"""

import errno
import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from filelock import FileLock

from saccade.errors import SaccadeError

KEY, CHECK = 16, 8  # bytes


class FeatureStore:
    """Rows of float16 by their keys, in a folder that several runs may share, at the same time too.

        features   the rows, one after the other, memory-mapped when they are read
        index      for each row its key and a checksum

    lost  rows that a former process did not finish writing or that were damaged since; they count as not there

    folder  made if need be
    width   numbers a row
    """

    def __init__(self, folder: Path, width: int) -> None:
        self.folder, self.width = folder, width
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name in ("features", "index", "lock"):
                (folder / name).touch()
        except OSError as error:
            raise _unwritable(folder, error) from None
        # What another process has written half must not be taken for what was lost, nor written over.
        self._lock = FileLock(folder / "lock")
        with self._lock:
            self._places, self.lost = self._read_index()
            if self.lost:
                self._mend()

    def _mend(self) -> None:
        """Write the store anew, without what is lost."""
        keys = list(self._places)
        rows = np.array(self._mapped()[[self._places[key] for key in keys]]) if keys else self._mapped()[:0]
        try:
            for name in ("features", "index"):
                _write_at(self.folder / name, 0, b"")
        except OSError as error:
            raise _unwritable(self.folder, error) from None
        self._places = {}
        self.add(keys, rows)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    def add(self, keys: Sequence[bytes], rows: np.ndarray) -> None:
        """More rows, [N, width] float16, one a key. Raises SaccadeError when the disk is full."""
        if rows.dtype != np.float16 or rows.shape != (len(keys), self.width):
            raise ValueError(
                f"rows must be float16 [{len(keys)}, {self.width}] but got {rows.dtype} {list(rows.shape)}"
            )
        entries = b"".join(key + _checksum(row) for key, row in zip(keys, rows, strict=True))
        paths = [(self.folder / "features", 2 * self.width), (self.folder / "index", KEY + CHECK)]
        try:
            with self._lock:
                # What only one of the two files has is of no use, and is written over.
                whole = min(path.stat().st_size // unit for path, unit in paths)
                # The rows first: an index that is behind only means that some are computed again.
                for (path, unit), content in zip(paths, (rows.tobytes(), entries), strict=True):
                    _write_at(path, whole * unit, content)
        except OSError as error:
            raise _unwritable(self.folder, error) from None
        self._places |= {key: whole + n for n, key in enumerate(keys)}

    def rows(self, keys: Iterable[bytes]) -> np.ndarray:
        """[N, width] float16, one a key. Raises KeyError for one that is not there."""
        places = [self._places[key] for key in keys]
        return np.asarray(self._mapped()[places])

    def _mapped(self) -> np.ndarray:
        path = self.folder / "features"
        whole = path.stat().st_size // (2 * self.width)
        if not whole:
            return np.zeros((0, self.width), dtype=np.float16)
        return np.memmap(path, dtype=np.float16, mode="r", shape=(whole, self.width))

    def _read_index(self) -> tuple[dict[bytes, int], int]:
        """Where each row is, and how many rows cannot be used."""
        index, mapped = (self.folder / "index").read_bytes(), self._mapped()
        entries = [index[n : n + KEY + CHECK] for n in range(0, len(index), KEY + CHECK)]
        begun = -(-(self.folder / "features").stat().st_size // (2 * self.width))  # a row of which a part is there too
        places, lost = {}, max(0, begun - len(entries))
        for n, entry in enumerate(entries):
            if len(entry) == KEY + CHECK and n < len(mapped) and entry[KEY:] == _checksum(mapped[n]):
                places[entry[:KEY]] = n
            else:
                lost += 1
        return places, lost


def key_of(*parts: bytes | str) -> bytes:
    """A key of KEY bytes."""
    digest = hashlib.blake2b(digest_size=KEY)
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.digest()


def _checksum(row: np.ndarray) -> bytes:
    return hashlib.blake2b(row.tobytes(), digest_size=CHECK).digest()


def _write_at(path: Path, begin: int, content: bytes) -> None:
    """Put the content there, and let the file end with it."""
    with path.open("r+b") as file:
        file.seek(begin)
        file.write(content)
        file.truncate()
        file.flush()
        os.fsync(file.fileno())


def _unwritable(folder: Path, error: OSError) -> SaccadeError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    remedy = "free some space, or point XDG_CACHE_HOME elsewhere" if full else "point XDG_CACHE_HOME elsewhere"
    return SaccadeError(f"{folder}: features cannot be stored ({error.strerror}); {remedy}")
