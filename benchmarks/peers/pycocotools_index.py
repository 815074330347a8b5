"""pycocotools' index: python -m benchmarks.peers.pycocotools_index FILE, or QUANTITY FILE for rounds."""

import sys

from pycocotools.coco import COCO

from benchmarks.once import do_once, serve_once
from benchmarks.worker import versions


def main(file: str) -> None:
    do_once(lambda: len(COCO(file).anns))


if __name__ == "__main__":
    if len(sys.argv) == 2:
        main(sys.argv[1])
    else:
        serve_once(
            "peer", "benchmarks.peers.pycocotools_index", sys.argv[1], sys.argv[2], versions("pycocotools", "numpy")
        )
