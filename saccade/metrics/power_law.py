"""How the error falls as training images are added: error(n) = a + b n^-c, with what is not known about it.

Hoiem, Gupta, Li and Shlapentokh-Rothman, "Learning Curves for Analysis of Deep Networks" (ICML 2021), section 3; there
alpha, eta and -gamma. As in the paper, a and b are weighted least squares for each c of a grid, and c = 1/2 stands in
where c cannot be had. Unlike there,

- a and b are never negative: no error is below 0, and images do no harm;
- c is not drawn to 1/2 by a penalty. It is free where the points determine it, and 1/2 where they do not, since a law
  whose c is half data and half habit tells nobody which;
- uncertainty comes from refitting to points that are drawn anew (the parametric bootstrap), because at the bounds of
  a and b, and of the error itself, a covariance means little.
"""

from dataclasses import dataclass

import numpy as np

from saccade import keyed

LOWEST, HIGHEST, USUAL = 0.05, 2.0, 0.5  # of c
GRID = np.linspace(LOWEST, HIGHEST, 196)
FEWEST = 4  # distinct sizes: three unknowns, and one to tell a good law from a bad one
DRAWS = 1000
TAILS = (5.0, 95.0)  # percent: what an interval of 90 % leaves out on either side
NORMAL_90 = 2.706  # the square of 1.645: how much worse a fit may be than the best and still be believed, at 90 %
# A variance of so few repeats is hardly known; the others' counts like so many degrees of freedom.
BORROWED = 4


@dataclass(frozen=True, eq=False)
class PowerLaw:
    """error(n) = a + b n^-c, in percent.

    a      what no number of images takes away
    b      what a single image a class would leave above that
    c      how fast it goes
    free   whether c was determined by the points; else it is 1/2
    first  the smallest size it was fitted to, images a class; what is below may be another matter
    draws  [S, 3] float64 a, b, c of laws that would fit as well
    """

    a: float
    b: float
    c: float
    free: bool
    first: float
    draws: np.ndarray

    def error(self, sizes: np.ndarray | float) -> np.ndarray:
        """The error in percent, 0..100, at sizes [...]."""
        return np.clip(self.a + self.b * np.asarray(sizes, dtype=np.float64) ** -self.c, 0, 100)

    def drawn(self, sizes: np.ndarray | float) -> np.ndarray:
        """[S, N] float64: the error in percent, 0..100, by each of the draws at sizes [N]."""
        a, b, c = self.draws.T[:, :, None]
        return np.clip(a + b * np.atleast_1d(np.asarray(sizes, dtype=np.float64)) ** -c, 0, 100)

    def at(self, size: float) -> tuple[float, float, float]:
        """(error, low, high) in percent at one size, an interval of 90 %."""
        return _interval(float(self.error(size)), self.drawn(size)[:, 0])

    def drop(self, size: float, later: float) -> tuple[float, float, float]:
        """(points, low, high) by which the error falls from one size to a later one, an interval of 90 %."""
        first, second = self.drawn(np.array([size, later])).T
        return _interval(float(self.error(size) - self.error(later)), first - second)


def _interval(value: float, draws: np.ndarray) -> tuple[float, float, float]:
    low, high = np.percentile(draws, TAILS)
    # The law itself is one that fits.
    return value, min(value, float(low)), max(value, float(high))


def fit_power_law(sizes: np.ndarray, errors: np.ndarray, deviations: np.ndarray, seed: int = 0) -> PowerLaw:
    """The law that fits best, 0 <= a, 0 <= b, 0.05 <= c <= 2.

    sizes       [N] float, images a class, above 0; at least two that differ
    errors      [N] float, percent, 0..100
    deviations  [N] float, percent, above 0: the standard deviation of each error, as `deviations_of` has it
    seed        of the draws

    Where the points lie further from the law than the deviations say, the deviations are taken for that much too small.
    Raises ValueError for other arrays than these.
    """
    sizes, errors, deviations = (np.asarray(array, dtype=np.float64) for array in (sizes, errors, deviations))
    _check(sizes, errors, deviations)
    fixed, fixed_misfit = _best(sizes, errors[None], deviations, np.array([USUAL]))
    law, free = fixed[0], False
    distinct = len(np.unique(sizes))
    if distinct >= FEWEST:
        _, _, misfits = _for_each_c(sizes, errors[None], deviations, GRID)
        best, misfit = _refined(sizes, errors, deviations)
        excess = max(1.0, misfit / (len(sizes) - 3)) if len(sizes) > 3 else 1.0
        good = GRID[misfits[0] <= misfit + NORMAL_90 * excess]
        free = bool(best[1] > 0 and (len(good) == 0 or good[-1] - good[0] < (HIGHEST - LOWEST) / 2))
        law = best if free else law
    else:
        excess = max(1.0, float(fixed_misfit[0]) / (len(sizes) - 2)) if len(sizes) > 2 else 1.0
    noise = keyed.generator(seed, "power law").normal(size=(DRAWS, len(sizes))) * deviations * np.sqrt(excess)
    expected = law[0] + law[1] * sizes ** -law[2]
    # With c fixed for want of sizes the draws keep it too; else it goes where each draw takes it.
    draws, _ = _best(sizes, expected + noise, deviations, GRID if distinct >= FEWEST else np.array([USUAL]))
    return PowerLaw(float(law[0]), float(law[1]), float(law[2]), free, float(sizes.min()), draws)


