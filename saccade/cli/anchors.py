"""saccade anchors DATA"""

from pathlib import Path
from typing import Annotated

import typer

from saccade.cli.options import AsJson, Data, SkipBroken


def anchors(
    data: Data,
    count: Annotated[int, typer.Option(min=1, help="How many: 9 for yolov3, 6 for yolov3_tiny.")] = 9,
    size: Annotated[int, typer.Option(min=1, help="Side in pixels of what the network will see.")] = 416,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Draw boxes and anchors there, an .svg file.")] = None,
    skip_broken: SkipBroken = False,
    as_json: AsJson = False,
) -> None:
    """Find the anchors that fit the boxes of the training images, for YOLOv3. `saccade fit` does so by itself."""
    from saccade.cli.printing import print_json
    from saccade.data.findings import Findings
    from saccade.recipes.anchors import find_anchors
    from saccade.tasks.detect.anchor_shapes import as_settings
    from saccade.wording import counted

    findings = Findings(strict=not skip_broken)
    found = find_anchors(data, count, size, out, findings=findings)
    shapes = as_settings(found.shapes)
    mean, good = float(found.overlaps.mean()), float((found.overlaps > 0.5).mean())
    if as_json:
        skipped = [vars(finding) for finding in findings.kept]
        counts = {"anchors": shapes, "boxes": len(found.sides), "mean_overlap": mean, "above_half": good}
        print_json(counts | {"skipped": skipped})
        return
    for finding in findings.kept:
        print(f"skipped {finding}")
    print(f"anchors={shapes}")
    print(
        f"{counted(len(found.sides), 'box', 'boxes')}: the likest anchor overlaps them by {100 * mean:.1f} % on "
        f"average, {100 * good:.1f} % of them by more than half"
    )
    if out is not None:
        print(f"drawn: {out}")
