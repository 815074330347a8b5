"""saccade check DATA"""

from typing import Annotated

import typer

from saccade.cli.options import AsJson


def check(
    data: Annotated[str, typer.Argument(help="A folder of class folders or idx files, or: digits, photos.")],
    as_json: AsJson = False,
) -> None:
    """Look at every image once and say what is wrong with the data. Exits with 1 when something is."""
    from saccade.cli.printing import print_json, print_table
    from saccade.data.check import check as run_check
    from saccade.data.source import read

    checked = run_check(read(data))
    if as_json:
        print_json(checked.as_dict())
    else:
        source = checked.source
        print(
            f"{source.name}: {source.format}, {sum(map(len, source.splits.values()))} images, "
            f"{len(source.classes)} classes"
        )
        rows = [(name, *(int(row[k]) for row in checked.counts.values())) for k, name in enumerate(source.classes)]
        print_table(("class", *checked.counts), rows)
        for note in checked.notes:
            print(f"note: {note}")
        for finding in checked.findings:
            print(f"{finding.kind}: {finding.where}: {finding.reason}; {finding.advice}")
        print(f"{len(checked.findings)} things are wrong" if checked.findings else "nothing is wrong")
    if checked.findings:
        raise typer.Exit(1)
