"""What the learning curves say, in words; computed from what was measured and from the laws, nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from saccade.metrics.paired import Difference, difference
from saccade.metrics.power_law import PowerLaw
from saccade.recipes.curve_runs import ALL, Size

# By way and size: for each repeat that was trained, [V] bool, about which images it was wrong.
Measured = Mapping[tuple[str, str], Mapping[int, np.ndarray]]

FAR = 10  # times today's size: further than that nobody should read a line
SURE, LIKELY = 0.9, 0.5  # so many of the draws must cross before it is said without a "may", and at all
OFF = 0.3  # a line this share of the error off what was measured at today's size is no forecast
POINTS = 600  # of the grid on which lines are compared


@dataclass(frozen=True)
class Crossing:
    """Where two lines cross: below this size `below` has the lower error, above it `above`.

    size       images a class
    low, high  an interval of 90 %, of those draws of the two laws that cross this way round at all
    share      0..1: how many do
    """

    below: str
    above: str
    size: float
    low: float
    high: float
    share: float


@dataclass(frozen=True)
class Advice:
    """What to do.

    recommended  by the size's name: the way with the lowest mean error
    best         the way that is recommended at today's size, the largest that was trained
    rivals       by way: how much higher its error is at that size
    crossings    of the lines of each two ways, from the smallest size to ten times today's
    apart        the pairs whose lines do not cross there
    doubling     (points, low, high) that twice the labels would bring the best way; None without a law
    words        all of it, one thought an entry
    """

    recommended: dict[str, str]
    best: str
    rivals: dict[str, Difference]
    crossings: list[Crossing]
    apart: list[tuple[str, str]]
    doubling: tuple[float, float, float] | None
    words: list[str]


@dataclass(frozen=True)
class Verdict:
    """Advice for one size, tried on images that had no part in it.

    errors   by way, in percent, on those images
    rival    the way that did best there, of the others
    behind   the recommended way's error less the rival's
    right    whether nothing shows that any other way would have been better
    """

    size: str
    chosen: str
    errors: dict[str, float]
    rival: str
    behind: Difference | None
    right: bool

    @property
    def answer(self) -> str:
        """ "yes" where no other way did better, "no" where one clearly did, else "cannot tell"."""
        if not self.right:
            return "no"
        better = any(error < self.errors[self.chosen] for error in self.errors.values()) if self.errors else False
        return "cannot tell" if better else "yes"


def errors_at(measured: Measured, way: str, size: str) -> np.ndarray:
    """[R] float64, percent: of each repeat; empty where none was trained."""
    return np.array([100 * row.mean() for row in measured.get((way, size), {}).values()])


def recommend(measured: Measured, ways: Sequence[str], size: str) -> str | None:
    """The way with the lowest mean error; of equal ones the first. None where nothing could be trained."""
    means = {way: errors_at(measured, way, size).mean() for way in ways if measured.get((way, size))}
    return min(means, key=lambda way: means[way]) if means else None


def compare(measured: Measured, size: str, one: str, other: str) -> Difference | None:
    """The error of one way less that of the other, over the repeats that both have; None when there are none."""
    first, second = measured.get((one, size), {}), measured.get((other, size), {})
    both = sorted(first.keys() & second.keys())
    if not both:
        return None
    return difference(np.stack([first[r] for r in both]), np.stack([second[r] for r in both]))


def crossings(laws: Mapping[str, PowerLaw], one: str, other: str, first: float, last: float) -> list[Crossing]:
    """Where the lines of two ways cross between two sizes, where both have a line; at most twice."""
    grid = np.geomspace(max(first, laws[one].first, laws[other].first), last, POINTS)
    gap = laws[one].error(grid) - laws[other].error(grid)
    drawn = laws[one].drawn(grid) - laws[other].drawn(grid)
    found = []
    for place in np.flatnonzero((gap[:-1] < 0) & (gap[1:] >= 0) | (gap[:-1] > 0) & (gap[1:] <= 0)):
        rising = 1 if gap[place] < 0 else -1
        size = _zero(laws[one], laws[other], grid[place], grid[place + 1])
        changes = (rising * drawn[:, :-1] < 0) & (rising * drawn[:, 1:] >= 0)
        crossed = changes.any(axis=1)
        where = np.append(grid[changes[crossed].argmax(axis=1)], size)
        low, high = np.percentile(where, (5, 95))
        below, above = (one, other) if rising > 0 else (other, one)
        found.append(Crossing(below, above, size, min(size, low), max(size, high), float(crossed.mean())))
    return found


def _zero(one: PowerLaw, other: PowerLaw, low: float, high: float) -> float:
    """Where the lines meet between two sizes at which their order differs, by halving."""
    first = np.sign(one.error(low) - other.error(low))
    for _ in range(60):
        middle = np.sqrt(low * high)
        if np.sign(one.error(middle) - other.error(middle)) == first:
            low = middle
        else:
            high = middle
    return float(high)


def advise(measured: Measured, laws: Mapping[str, PowerLaw], ways: Sequence[str], sizes: Sequence[Size]) -> Advice:
    """All that can be said. At least one way must have been trained at one size."""
    chosen = {size.name: recommend(measured, ways, size.name) for size in sizes}
    recommended = {name: way for name, way in chosen.items() if way is not None}
    today = next(size for size in reversed(sizes) if size.name in recommended)
    best = recommended[today.name]
    rivals = {way: compare(measured, today.name, way, best) for way in ways if way != best}
    known = {way: found for way, found in rivals.items() if found is not None}
    pairs = [(a, b) for k, a in enumerate(ways) for b in ways[k + 1 :] if a in laws and b in laws]
    met = {pair: crossings(laws, *pair, sizes[0].per_class, FAR * today.per_class) for pair in pairs}
    doubling = laws[best].drop(today.per_class, 2 * today.per_class) if best in laws else None
    found = [crossing for pair in pairs for crossing in met[pair] if crossing.share >= LIKELY]
    apart = [pair for pair in pairs if not met[pair]]
    words = [
        _today(measured, today, best, known),
        *_by_size(recommended),
        *_where(found, apart, laws, today),
        _doubled(laws.get(best), today, best, doubling, float(errors_at(measured, best, today.name).mean())),
        "In brackets: intervals of 90 %.",
    ]
    return Advice(recommended, best, known, found, apart, doubling, words)


def verdicts(choosing: Measured, testing: Measured, ways: Sequence[str], sizes: Sequence[Size]) -> list[Verdict]:
    """The recommendation of every size, made from some images, tried on others.

    It is wrong where another way is better there by more than chance explains: the interval of 90 % of the paired
    difference, over repeats and images, lies above 0.
    """
    found = []
    for size in sizes:
        chosen = recommend(choosing, ways, size.name)
        if chosen is None:
            continue
        errors = {way: errors_at(testing, way, size.name) for way in ways}
        means = {way: float(row.mean()) for way, row in errors.items() if len(row)}
        others = {way: compare(testing, size.name, chosen, way) for way in means if way != chosen}
        rival = min(others, key=lambda way: means[way]) if others else ""
        right = all(apart is None or apart.low <= 0 for apart in others.values())
        found.append(Verdict(size.name, chosen, means, rival, others.get(rival), right))
    return found


def _today(measured: Measured, today: Size, best: str, rivals: Mapping[str, Difference]) -> str:
    errors = errors_at(measured, best, today.name)
    spread = f", {errors.min():.2f} to {errors.max():.2f} in {len(errors)} repeats" if len(errors) > 1 else ""
    whole = ", all there are," if today.name == ALL else ", the most that was trained on,"
    text = f"At {_number(today.per_class)} images a class{whole} {best} has the lowest error: "
    text += f"{errors.mean():.2f} %{spread}."
    for way, apart in rivals.items():
        interval = f"{apart.low:.2f} to {apart.high:.2f}, {min(99.9, 100 * apart.sure):.3g} % sure"
        if apart.clear:
            text += f" {way} is {apart.points:.2f} points behind ({interval})."
        else:
            text += f" {way} cannot be told apart from it: {apart.points:.2f} points behind ({interval})."
    return text


def _by_size(recommended: Mapping[str, str]) -> list[str]:
    """Which way at which sizes; nothing where there is no choice."""
    if len(set(recommended.values())) < 2:
        return (
            [f"{next(iter(recommended.values()))} has the lowest error at every size."] if len(recommended) > 1 else []
        )
    by_way: dict[str, list[str]] = {}
    for size, way in recommended.items():
        by_way.setdefault(way, []).append(size)
    return ["The lowest error is that of " + "; ".join(f"{way} at {', '.join(s)}" for way, s in by_way.items()) + "."]


def _where(
    found: Sequence[Crossing], apart: Sequence[tuple[str, str]], laws: Mapping[str, PowerLaw], today: Size
) -> list[str]:
    sentences = []
    for crossing in found:
        sure = crossing.share >= SURE
        unsure = "" if sure else f"; {100 * crossing.share:.0f} % of the lines that would fit do"
        sentences.append(
            f"The lines of {crossing.below} and {crossing.above} {'cross' if sure else 'may cross'} at about "
            f"{_number(crossing.size)} images a class ({_number(crossing.low)} to {_number(crossing.high)}{unsure}): "
            f"with fewer {crossing.below} is better, with more {crossing.above}."
        )
    for one, other in apart:
        lower, higher = sorted((one, other), key=lambda way: float(laws[way].error(today.per_class)))
        sentences.append(
            f"The line of {lower} stays below that of {higher} up to {_number(FAR * today.per_class)} images a class, "
            f"ten times today's size."
        )
    return sentences


def _doubled(
    law: PowerLaw | None, today: Size, best: str, doubling: tuple[float, float, float] | None, measured: float
) -> str:
    if law is None or doubling is None:
        return f"What more labels would bring {best} cannot be said: a line needs two sizes at which it learnt."
    before, after = float(law.error(today.per_class)), float(law.error(2 * today.per_class))
    if abs(before - measured) > max(1.0, OFF * measured):
        return (
            f"What more labels would bring {best} cannot be said: its line is at {before:.2f} % where {measured:.2f} % "
            f"was measured. More sizes would show how it falls."
        )
    points, low, high = doubling
    text = (
        f"Twice the labels, {_number(2 * today.per_class)} a class, would bring {best} from {before:.2f} % to "
        f"{after:.2f} % by its line: {points:.2f} points ({low:.2f} to {high:.2f})."
    )
    return text if law.free else f"{text} How fast the line falls is an assumption, c = 1/2."


def _number(value: float) -> str:
    """143.8, 1,440: as many places as help."""
    return f"{value:,.0f}" if value >= 100 or abs(value - round(value)) < 0.05 else f"{value:.1f}"
