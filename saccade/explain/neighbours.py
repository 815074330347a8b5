"""Neighbours: which images a layer takes for alike.

Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep Convolutional Neural Networks", NeurIPS 2012,
figure 4, right: the images whose features are nearest to an image's. All are compared, block by block, on disk; so the
answer is exact, and memory holds one block, up to millions of features.
"""

import json
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from saccade.errors import SaccadeError, UsageError
from saccade.explain.layers import watch

BLOCK = 16_384  # features compared at a time
FEATURES, ABOUT = "features.npy", "index.json"


@torch.no_grad()
def features_of(model: nn.Module, inputs: Tensor, layer: str) -> np.ndarray:
    """[B, D] float32 of length 1: what a layer gives for normalised images [B, C, H, W], averaged over its places.

    Raises UsageError for a layer that is not there or gives no row an image, SaccadeError where one is not finite.
    """
    _, found = watch(model, [layer], lambda: model(inputs))
    output = found[layer].float()
    if output.ndim < 2 or len(output) != len(inputs):
        raise UsageError(f"layer {layer} gives {list(output.shape)} of {len(inputs)} images, not a row of each")
    rows = (output.flatten(2).mean(2) if output.ndim > 2 else output).cpu().numpy()
    if not np.isfinite(rows).all():
        raise SaccadeError(f"layer {layer} gives numbers that are not finite: the weights or an image are damaged")
    return unit(rows)


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows [N, D] float32 of length 1; of nothing but zeros as they are."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(length > 0, length, 1)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Index:
    """Features of images, to be searched.

    features  [N, D] float32 of length 1, perhaps in a file
    ids       N names
    about     what they are features of: another network's cannot be compared with them
    """

    features: np.ndarray
    ids: tuple[str, ...]
    about: dict[str, str]

    def nearest(self, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The most alike, best first, of equals the earlier one.

        queries  [Q, D] float32 of length 1

        Returns the places [Q, n] int64 and the cosines [Q, n] float32 in [-1, 1]; n is `count`, or N if that is less.
        """
        if queries.ndim != 2 or queries.shape[1] != self.features.shape[1]:
            raise ValueError(f"queries must be [Q, {self.features.shape[1]}] but got {list(queries.shape)}")
        best = np.full((len(queries), 0), -np.inf, dtype=np.float32)
        places = np.zeros((len(queries), 0), dtype=np.int64)
        for start in range(0, len(self.features), BLOCK):
            block = np.asarray(self.features[start : start + BLOCK])
            alike = np.concatenate([best, queries @ block.T], axis=1)
            where = np.broadcast_to(np.arange(start, start + len(block)), (len(queries), len(block)))
            where = np.concatenate([places, where], axis=1)
            order = np.argsort(-alike, axis=1, kind="stable")[:, :count]
            best, places = (np.take_along_axis(values, order, 1) for values in (alike, where))
        return places, best


def build(folder: Path, rows: Iterable[np.ndarray], ids: Sequence[str], about: dict[str, str]) -> Index:
    """Write an index, and open it.

    folder  made, or replaced when the new index is whole; nothing else than an index is ever replaced
    rows    blocks [n, D] float32 of length 1, in the order of `ids`

    Raises UsageError when the folder is something else, SaccadeError when it cannot be written.
    """
    if folder.exists() and not (folder / ABOUT).is_file():
        raise UsageError(f"{folder} is there already and no index; choose another place for it")
    new = folder.with_name(f"{folder.name}.new")
    if new.exists() and not (new.is_dir() and {path.name for path in new.iterdir()} <= {FEATURES, ABOUT}):
        raise UsageError(f"{new}, where the index is made, is there already and none; choose another place for it")
    try:
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        _write(new / FEATURES, rows, len(ids))
        (new / ABOUT).write_text(json.dumps({"about": about, "ids": list(ids)}, ensure_ascii=False), encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(new, folder)
    except OSError as error:
        raise SaccadeError(f"{folder}: the index cannot be written ({error.strerror}); choose another place") from None
    return load(folder)


def load(folder: Path) -> Index:
    """An index that was built before. Raises UsageError when there is none, SaccadeError when it is damaged."""
    if not (folder / ABOUT).is_file():
        raise UsageError(f"{folder} is no index of features")
    try:
        described = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        features = np.load(folder / FEATURES, mmap_mode="r", allow_pickle=False)
        ids, about = tuple(described["ids"]), dict(described["about"])
        if features.dtype != np.float32 or features.ndim != 2 or len(features) != len(ids):
            raise ValueError(f"{features.dtype} {list(features.shape)} for {len(ids)} names")
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise SaccadeError(f"the index {folder} is damaged ({error}); delete it, and it is built again") from None
    return Index(features, ids, about)


def _write(path: Path, rows: Iterable[np.ndarray], count: int) -> None:
    """Blocks of rows as one .npy file, without ever having all of them in memory."""
    mapped, done = None, 0
    for block in rows:
        if mapped is None:
            mapped = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(count, block.shape[1]))
        mapped[done : done + len(block)] = block
        done += len(block)
    if mapped is None or done != count:
        raise ValueError(f"{count} rows of features were announced, and {done} came")
    mapped.flush()
