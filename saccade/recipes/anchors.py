"""Which anchors fit the boxes of a data set."""

from pathlib import Path

import numpy as np

from saccade import checkpoint
from saccade.data import source as sources
from saccade.data.findings import DataError, Findings
from saccade.data.source import Source, Split
from saccade.report.anchor_plot import anchor_plot
from saccade.structures import Preprocessing
from saccade.tasks.detect.anchor_shapes import Anchors, cluster


def find_anchors(
    data: str | Path | Source,
    count: int = 9,
    size: int = 416,
    out: Path | None = None,
    findings: Findings | None = None,
) -> Anchors:
    """K-means over the boxes of the training images (`tasks/detect/anchor_shapes.py`).

    count     how many
    size      side in pixels that the network sees: `--size` of `saccade fit`
    out       where to draw them, an .svg file; None for nowhere
    findings  where what is wrong with the data is put; None stops at the first

    Raises DataError when nothing is marked in the data.
    """
    source = data if isinstance(data, Source) else sources.read(data, findings)
    split = source.splits.get("train") or next(iter(source.splits.values()))
    found = cluster(sides_of(split, Preprocessing.whole(size, size)), count)
    if out is not None:
        checkpoint.write(out, anchor_plot(found.sides, found.shapes))
    return found


def sides_of(split: Split, preprocessing: Preprocessing) -> np.ndarray:
    """Widths and heights [N, 2] of the boxes there are to learn from as a network sees them, pixels of its input."""
    objects = split.objects
    if objects is None:
        raise DataError("this data does not say where things are; anchors are shapes of boxes")
    sides = objects.boxes[:, 2:] - objects.boxes[:, :2]
    scales = np.ones((len(split), 2))
    for index, known in enumerate(objects.sizes):
        size = (int(known[0]), int(known[1])) if known.all() else split.open(index).size
        view = preprocessing.view(size)
        scales[index] = view.size[1] / size[1], view.size[0] / size[0]
    return (sides * scales.repeat(np.diff(objects.starts), axis=0))[~(objects.crowd | objects.difficult)]
