"""The detectors side by side: the same scenes, one scorer, one processor, 15 minutes or less each.

    python examples/scenes/detectors.py runs/detectors

Those of one look see the 128 pixels of `scenes-128` enlarged to 224, those of two stages enlarged to 192; the epochs
are what two cores do in a quarter of an hour (with keypoints, which learn last, in 18 minutes). Those on a MobileNetV2
or a SqueezeNet start from ImageNet's weights, the others from nothing. A run directory that is finished is not run
again. Writes `table.md` and `plot.svg` beside the runs.
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import saccade
from saccade.report.canvas import BLUE, VERMILION, as_svg, draw_figure

SIZE = 224
MOBILE = {"backbone": "mobilenet_v2"}
# Squares of 20 to 72 pixels: a digit has 15 to 67.
SQUEEZED = {"backbone": "squeezenet1_0", "side": SIZE, "smallest": 0.09, "largest": 0.32, "count": 3, "neck": 128}
SAME: dict[str, Any] = {
    "size": SIZE,
    "batch_size": 16,
    "hold_out": 0.0,  # all 2,000 scenes; the 500 of the test are looked at once, at the end
    "validate_every": 1000,
    "augmentation": {
        "zoom": (0.8, 1.0),
        "rotate": 10,
        "shear": 8,
        "brightness": 0.2,
        "contrast": 0.2,
        "saturation": 0.2,
        "hue": 0.02,
    },
}
PRETRAINED: dict[str, Any] = {"weights": "imagenet", "norms": "learn", "frozen": 0}
AVERAGED: dict[str, Any] = {"learning_rate": 1e-3, "ema": 0.998}
TWO_STAGES: dict[str, Any] = PRETRAINED | AVERAGED | {"size": 192}
PYRAMID = MOBILE | {"width": 64, "hidden": 256, "smallest": 24, "sampled": 64}
ENDS = {"sampled": 48, "margin": 0.15, "overlap": 0.7, "batch_norm": True, "rescore": True, "smooth": 3.0}
# Its map of stride 16 and the stride of 2 behind it make just the 7 x 7 cells.
GRID = {"backbone": "squeezenet1_0", "width": 256, "hidden": 1024, "dropout": 0.2}
MORE = {"several": 0.3, "giou": 3.0}
TINY: dict[str, Any] = AVERAGED | {"learning_rate": 2e-3, "weight_decay": 0.05, "batch_size": 8, "network": MORE}


@dataclass(frozen=True)
class Entry:
    """One detector: how many epochs make 15 minutes, and what it is given besides."""

    epochs: int
    options: dict[str, Any] = field(default_factory=dict)


ENTRIES = {
    "fasterrcnn_fpn": Entry(14, TWO_STAGES | {"network": PYRAMID}),
    "maskrcnn_fpn": Entry(10, TWO_STAGES | {"network": PYRAMID}),
    "keypointrcnn_fpn": Entry(
        20,
        TWO_STAGES
        | {"learning_rate": 2e-3, "network": PYRAMID | ENDS}
        | {"augmentation": SAME["augmentation"] | {"shear": 0}},
    ),
    "yolov1": Entry(20, PRETRAINED | AVERAGED | {"learning_rate": 1e-4, "network": GRID}),
    "yolov3": Entry(11, PRETRAINED | AVERAGED | {"network": MOBILE | MORE}),
    "yolov3_tiny": Entry(27, TINY),
    "ssd": Entry(16, PRETRAINED | AVERAGED | {"batch_size": 8, "network": SQUEEZED}),
    "aligned_nano": Entry(30),
    "aligned_small": Entry(16, PRETRAINED),
    "aligned_medium": Entry(16),
}


@dataclass(frozen=True)
class Row:
    """What came out.

    size     pixels of a side
    ap       and `ap50`: of the boxes, percent
    speed    images a second, one at a time
    weights  millions
    minutes  of training
    """

    name: str
    size: int
    ap: float
    ap50: float
    speed: float
    weights: float
    epochs: int
    minutes: float


def measure(name: str, folder: Path) -> Row:
    """Train where nobody has, then score and time."""
    data, entry = "scenes-128", ENTRIES[name]
    if not (folder / "report.html").exists():
        saccade.fit(data, model=name, out=folder, epochs=entry.epochs, quiet=True, **(SAME | entry.options))
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    predictor = saccade.load(folder, precision="auto")
    result = saccade.evaluate(folder, data).result
    pictures = [saccade.read(data).splits["test"].open(n).pixels("RGB")[0] for n in range(60)]
    seconds = []
    for picture in pictures:
        begun = time.perf_counter()
        predictor(picture)
        seconds.append(time.perf_counter() - begun)
    weights = sum(weight.numel() for weight in predictor.model.parameters()) / 1e6
    speed, minutes = 1 / statistics.median(seconds[10:]), lines[-1]["timing/seconds"] / 60
    size = (SAME | entry.options)["size"]
    return Row(name, size, result["box/AP"], result["box/AP50"], speed, weights, entry.epochs, minutes)


def table(rows: Sequence[Row]) -> str:
    head = "| network | pixels | AP | AP50 | images/s | weights, millions | epochs | minutes |\n" + "|---" * 8 + "|"
    body = [
        f"| `{r.name}` | {r.size} | {r.ap:.1f} | {r.ap50:.1f} | {r.speed:.0f} | {r.weights:.1f} | {r.epochs} "
        f"| {r.minutes:.1f} |"
        for r in rows
    ]
    return "\n".join([head, *body, ""])


def plot(rows: Sequence[Row]) -> str:
    """AP against images a second; the larger the dot, the more weights."""
    with draw_figure("AP by images a second", 6.6, 4.2) as (figure, axes):
        figure.set_layout_engine("constrained")
        for row in rows:
            colour = VERMILION if row.name.startswith("aligned") else BLUE
            side = 4 + 2.5 * row.weights**0.5
            axes.plot(row.speed, row.ap, "o", color=colour, markersize=side, alpha=0.75)
            # Above the dot, and below it where another one stands close above.
            under = any(0 < other.ap - row.ap < 8 and abs(other.speed - row.speed) < 12 for other in rows)
            place = (0, (-1 if under else 1) * (side / 2 + 3))
            label = {"textcoords": "offset points", "ha": "center", "va": "top" if under else "bottom"}
            axes.annotate(row.name, (row.speed, row.ap), place, **label)
        axes.set(
            xlabel="images a second, one at a time", ylabel="AP, %", xlim=(0, 1.15 * max(row.speed for row in rows))
        )
        axes.margins(y=0.1)
        return as_svg(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", choices=ENTRIES, nargs="*", default=tuple(ENTRIES))
    asked = parser.parse_args()
    rows = []
    for name in asked.only:
        rows.append(measure(name, asked.out / name))
        print(rows[-1], flush=True)
    (asked.out / "table.md").write_text(table(rows))
    (asked.out / "plot.svg").write_text(plot(rows))


if __name__ == "__main__":
    main()
