"""The detectors side by side: the same scenes, one scorer, about a quarter of an hour or less each.

    python examples/scenes/detectors.py runs/detectors

Small detectors of one look see the 128 pixels of `scenes-128` enlarged to 224, those of two stages enlarged to 192;
large ones as they are, as large as there is time for, or as their papers have it (SSD). The epochs are what two cores
with bfloat16 do in a quarter of an hour (with `keypointrcnn_fpn`, which learns keypoints last, in 18 minutes), one at
the least. Those on a MobileNetV2 or a SqueezeNet start from ImageNet's weights. Of ResNets and VGG-16 there were none
at hand: these backbones first learn the digits of the training scenes one by one, in some minutes (`digits.py`) that
are not counted. The others start from nothing. What a run ended with is a row of a file; a detector that has its row is
not trained again, a run that was interrupted goes on. In the end all are timed, and `table.md` and `plot.svg` written
beside the runs. All of it takes some seven hours, without bfloat16 three times as long, which need not be at a stretch:

    python examples/scenes/detectors.py runs/detectors --rows examples/scenes/detectors.csv

goes on where the rows end that the documents have. Where only its row is left of a detector, what is timed is a network
of a few steps. All are made to be as sure of their boxes as it takes to find as many things as there are.
"""

import argparse
import csv
import io
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from digits import teach
from matplotlib.ticker import LogLocator
from matplotlib.transforms import Bbox

import saccade
from saccade.checkpoint import write
from saccade.data.source import Source
from saccade.predict import Predictor
from saccade.report.canvas import BLUE, VERMILION, as_svg, draw_figure
from saccade.tasks.detect.mask_rcnn import KeypointRCNN

DATA, SIZE = "scenes-128", 224
STEPS = 25  # of two pictures each, in the short training of a network that is timed
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


# On a large ResNet the pictures are seen as they are; few proposals make steps short.
TAUGHT: dict[str, Any] = {"norms": "learn", "frozen": 0, "learning_rate": 5e-4, "batch_size": 8}
FEW = {"smallest": 16, "sampled": 32}
FEWER = {"smallest": 16, "sampled": 16}
RESNET18: dict[str, Any] = TAUGHT | {"size": 192, "network": {"backbone": "resnet18"} | FEWER}
VGG: dict[str, Any] = TAUGHT | {"learning_rate": 1e-4}


@dataclass(frozen=True)
class Entry:
    """One detector: how many epochs make 15 minutes, and what it is given besides.

    taught   the backbone that learns to tell the digits apart first
    general  the name in the catalogue of the same network with options, where its own has none
    """

    epochs: int
    options: dict[str, Any] = field(default_factory=dict)
    taught: str | None = None
    general: str | None = None

    @property
    def start(self) -> str:
        """Where the backbone's weights come from, in a word."""
        return "digits" if self.taught else "ImageNet" if "weights" in self.options else "nothing"


def large(epochs: int, general: str, backbone: str, few: Mapping[str, int] = FEW, batch_size: int = 8) -> Entry:
    options = TAUGHT | {"size": 128, "batch_size": batch_size, "network": {"backbone": backbone} | few}
    return Entry(epochs, options, backbone, general)


