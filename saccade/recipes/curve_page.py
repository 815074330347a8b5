"""The page of `saccade curve`: what it says first, then the plot, then every number."""

from typing import TYPE_CHECKING

import numpy as np
import tomli_w

from saccade import __version__, checkpoint
from saccade.recipes.curve_advice import Verdict, errors_at
from saccade.report.curve_plots import BEYOND, Line, learning_curves
from saccade.report.page import Cell, Code, Fact, Figure, Listing, Page, Prose, Section, Table, render

if TYPE_CHECKING:
    from saccade.recipes.curve import Curve

NAN = float("nan")


def write_curve_report(curve: "Curve", verdicts: list[Verdict]) -> None:
    """report.html in the curve's folder."""
    images = len(curve.runs[0].wrong["val"])
    start = f", from {curve.weights}" if curve.weights else ""
    subtitle = f"{', '.join(curve.ways)}{start}; validated on the same {images:,} images throughout"
    sections = [
        Section("What it says", [Listing(curve.advice.words)]),
        Section("Error by images a class", [_plot(curve)]),
        Section("Every size", [_numbers(curve)]),
    ]
    if len(curve.ways) > 1:
        sections.append(Section("Is the advice right?", [Prose(_told(curve, verdicts)), _tested(curve, verdicts)]))
    if curve.laws:
        sections.append(Section("The lines", [_laws(curve)]))
    if curve.failed:
        rows: list[tuple[Cell, ...]] = [(f.adapt, f.size, f.repeat + 1, f.reason) for f in curve.failed]
        sections.append(Section("Could not be trained", [Table(("way", "images a class", "repeat", "reason"), rows)]))
    sections.append(_settings(curve))
    page = Page(f"Learning curves of {curve.model} on {curve.data}", subtitle, _facts(curve), sections)
    checkpoint.write(curve.path / "report.html", render(page))


def _facts(curve: "Curve") -> list[Fact]:
    best, today = curve.advice.best, curve.sizes[-1]
    errors = errors_at(curve.measured, best, today.name)
    facts = [Fact("best today", best, f"at {today.per_class:,.4g} images a class")]
    if len(errors):
        facts.append(Fact("its error", f"{errors.mean():.2f} %", f"mean of {len(errors)}"))
    if curve.advice.doubling:
        points, low, high = curve.advice.doubling
        facts.append(Fact("twice the labels", f"−{points:.2f}", f"points of error, {low:.2f} to {high:.2f}"))
    facts.append(Fact("trainings", f"{len(curve.runs):,}", f"{len(curve.sizes)} sizes"))
    return facts


def _plot(curve: "Curve") -> Figure:
    lines = []
    for way in curve.ways:
        there = [size for size in curve.sizes if (way, size.name) in curve.measured]
        if there:
            errors = [errors_at(curve.measured, way, size.name) for size in there]
            lines.append(Line(way, np.array([size.per_class for size in there]), errors, curve.laws.get(way)))
    return Figure(
        learning_curves(lines, curve.sizes[-1].per_class),
        "Points are means of the repeats, bars reach from the lowest to the highest. Lines are a + b n^-c (Hoiem et "
        f"al. 2021) with bands of 90 %; dashed, up to {BEYOND} times today's size, they are a forecast.",
    )


def _numbers(curve: "Curve") -> Table:
    header = ("size", "images a class", *(f"{way}, %" for way in curve.ways), "lowest")
    rows: list[tuple[Cell, ...]] = []
    for size in curve.sizes:
        cells = [spread(errors_at(curve.measured, way, size.name)) for way in curve.ways]
        mean = int(size.per_class) if size.per_class.is_integer() else size.per_class
        rows.append((size.name, mean, *cells, curve.advice.recommended.get(size.name, "–")))
    return Table(header, rows, "Error on the validation images: mean ± standard deviation of the repeats.")


def spread(errors: np.ndarray) -> str:
    """12.34 ± 0.56, in percent."""
    if not len(errors):
        return "–"
    return f"{errors.mean():.2f}" + (f" ± {errors.std(ddof=1):.2f}" if len(errors) > 1 else "")


def _told(curve: "Curve", verdicts: list[Verdict]) -> str:
    right = sum(verdict.right for verdict in verdicts)
    if "test" in curve.runs[0].wrong:
        how = "What the validation images recommend is tried on the test images, which had no part in it"
    else:
        how = "One half of the validation images recommends, the other half is what that is tried on"
    return (
        f"{how}. It was right at {right} of {len(verdicts)} sizes: nothing showed that another way would have been "
        "better there (the interval of 90 % of the paired difference, over repeats and images, reaches down to 0). "
        "It cannot tell where another was ahead by no more than chance explains."
    )


def _tested(curve: "Curve", verdicts: list[Verdict]) -> Table:
    header = ("size", "recommended", *(f"{way}, %" for way in curve.ways), "behind the best other", "right")
    rows: list[tuple[Cell, ...]] = []
    for verdict in verdicts:
        apart = verdict.behind
        behind = _ranged(apart.points, apart.low, apart.high).replace("-", "−") if apart else "–"
        errors = [verdict.errors.get(way, NAN) for way in curve.ways]
        rows.append((verdict.size, verdict.chosen, *errors, behind, verdict.answer))
    return Table(header, rows, "Behind in points, in brackets 90 %; below 0 the recommended way was ahead.")


def _laws(curve: "Curve") -> Table:
    today = curve.sizes[-1].per_class
    header = ("way", "a, %", "b, %", "c", "c is", "today, %", "twice, %", "four times, %")
    rows: list[tuple[Cell, ...]] = []
    for way, law in curve.laws.items():
        at = [_ranged(*law.at(today * times)) for times in (1, 2, 4)]
        rows.append((way, law.a, law.b, law.c, "fitted" if law.free else "assumed", *at))
    caption = "error(n) = a + b n^-c of the mean; in brackets 90 %. Without enough points c = 1/2 is assumed."
    return Table(header, rows, caption)


def _ranged(error: float, low: float, high: float) -> str:
    return f"{error:.2f} ({low:.2f} to {high:.2f})"


def _settings(curve: "Curve") -> Section:
    settings = {way: checkpoint.without_none(config.model_dump(mode="json")) for way, config in curve.configs.items()}
    head = {"saccade": __version__, "model": curve.model, "weights": curve.weights, "data": curve.data}
    return Section("Settings", [Code(tomli_w.dumps(head | settings))], open=False)
