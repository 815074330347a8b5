"""A look at all of a data set, as a page, and as a repaired copy."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saccade import checkpoint
from saccade.data.check import Checked
from saccade.data.check import check as look_at
from saccade.data.findings import DataError, Findings, told
from saccade.data.formats.catalogue import FORMATS, WRITABLE, write
from saccade.data.formats.writing import refuse_filled
from saccade.data.repair import Change, repair
from saccade.data.source import Source, read
from saccade.errors import UsageError
from saccade.recipes.check_page import write_check_report


@dataclass(frozen=True)
class Checkup:
    """What a look at a data set gave.

    report   the page, where one was asked for
    fixed    the repaired copy, where one was asked for
    changes  what is different in it
    listed   the table of these changes, beside the copy: inside, it might be taken for annotations
    lost     what its format cannot carry, in words
    """

    checked: Checked
    report: Path | None
    fixed: Path | None
    changes: list[Change]
    listed: Path | None
    lost: list[str]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        written = {"report": self.report, "fixed": self.fixed, "listed": self.listed}
        return (
            self.checked.as_dict()
            | {name: str(path) for name, path in written.items() if path}
            | ({"changes": [vars(change) for change in self.changes], "lost": self.lost} if self.fixed else {})
        )


def check(data: str | Path, out: Path | None = None, fix: Path | None = None) -> Checkup:
    """Look at every image and annotation of DATA.

    out  where to write an HTML report
    fix  a new folder for a repaired copy, in the same format; beside it comes <fix>.changes.csv

    Raises UsageError when the copy cannot be written there; DataError when the set cannot be read at all, or when a
    repair leaves nothing of it.
    """
    if fix is not None:
        refuse_filled(fix)  # before all images are looked at, not after
    findings = Findings(strict=False)
    source = read(data, findings)
    if fix is not None and source.has("targets"):
        raise UsageError(f"{data} holds pairs of images, and a copy of such a set cannot be written; leave out --fix")
    checked = look_at(source, findings.kept)
    if out is not None:
        write_check_report(out, checked)
    if fix is None:
        return Checkup(checked, out, None, [], None, [])
    repaired, changes = repair(checked, findings.kept)
    if not repaired.splits or _emptied(source, repaired, bool(findings.kept)):
        nothing = "no object" if repaired.splits else "no image"
        raise DataError(f"{data}: a repaired copy would hold {nothing}:\n{told(checked.findings)}")
    listed = fix.resolve().with_name(f"{fix.resolve().name}.changes.csv")
    if listed.exists():
        raise UsageError(f"{listed} is there already; name another folder for the repaired copy, or remove that file")
    lost = write(repaired, _format_of(source), fix)
    checkpoint.write(listed, _as_csv(changes))
    return Checkup(checked, out, fix, changes, listed, lost)


def _emptied(before: Source, after: Source, some_left_out: bool) -> bool:
    """Whether a set of objects has none any more."""
    had, has = (sum(s.objects.count for s in own.splits.values() if s.objects) for own in (before, after))
    return (had > 0 or some_left_out) and not has and before.has("objects")


def _format_of(source: Source) -> str:
    """The format to write a repaired copy in: its own where that can be written, else the one that carries the most."""
    own = next((name for name, form in FORMATS.items() if source.format == form.NAME), None)
    if own in WRITABLE:
        return own
    return "folders" if source.has("labels") else "coco" if source.has("objects") else "masks"


def _as_csv(changes: list[Change]) -> str:
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(("where", "what was wrong", "what was done"))
    writer.writerows((change.where, change.reason, change.change) for change in changes)
    return file.getvalue()
