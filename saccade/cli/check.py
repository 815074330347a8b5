"""saccade check DATA"""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saccade.cli.options import AsJson, Data

if TYPE_CHECKING:
    from saccade.recipes.check import Checkup

# So many findings of one kind are printed; the page and --json have more of them.
PRINTED = 20


def check(
    data: Data,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write an HTML report there.")] = None,
    fix: Annotated[Path | None, typer.Option(help="Write a repaired copy into this new folder.")] = None,
    as_json: AsJson = False,
) -> None:
    """Look at every image and annotation once and say what is wrong with them. Exits with 1 when something is."""
    from saccade.cli.printing import print_json, told_when_interrupted
    from saccade.recipes.check import check as run_check

    with told_when_interrupted(fix):
        checkup = run_check(data, out, fix)
    if as_json:
        print_json(checkup.as_dict())
    else:
        _print(checkup)
    if checkup.checked.findings:
        raise typer.Exit(1)


def _print(checkup: "Checkup") -> None:
    from saccade.cli.printing import print_table
    from saccade.wording import counted

    checked = checkup.checked
    source = checked.source
    images = sum(map(len, source.splits.values()))
    print(f"{source.name}: {source.format}, {images:,} images, {len(source.classes)} classes")
    rows = [(name, *(int(row[k]) for row in checked.counts.values())) for k, name in enumerate(source.classes)]
    print_table(("class", *(f"{name} {checked.unit}" for name in checked.counts)), rows)
    for note in checked.notes:
        print(f"note: {note}")
    seen: Counter[str] = Counter()
    for finding in checked.findings:
        seen[finding.kind] += 1
        if seen[finding.kind] <= PRINTED:
            print(f"{finding.kind}: {finding}")
    for kind, number in seen.items():
        if number > PRINTED:
            print(f"{kind}: {number - PRINTED:,} more; --out FILE.html or --json shows them")
    found = len(checked.findings)
    print("nothing is wrong" if not found else f"{counted(found, 'thing is', 'things are')} wrong")
    if checkup.report:
        print(f"report: {checkup.report}")
    if checkup.fixed:
        changes = counted(len(checkup.changes), "change", "changes")
        print(f"repaired copy: {checkup.fixed} ({changes}, listed in {checkup.listed})")
        for line in checkup.lost:
            print(f"not carried: {line}")
