"""The annotations that are indexed: the same file for both sides."""

import json
from pathlib import Path

import numpy as np

BOXES, IMAGES, CLASSES = 1_000_000, 100_000, 80


def write(file: Path) -> None:
    """A COCO file of a million boxes with their areas, without masks, on 100,000 images in no order; some 130 MB."""
    rng = np.random.default_rng(0)
    images = [{"license": 1, "file_name": f"{n:012}.jpg", "height": 480, "width": 640, "id": n} for n in range(IMAGES)]
    corners = np.round(rng.random((BOXES, 4)) * [600, 440, 40, 40], 2)
    annotations = [
        {"area": round(box[2] * box[3], 3), "iscrowd": 0, "image_id": image, "bbox": box, "category_id": k, "id": n}
        for n, (box, image, k) in enumerate(
            zip(
                corners.tolist(),
                rng.integers(IMAGES, size=BOXES).tolist(),
                rng.integers(1, CLASSES + 1, size=BOXES).tolist(),
                strict=True,
            ),
            start=1,
        )
    ]
    categories = [{"id": k, "name": f"class {k}", "supercategory": "thing"} for k in range(1, CLASSES + 1)]
    with file.open("w") as opened:
        json.dump({"info": {}, "images": images, "annotations": annotations, "categories": categories}, opened)
