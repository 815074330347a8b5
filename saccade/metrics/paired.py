"""Is one way better than another? Both were measured on the same images, and trained on the same subsets."""

from dataclasses import dataclass

import numpy as np

LEVEL = 0.9


@dataclass(frozen=True)
class Difference:
    """How much higher one error is than the other, in points of percent.

    low, high  an interval of 90 %
    sure       0..1: how sure it is that the sign is right; 1/2 is a guess
    """

    points: float
    low: float
    high: float
    sure: float

    @property
    def clear(self) -> bool:
        """Whether the two can be told apart."""
        return self.low > 0 or self.high < 0


def difference(one: np.ndarray, other: np.ndarray) -> Difference:
    """The error of one way less that of the other.

    one, other  [R, V] bool: whether repeat r was wrong about image v; the same repeats and images in both

    Repeats and images are both taken for a sample of many: in the two-way table of differences the variance of the
    mean is that of the rows' means over R and of the columns' over V, less that of a single cell over R V, which is in
    both (Searle, Casella and McCulloch, "Variance Components", 1992). Student's t, its degrees of freedom after
    Satterthwaite (1946). With one repeat what repeats do is not known, and left out.

    Two images about which the ways disagree prove little, however alike the others are: as if there was half an image
    more in each of the four cells, right or wrong by either (Agresti and Min, "Simple improved confidence intervals for
    comparing matched proportions", 2005), but for the difference itself, which is left as it is.
    """
    from scipy.special import stdtr, stdtrit

    if one.shape != other.shape or one.ndim != 2 or not one.size:
        raise ValueError(f"one and other must be [R, V] of one shape but got {list(one.shape)} and {list(other.shape)}")
    table = 100.0 * (one.astype(np.float64) - other)
    points, (repeats, images) = float(table.mean()), table.shape
    rows, columns = table.mean(axis=1), table.mean(axis=0)
    of_rows = rows.var(ddof=1) / repeats if repeats > 1 else 0.0
    of_columns = (((columns - points) ** 2).sum() + 100.0**2) / (images * (images + 1))
    of_cells = 0.0
    if repeats > 1 and images > 1:
        rest = table - rows[:, None] - columns + points
        of_cells = (rest**2).sum() / ((repeats - 1) * (images - 1)) / (repeats * images)
    variance = max(of_rows + of_columns - of_cells, of_rows, of_columns)
    spread = of_rows**2 / max(1, repeats - 1) + of_columns**2 / max(1, images - 1)
    freedom = (of_rows + of_columns) ** 2 / spread
    deviation = float(np.sqrt(variance))
    reach = float(stdtrit(freedom, (1 + LEVEL) / 2)) * deviation
    low, high = max(-100.0, points - reach), min(100.0, points + reach)
    return Difference(points, low, high, float(stdtr(freedom, abs(points) / deviation)))