def deviations_of(sizes: np.ndarray, errors: list[np.ndarray], images: int) -> np.ndarray:
    """[N] float64, percent: the standard deviation of the mean error at each size.

    sizes   [N] float, images a class
    errors  N arrays of the repeats' errors in percent, one each at least
    images  how many they were measured on

    Two things make a mean uncertain. Repeats differ: as in the paper, their variance is taken to fall with 1/n, fitted
    to all sizes together, since two or three repeats know little of their own; but where there are many, theirs counts
    more. And all repeats are measured on the same images, of which there are only so many: p (1 - p) / images, in the
    place of the paper's constant. A right answer more and a wrong one more keep it above 0.
    """
    repeats = np.array([len(row) for row in errors])
    means = np.array([row.mean() for row in errors])
    shares = (means / 100 * images + 1) / (images + 2)
    chance = 100**2 * shares * (1 - shares) / images
    several = repeats > 1
    if not several.any():
        return np.sqrt(chance)
    inverse = 1 / np.asarray(sizes, dtype=np.float64)
    own = np.array([row.var(ddof=1) if len(row) > 1 else 0.0 for row in errors])
    freedom = np.maximum(repeats - 1, 0)
    slope = (freedom * own * inverse).sum() / (freedom * inverse**2).sum()
    variance = (BORROWED * slope * inverse + freedom * own) / (BORROWED + freedom)
    return np.sqrt(chance + variance / repeats)


def _check(sizes: np.ndarray, errors: np.ndarray, deviations: np.ndarray) -> None:
    if sizes.ndim != 1 or not sizes.shape == errors.shape == deviations.shape:
        raise ValueError(
            f"sizes, errors and deviations must be [N] but got {[list(a.shape) for a in (sizes, errors, deviations)]}"
        )
    if len(np.unique(sizes)) < 2 or sizes.min() <= 0:
        raise ValueError(f"a law needs two different sizes above 0 but got {sizes.tolist()}")
    if not (np.isfinite(errors).all() and (deviations > 0).all() and np.isfinite(deviations).all()):
        raise ValueError("errors must be finite, and deviations finite and above 0")


def _for_each_c(
    sizes: np.ndarray, errors: np.ndarray, deviations: np.ndarray, c: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(a, b, misfit), each [S, C] float64: the best non-negative a and b for each c [C], to errors [S, N].

    The misfit is the sum of squares in units of the deviations. Two unknowns that may not be negative need no solver:
    either both are free, or one of them is 0 and the other is a mean.
    """
    weights = deviations**-2.0
    powers = sizes ** -c[:, None]  # [C, N]
    w, wx, wxx = weights.sum(), powers @ weights, powers**2 @ weights
    wy, wxy = (errors @ weights)[:, None], errors * weights @ powers.T  # [S, 1], [S, C]
    a = (wxx * wy - wx * wxy) / (w * wxx - wx**2)
    b = (w * wxy - wx * wy) / (w * wxx - wx**2)
    level, slope = np.maximum(wy / w, 0), np.maximum(wxy / wxx, 0)
    a, b = np.where(b < 0, level, np.where(a < 0, 0, a)), np.where(b < 0, 0, np.where(a < 0, slope, b))
    apart = errors[:, None] - a[..., None] - b[..., None] * powers
    return a, b, (apart**2) @ weights


def _best(
    sizes: np.ndarray, errors: np.ndarray, deviations: np.ndarray, c: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """a, b, c [S, 3] of the best law with one of these c, and its misfit [S]."""
    a, b, misfit = _for_each_c(sizes, errors, deviations, c)
    place = misfit.argmin(axis=1)
    rows = np.arange(len(errors))
    return np.stack([a[rows, place], b[rows, place], c[place]], axis=1), misfit[rows, place]


def _refined(sizes: np.ndarray, errors: np.ndarray, deviations: np.ndarray) -> tuple[np.ndarray, float]:
    """a, b, c [3] of the best law, c to nine places: a finer grid around the best of the last, again and again."""
    law, misfit = _best(sizes, errors[None], deviations, GRID)
    step = GRID[1] - GRID[0]
    for _ in range(4):
        grid = np.clip(law[0, 2] + np.linspace(-step, step, 101), LOWEST, HIGHEST)
        law, misfit = _best(sizes, errors[None], deviations, grid)
        step /= 50
    return law[0], float(misfit[0])
