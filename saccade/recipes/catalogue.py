"""What is known of a network before it is trained."""

from dataclasses import dataclass

import torch

from saccade.backbones.weights import WEIGHTS
from saccade.geometry.view import Size
from saccade.models import MODELS, builder


@dataclass(frozen=True)
class Described:
    """A network of the catalogue.

    parameters  how many numbers it learns
    size        (height, width) of the input it was designed for
    weights     the names of its published weights
    """

    name: str
    task: str
    parameters: int
    size: Size
    weights: list[str]


def describe(name: str) -> Described:
    """One line of the catalogue; the network is built without memory for its weights."""
    with torch.device("meta"):
        model = builder(name)()
    task = next(task for task, models in MODELS.items() if name in models)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Described(name, task, parameters, model.input_size, list(WEIGHTS.get(name, {})))
