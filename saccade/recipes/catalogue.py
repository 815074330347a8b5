"""What is known of a network before it is trained: what it costs, how deep it is, what it reached, what it sees.

The facts of all networks stand in `facts.csv`, because to work them out takes a while: `python -m
saccade.recipes.catalogue` writes it anew, and a test holds it against the networks.
"""

import csv
import functools
import io
import sys
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path

import torch

from saccade.backbones.published import WEIGHTS
from saccade.backbones.weights import at_hand
from saccade.geometry.view import Size
from saccade.models import Model, builder, list_models, task_of
from saccade.progress import Progress
from saccade.summary import Summary, summarise


@dataclass(frozen=True)
class Facts:
    """What a network costs at the size of input it was designed for, counted by `saccade.summary`.

    parameters       how many numbers it learns, auxiliary classifiers included
    multiply_adds    for one image; a product and a sum count as one
    activations      how many numbers all layers give for one image; in float32 each takes 4 bytes
    depth            layers with weights on the longest way through
    receptive_field  how many pixels, down, a unit of the last map sees
    height, width    of the input
    """

    parameters: int
    multiply_adds: int
    activations: int
    depth: int
    receptive_field: int
    height: int
    width: int


@dataclass(frozen=True)
class Described:
    """A network of the catalogue.

    top1_error, top5_error  in percent on ImageNet, of its first published weights, as their publisher states them
    results                 of a detector's first published weights on COCO's val2017, in percent, likewise
    newer_recipe            these were trained longer and with more augmentation than the papers did
    weights                 the names of its published weights
    at_hand                 those of them that are on this machine
    """

    name: str
    task: str
    facts: Facts
    top1_error: float | None
    top5_error: float | None
    results: dict[str, float]
    newer_recipe: bool
    weights: list[str]
    at_hand: list[str]


def describe(name: str) -> Described:
    """One line of the catalogue.

    Raises UsageError, naming the nearest one, when there is no such network.
    """
    task = task_of(name)
    published = WEIGHTS.get(name, {})
    first = next((entry for entry in published.values() if entry.errors), None)
    errors = first.errors if first and first.errors else (None, None)
    here = [weights for weights in published if at_hand(name, weights)]
    return Described(
        name,
        task,
        known_facts()[name],
        *errors,
        results=next((dict(entry.results) for entry in published.values() if entry.results), {}),
        newer_recipe=bool(first and first.newer_recipe),
        weights=list(published),
        at_hand=here,
    )


def layers(name: str, size: Size | None = None) -> Summary:
    """A network layer by layer.

    size  (height, width) of the input; None for the one it was designed for

    Raises UsageError for an unknown name, RuntimeError (torch's) for a size it cannot take.
    """
    model = _without_memory(name)
    return summarise(model, torch.empty(1, model.in_channels, *(size or model.input_size), device="meta"))


def count_facts(name: str) -> Facts:
    """The facts of one network, worked out anew."""
    summary, (height, width) = layers(name), _without_memory(name).input_size
    field = round(summary.receptive_field[0]) if summary.receptive_field else 0
    return Facts(summary.parameters, summary.multiply_adds, summary.activations, summary.depth, field, height, width)


@functools.cache
def known_facts() -> dict[str, Facts]:
    """The facts in `facts.csv`, by the network's name."""
    text = resources.files("saccade.recipes").joinpath("facts.csv").read_text("utf-8")
    rows = csv.DictReader(io.StringIO(text))
    return {row.pop("name"): Facts(**{key: int(value) for key, value in row.items()}) for row in rows}


def _without_memory(name: str) -> Model:
    with torch.device("meta"):
        return builder(name)()


def _write_facts(path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file, Progress("counting", len(list_models())) as progress:
        writer = csv.DictWriter(file, ["name", *Facts.__dataclass_fields__], lineterminator="\n")
        writer.writeheader()
        for name in list_models():
            writer.writerow({"name": name} | asdict(count_facts(name)))
            progress.advance(1)


if __name__ == "__main__":
    _write_facts(Path(__file__).with_name("facts.csv"))
    print("facts.csv is written", file=sys.stderr)
