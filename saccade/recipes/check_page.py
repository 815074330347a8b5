"""The page of `saccade check`: what is wrong first, then what the data is like."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from saccade import checkpoint
from saccade.data.check import Checked
from saccade.recipes.contact_sheet import show_image, tiles_of
from saccade.report import data_plots
from saccade.report.page import Cell, Fact, Figure, Listing, Page, Pictures, Prose, Section, Table, Tile, render

# So many findings stand in the page; a set with more has a fault that a few hundred show as well.
SHOWN = 500
DRAWN = 6  # of each kind


def write_check_report(path: Path, checked: Checked) -> None:
    """One HTML page at `path`."""
    source = checked.source
    images = sum(map(len, source.splits.values()))
    splits = ", ".join(f"{len(split):,} {name}" for name, split in source.splits.items())
    facts = [
        Fact("wrong", f"{len(checked.findings):,}", "things" if checked.findings else "nothing was found"),
        Fact("images", f"{images:,}", splits),
        Fact("classes", f"{len(source.classes):,}"),
    ]
    if checked.unit == "objects":
        facts.append(Fact("objects", f"{sum(int(row.sum()) for row in checked.counts.values()):,}"))
    sections = [_findings(checked), *_pictures(checked)]
    if checked.notes:
        sections.append(Section("Worth knowing", [Listing(checked.notes)]))
    caption = f"The {data_plots.MOST_CLASSES} most frequent." if len(source.classes) > data_plots.MOST_CLASSES else ""
    sections.append(
        Section("Classes", [Figure(data_plots.balance(checked.counts, source.classes, checked.unit), caption)])
    )
    if len(checked.sizes):
        plots = data_plots.sizes(checked.sizes)
        if len(shares := _shares(checked)):
            plots += "\n" + data_plots.object_sizes(shares)
        sections.append(Section("Sizes", [Figure(plots, "")]))
    checkpoint.make_folder(path.parent)
    checkpoint.write(path, render(Page(f"Check of {Path(source.name).name}", source.format, facts, sections)))


def _findings(checked: Checked) -> Section:
    if not checked.findings:
        return Section("What is wrong", [Prose("Nothing: every image and every annotation was read.")])
    kinds = Counter(finding.kind for finding in checked.findings)
    summary = Table(("kind", "number"), [(kind, number) for kind, number in kinds.most_common()])
    rows: list[tuple[Cell, ...]]
    rows = [(finding.kind, finding.where, finding.reason, finding.advice) for finding in checked.findings[:SHOWN]]
    more = len(checked.findings) - len(rows)
    table = Table(("kind", "where", "reason", "what to do"), rows, f"{more:,} more are in --json." if more else "")
    return Section("What is wrong", [summary, table])


def _pictures(checked: Checked) -> list[Section]:
    """The images of the first findings of each kind, with what is marked on them."""
    tiles: list[Tile] = []
    seen: Counter[str] = Counter()
    for finding in checked.findings:
        seen[finding.kind] += 1
        if seen[finding.kind] > DRAWN:
            continue
        for split, index in finding.images:
            drawn = tiles_of(show_image(checked.source, split, index, finding.object))[0]
            detail = f"{split}/{checked.source.splits[split].ids[index]}: {finding.reason}"
            tiles.append(replace(drawn, title=finding.kind, detail=detail, good=False))
    caption = (
        f"The first {DRAWN} of each kind: the object that is meant, or all that is marked, where it fits the image."
    )
    return [Section("Where", [Pictures(tiles, caption, large=True)])] if tiles else []


def _shares(checked: Checked) -> np.ndarray:
    """[N] the longer side of each object, relative to the longer side of its image."""
    shares = [np.zeros(0)]
    for split in checked.source.splits.values():
        if split.objects is not None:
            longest = split.objects.sizes.max(axis=1)[split.objects.images]
            sides = (split.objects.boxes[:, 2:] - split.objects.boxes[:, :2]).max(axis=1)
            shares.append(np.clip(sides[longest > 0] / longest[longest > 0], 0, 1))
    return np.concatenate(shares)
