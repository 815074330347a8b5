"""A map of the data: images that a network takes for alike lie side by side.

Van der Maaten and Hinton, "Visualizing Data using t-SNE", JMLR 2008: neighbours in the space of features stay
neighbours on the plane; how far apart two groups lie, and how dense they are, means little. PCA keeps directions
and distances instead, as far as two of them can. For a picture without gaps every image is moved to a place of a
grid, so that all move as little as possible together.
"""

from typing import Literal

import numpy as np

from saccade.errors import UsageError

Method = Literal["tsne", "pca"]
FIRST = 50  # directions that are kept of the features before t-SNE (section 4.2 has 30)
MOST = 3000  # images whose places on a grid are found in seconds


def embedding_map(
    features: np.ndarray, method: Method = "tsne", perplexity: float | None = None, seed: int = 0
) -> np.ndarray:
    """Where each image lies, [N, 2] float32 (x, y) in [0, 1].

    features    [N, D] float
    perplexity  how many neighbours count, about; None for 30, or fewer where there are few images

    Raises UsageError for an unknown method.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if method not in ("tsne", "pca"):
        raise UsageError(f"the map is made by tsne or pca, not {method!r}")
    count = len(features)
    if count < 4:
        places = np.stack([np.arange(count), np.zeros(count)], axis=1)
        return _in_unit_square(places)
    most = min(FIRST if method == "tsne" else 2, count, features.shape[1])
    places = PCA(most, svd_solver="full", random_state=seed).fit_transform(features)
    if method == "tsne":
        perplexity = min(30.0, (count - 1) / 3) if perplexity is None else perplexity
        if not 1 <= perplexity < count:
            raise UsageError(f"perplexity must be at least 1 and below the {count} images, got {perplexity:g}")
        init = "pca" if places.shape[1] > 1 else "random"
        places = TSNE(2, perplexity=perplexity, init=init, random_state=seed).fit_transform(places)
    elif places.shape[1] < 2:
        places = np.concatenate([places, np.zeros_like(places)], axis=1)
    return _in_unit_square(places)


def on_grid(places: np.ndarray) -> np.ndarray:
    """A place of a grid for each image, [N, 2] int64 (column, row), no two at the same.

    places  [N, 2] float in [0, 1]

    The grid is about square; the sum of the squared ways is the least there is.
    """
    from scipy.optimize import linear_sum_assignment

    count = len(places)
    columns = int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns) if count else 0
    cells = np.stack([np.tile(np.arange(columns), rows), np.repeat(np.arange(rows), columns)], axis=1)
    centres = (cells + 0.5) / (columns, max(rows, 1))
    # Evenly spread along each axis, so that dense parts are not all pulled to one place.
    spread = (np.argsort(np.argsort(places, axis=0, kind="stable"), axis=0, kind="stable") + 0.5) / max(count, 1)
    wanted = 0.5 * places + 0.5 * spread
    cost = ((wanted[:, None].astype(np.float32) - centres[None].astype(np.float32)) ** 2).sum(2)
    return cells[linear_sum_assignment(cost)[1]]


def _in_unit_square(places: np.ndarray) -> np.ndarray:
    low, high = places.min(0), places.max(0)
    return ((places - low) / np.where(high > low, high - low, 1)).astype(np.float32)