ENTRIES = {
    "fasterrcnn_fpn": Entry(14, TWO_STAGES | {"network": PYRAMID}),
    "maskrcnn_fpn": Entry(10, TWO_STAGES | {"network": PYRAMID}),
    "keypointrcnn_fpn": Entry(
        20,
        TWO_STAGES
        | {"learning_rate": 2e-3, "network": PYRAMID | ENDS}
        | {"augmentation": SAME["augmentation"] | {"shear": 0}},
    ),
    "fasterrcnn_vgg16": Entry(
        4, VGG | {"size": 160, "network": {"smallest": 32, "sampled": 16, "dropout": 0.0}}, "vgg16"
    ),
    "fasterrcnn_c4": Entry(6, RESNET18, "resnet18"),
    "maskrcnn_c4": Entry(5, RESNET18, "resnet18"),
    "fasterrcnn_resnet50_fpn": large(6, "fasterrcnn_fpn", "resnet50"),
    "maskrcnn_resnet50_fpn": large(4, "maskrcnn_fpn", "resnet50"),
    "keypointrcnn_resnet50_fpn": large(3, "keypointrcnn_fpn", "resnet50", FEWER),
    "fasterrcnn_resnet101_fpn": large(6, "fasterrcnn_fpn", "resnet101"),
    "maskrcnn_resnet101_fpn": large(4, "maskrcnn_fpn", "resnet101"),
    "maskrcnn_resnext101_fpn": large(2, "maskrcnn_fpn", "resnext101_64x4d"),
    "fasterrcnn_resnet101_c4": large(3, "fasterrcnn_c4", "resnet101", FEWER),
    "maskrcnn_resnet101_c4": large(1, "maskrcnn_c4", "resnet101", FEWER | {"proposals": 50}, 4),
    "yolov1": Entry(20, PRETRAINED | AVERAGED | {"learning_rate": 1e-4, "network": GRID}),
    "yolov3": Entry(11, PRETRAINED | AVERAGED | {"network": MOBILE | MORE}),
    "yolov3_tiny": Entry(27, TINY),
    "ssd": Entry(16, PRETRAINED | AVERAGED | {"batch_size": 8, "network": SQUEEZED}),
    "ssd300_vgg16": Entry(2, VGG | {"size": 300}, "vgg16"),
    "ssd512_vgg16": Entry(1, VGG | {"size": 512, "frozen": 4, "batch_size": 4}, "vgg16"),
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


def read_rows(file: Path) -> dict[str, Row]:
    """By name; none where there is no such file."""
    if not file.exists():
        return {}
    with file.open(newline="") as lines:
        rows = [
            Row(**{key: Row.__annotations__[key](cell) for key, cell in row.items()}) for row in csv.DictReader(lines)
        ]
    return {row.name: row for row in rows}


def write_rows(file: Path, rows: Mapping[str, Row]) -> None:
    lines = io.StringIO()
    writer = csv.DictWriter(lines, list(Row.__annotations__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(rows[name]) for name in ENTRIES if name in rows)
    write(file, lines.getvalue())


def measure(name: str, out: Path) -> Row:
    """Train where nobody has; the scores are those that its run ended with."""
    entry, folder = ENTRIES[name], out / name
    options = SAME | entry.options
    if not is_finished(folder):
        if entry.taught:
            options["weights"] = teach(entry.taught, DATA, out / "backbones", SAME["augmentation"])
        saccade.fit(
            DATA, model=entry.general or name, out=folder, epochs=entry.epochs, resume=True, quiet=True, **options
        )
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    result = json.loads((folder / "metrics.json").read_text())
    predictor = saccade.load(folder)
    size, epochs = (predictor.card.config[setting] for setting in ("size", "epochs"))
    weights = sum(weight.numel() for weight in predictor.model.parameters()) / 1e6
    ap, ap50, minutes = result["box/AP"], result["box/AP50"], lines[-1]["timing/seconds"] / 60
    return Row(name, size, round(ap, 1), round(ap50, 1), round(weights, 3), epochs, round(minutes, 1))


def first_of(train: int, test: int) -> Source:
    """The scenes, of which so many are learnt from and tested on."""
    source = saccade.read(DATA)
    counts = {"train": train, "test": test}
    return source.with_splits({name: source.splits[name].take(range(count)) for name, count in counts.items()})


def is_finished(run: Path) -> bool:
    return (run / "report.html").exists()


def to_time(name: str, out: Path) -> Path:
    """The detector's run or, where that is not there, one of a few steps."""
    if is_finished(out / name):
        return out / name
    entry, folder = ENTRIES[name], out / "to_time" / name
    if not is_finished(folder):
        options = SAME | entry.options | {"batch_size": 2}
        if entry.taught:  # from nothing here, so that nothing is said of how to go on from weights
            options = {key: value for key, value in options.items() if key not in ("norms", "frozen")}
        data = first_of(2 * STEPS, test=2)
        saccade.fit(data, model=entry.general or name, out=folder, epochs=1, resume=True, **options)
    return folder


def as_sure(run: Path, pictures: Sequence[np.ndarray], things: int) -> Predictor:
    """The network of a run, with the least score raised until it finds so many things in these pictures.

    What follows the boxes (of two the better one, masks, keypoints) takes as long as there are many, which a network of
    few steps is of the same score of.
    """
    scorer = saccade.load(run)
    if isinstance(scorer.model, KeypointRCNN):
        scorer.model.rescore = False  # the least score is one of boxes
    found = np.sort(np.concatenate([scorer(picture).scores for picture in pictures]))
    predictor = saccade.load(run, precision="auto")
    if len(found) > things:
        predictor.model.sure = float(found[-things - 1])
    return predictor


def measure_speeds(folders: Mapping[str, Path]) -> dict[str, float]:
    """Images a second of each network, one at a time: the median of five rounds, in which all take their turn of half a
    second or one image."""
    test = saccade.read(DATA).splits["test"]
    pictures = [test.open(n).pixels("RGB")[0] for n in range(8)]
    assert test.objects is not None
    things = sum(len(test.objects[n].boxes) for n in range(8))
    predictors = {name: as_sure(folder, pictures, things) for name, folder in folders.items()}
    seconds: dict[str, list[float]] = {name: [] for name in folders}
    for _ in range(5):
        for name, predictor in predictors.items():
            predictor(pictures[0])  # to warm up
            begun, count = time.perf_counter(), 0
            while time.perf_counter() < begun + 0.5:
                predictor(pictures[count % len(pictures)])
                count += 1
            seconds[name].append((time.perf_counter() - begun) / count)
    return {name: 1 / statistics.median(own) for name, own in seconds.items()}


def table(rows: Sequence[Row], speeds: Mapping[str, float]) -> str:
    names = ("network", "starts from", "pixels", "AP", "AP50", "images/s", "weights, millions", "epochs", "minutes")
    head = "| " + " | ".join(names) + " |\n" + "|---" * len(names) + "|"
    body = []
    for row in rows:
        scores = f"{row.size} | {row.ap:.1f} | {row.ap50:.1f} | {f'{speeds[row.name]:#.2g}'.rstrip('.')}"
        cost = f"{row.weights:.1f} | {row.epochs} | {row.minutes:.1f}"
        body.append(f"| `{row.name}` | {ENTRIES[row.name].start} | {scores} | {cost} |")
    return "\n".join([head, *body, ""])


# Where a name may stand about its dot: near before far, points from its edge; to the right first.
NEAR, ACROSS, ALONG = 3, {-1: "right", 0: "center", 1: "left"}, {-1: "top", 0: "center", 1: "bottom"}
SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))
PLACES = [(away, *side) for away in (NEAR, 12, 24, 36, 48) for side in SIDES]


