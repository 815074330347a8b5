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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.transforms import Bbox

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
    weights  millions
    minutes  of training
    """

    name: str
    size: int
    ap: float
    ap50: float
    weights: float
    epochs: int
    minutes: float


def measure(name: str, folder: Path) -> Row:
    """Train where nobody has, then score."""
    data, entry = "scenes-128", ENTRIES[name]
    if not (folder / "report.html").exists():
        saccade.fit(data, model=name, out=folder, epochs=entry.epochs, quiet=True, **(SAME | entry.options))
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    result = saccade.evaluate(folder, data).result
    weights = sum(weight.numel() for weight in saccade.load(folder).model.parameters()) / 1e6
    size, minutes = (SAME | entry.options)["size"], lines[-1]["timing/seconds"] / 60
    return Row(name, size, result["box/AP"], result["box/AP50"], weights, entry.epochs, minutes)


def measure_speeds(folders: Mapping[str, Path]) -> dict[str, float]:
    """Images a second of each network, one at a time: the median of 10 rounds, in which all take their turn."""
    test = saccade.read("scenes-128").splits["test"]
    pictures = [test.open(n).pixels("RGB")[0] for n in range(24)]
    predictors = {name: saccade.load(folder, precision="auto") for name, folder in folders.items()}
    seconds: dict[str, list[float]] = {name: [] for name in folders}
    for _ in range(10):
        for name, predictor in predictors.items():
            for picture in pictures[:4]:  # to warm up
                predictor(picture)
            begun = time.perf_counter()
            for picture in pictures:
                predictor(picture)
            seconds[name].append((time.perf_counter() - begun) / len(pictures))
    return {name: 1 / statistics.median(own) for name, own in seconds.items()}


def table(rows: Sequence[Row], speeds: Mapping[str, float]) -> str:
    head = "| network | pixels | AP | AP50 | images/s | weights, millions | epochs | minutes |\n" + "|---" * 8 + "|"
    body = [
        f"| `{r.name}` | {r.size} | {r.ap:.1f} | {r.ap50:.1f} | {speeds[r.name]:.0f} | {r.weights:.1f} | {r.epochs} "
        f"| {r.minutes:.1f} |"
        for r in rows
    ]
    return "\n".join([head, *body, ""])


def plot(rows: Sequence[Row], speeds: Mapping[str, float]) -> str:
    """AP against images a second; the larger the dot, the more weights."""
    with draw_figure("AP by images a second", 6.6, 4.2) as (figure, axes):
        figure.set_layout_engine("constrained")
        sides = {row.name: 4 + 2.5 * row.weights**0.5 for row in rows}
        for row in rows:
            colour = VERMILION if row.name.startswith("aligned") else BLUE
            axes.plot(speeds[row.name], row.ap, "o", color=colour, markersize=sides[row.name], alpha=0.75)
        axes.set(xlabel="images a second, one at a time", ylabel="AP, %", xlim=(0, 1.15 * max(speeds.values())))
        axes.margins(y=0.1)
        figure.draw_without_rendering()  # now it is known where the dots are
        taken = []
        for row in rows:
            middle, half = axes.transData.transform((speeds[row.name], row.ap)), sides[row.name] * figure.dpi / 144
            taken.append(Bbox([middle - half, middle + half]))
        for row in rows:
            away = sides[row.name] / 2 + 3
            places = {(0, away): ("center", "bottom"), (0, -away): ("center", "top")}
            places |= {(-away, 0): ("right", "center"), (away, 0): ("left", "center")}
            for place, (across, along) in places.items():
                label = axes.annotate(
                    row.name, (speeds[row.name], row.ap), place, textcoords="offset points", ha=across, va=along
                )
                box = label.get_window_extent()
                if not any(box.overlaps(other) for other in taken):
                    break
                label.remove()
            taken.append(box)
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
    speeds = measure_speeds({name: asked.out / name for name in asked.only})
    (asked.out / "table.md").write_text(table(rows, speeds))
    (asked.out / "plot.svg").write_text(plot(rows, speeds))


if __name__ == "__main__":
    main()
