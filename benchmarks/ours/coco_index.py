"""Our index of a COCO file, packed by image: python -m benchmarks.ours.coco_index FILE, or QUANTITY FILE for rounds."""

import sys
from pathlib import Path

from benchmarks.once import do_once, serve_once
from benchmarks.worker import versions
from saccade.data.findings import Findings
from saccade.data.formats.coco_json import index


def main(file: str) -> None:
    do_once(lambda: index(Path(file), Findings()).objects.count)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        main(sys.argv[1])
    else:
        about = versions("msgspec", "numpy")
        serve_once("ours", "benchmarks.ours.coco_index", sys.argv[1], sys.argv[2], about)