def plot(rows: Sequence[Row], speeds: Mapping[str, float]) -> str:
    """AP against images a second; the larger the dot, the more weights."""
    with draw_figure("AP by images a second", 7.4, 5.6) as (figure, axes):
        figure.set_layout_engine("constrained")
        sides = {row.name: 4 + 1.5 * row.weights**0.5 for row in rows}
        for row in rows:
            colour = VERMILION if row.name.startswith("aligned") else BLUE
            axes.plot(speeds[row.name], row.ap, "o", color=colour, markersize=sides[row.name], alpha=0.75)
        limits = min(speeds.values()) / 2, 2 * max(speeds.values())
        axes.set(xlabel="images a second, one at a time", ylabel="AP, %", xscale="log", xlim=limits)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")
        axes.margins(y=0.1)
        figure.draw_without_rendering()  # now it is known where the dots are
        taken = []
        for row in rows:
            middle, half = axes.transData.transform((speeds[row.name], row.ap)), sides[row.name] * figure.dpi / 144
            taken.append(Bbox([middle - half, middle + half]))
        for row in rows:
            label = axes.annotate(row.name, (speeds[row.name], row.ap), (0, 0), textcoords="offset points", size=8)
            for away, across, along in PLACES:
                label.set(ha=ACROSS[across], va=ALONG[along])
                far = sides[row.name] / 2 + away
                label.set_position((across * far, along * far))
                box = label.get_window_extent()
                inside = axes.bbox.x0 < box.x0 and box.x1 < axes.bbox.x1 and axes.bbox.y0 < box.y0
                if inside and not any(box.overlaps(other) for other in taken):
                    break
            else:
                raise ValueError(f"there is no room for the name of {row.name}; draw fewer detectors, or a larger plot")
            taken.append(box)
            if away > NEAR:
                line = {"arrowstyle": "-", "color": "0.6", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0}
                start = (across * (far - 1), along * (far - 1))
                axes.annotate("", (speeds[row.name], row.ap), start, textcoords="offset points", arrowprops=line)
        return as_svg(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", choices=ENTRIES, nargs="*", default=tuple(ENTRIES))
    parser.add_argument("--rows", type=Path, help="what was measured, and goes on; OUT/rows.csv unless said")
    asked = parser.parse_args()
    file = asked.rows or asked.out / "rows.csv"
    rows = read_rows(file)
    for name in asked.only:
        if name not in rows:
            measured = measure(name, asked.out)
            rows = read_rows(file) | {name: measured}  # another process may have added its own
            write_rows(file, rows)
        print(rows[name], flush=True)
    chosen = [rows[name] for name in asked.only]
    speeds = measure_speeds({name: to_time(name, asked.out) for name in asked.only})
    (asked.out / "table.md").write_text(table(chosen, speeds))
    (asked.out / "plot.svg").write_text(plot(chosen, speeds))


if __name__ == "__main__":
    main()
