"""saccade convert DATA --to FORMAT OUT"""

from pathlib import Path
from typing import Annotated

import typer

from saccade.cli.options import AsJson, Data, SkipBroken


def convert(
    data: Data,
    out: Annotated[Path, typer.Argument(help="A new folder for the copy.")],
    to: Annotated[str, typer.Option(help="coco, voc, yolo, masks, csv, huggingface or folders.")],
    skip_broken: SkipBroken = False,
    as_json: AsJson = False,
) -> None:
    """Write a data set in another format, and say what that format cannot carry."""
    from saccade.cli.printing import print_json, told_when_interrupted
    from saccade.recipes.convert import convert as run_convert

    with told_when_interrupted(out):
        done = run_convert(data, to, out, skip_broken)
    source = done.source
    if as_json:
        images = {name: len(split) for name, split in source.splits.items()}
        skipped = [vars(finding) for finding in done.skipped]
        print_json(
            {
                "data": str(out),
                "format": to,
                "images": images,
                "notes": list(source.notes),
                "lost": done.lost,
                "skipped": skipped,
            }
        )
        return
    for finding in done.skipped:
        print(f"skipped {finding}")
    for note in source.notes:
        print(f"note: {note}")
    for line in done.lost:
        print(f"not carried: {line}")
    splits = ", ".join(f"{len(split):,} {name}" for name, split in source.splits.items())
    print(f"{out}: {splits} images as {to}")
