"""Whether the pictures of one image are true: what the score loses with the pixels they name, and what is left of them
when the network forgets."""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.errors import UsageError, unknown
from saccade.explain import faithfulness as tests
from saccade.explain.cam import cam
from saccade.explain.deconvnet import deconvnet
from saccade.explain.grad_cam import grad_cam
from saccade.explain.guided_backprop import guided_backprop
from saccade.explain.layers import watch_all
from saccade.explain.saliency import saliency
from saccade.progress import Progress, silent, track
from saccade.recipes.explain_pictures import ATTRIBUTIONS, Explained, cam_layer, importance
from saccade.recipes.explain_question import Question
from saccade.report import explain_plots
from saccade.report.page import Block, Figure, Prose, Table

CELLS = 28  # squares across an image, that are taken away or put in together


def show_faithfulness(question: Question, trust: str, methods: str | None = None, steps: int = 50) -> Explained:
    """methods  names, separated by commas; None for all that this network allows"""
    with Progress("explaining", None, unit="methods") as progress, silent():
        names, values, refused = _tested(question, methods, progress)
    share, deleted, inserted, rows = question.share(), {}, {}, []
    generator = torch.Generator().manual_seed(0)
    values["random"] = torch.rand(question.image.shape[:2], generator=generator)
    height, width = question.image.shape[:2]
    inputs, cell = question.inputs, max(1, round(min(height, width) / CELLS))
    forgotten = _forgotten(question, names)
    for name, own in track(values.items(), "taking away and putting in", len(values), unit="methods"):
        # What pads the image matters least.
        beyond = (0, inputs.shape[3] - width, 0, inputs.shape[2] - height)
        own = F.pad(own, beyond, value=float(own.min()))
        gone = tests.deletion(share, inputs, own, steps, cell, question.grey)
        come = tests.insertion(share, inputs, own, steps, cell)
        shown = name.replace("_", " ")
        deleted[shown], inserted[shown] = (gone.shares, gone.scores), (come.shares, come.scores)
        rows.append((shown, 100 * gone.area, 100 * come.area, *forgotten.get(name, (float("nan"), float("nan")))))
    header = ("method", "deletion, % (low)", "insertion, % (high)", "last layer forgotten", "all forgotten")
    told = (
        "Areas under the curves below, of which deletion's should be low and insertion's high; then how alike the "
        "picture stays, as a rank correlation, when the weights of the last layer, and of all layers, begin anew: what "
        "stays alike does not tell of them."
    )
    blocks: list[Block] = [
        Table(header, rows, told),
        Figure(
            explain_plots.removed(deleted, "Deletion: low is good", "percent of the pixels taken away")
            + explain_plots.removed(inserted, "Insertion: high is good", "percent of the pixels put in"),
            f"In squares of {cell} pixels, the most important first.",
        ),
    ]
    if refused:
        blocks.append(Prose("\n\n".join(f"{name}: {reason}" for name, reason in refused.items())))
    return Explained("faithfulness", question.words, [], trust, None, blocks)


def _tested(
    question: Question, methods: str | None, progress: Progress
) -> tuple[list[str], dict[str, Tensor], dict[str, str]]:
    """Which methods can be asked, what they say, and why others cannot."""
    values, refused = {}, {}
    for name in [one.strip() for one in methods.split(",") if one.strip()] if methods else ATTRIBUTIONS:
        if name not in ATTRIBUTIONS:
            raise unknown("method to be tested called", name, ATTRIBUTIONS)
        try:
            values[name] = importance(question, name)
        except UsageError as error:
            if methods:
                raise
            refused[name] = str(error)
        progress.advance()
    return list(values), values, refused


def _forgotten(question: Question, names: list[str]) -> dict[str, tuple[float, float]]:
    """How alike the pictures stay when the last layer, and all of them, begin anew; without the slow ones."""
    quick = [name for name in names if name not in ("occlusion", "smoothgrad", "integrated_gradients")]
    with torch.no_grad():
        _, calls = watch_all(question.model, lambda: question.score(question.inputs))
    order = asked_of(question, list(dict.fromkeys(call.name for call in calls)))
    twins = tests.randomised(question.model, order)
    before = {name: _of_model(question, name, question.model) for name in quick}
    alike: dict[str, list[float]] = {name: [] for name in quick}
    latest = None
    for number, (_, twin) in enumerate(twins):
        latest = twin
        if number == 0:
            _compare(question, quick, before, twin, alike)
    if latest is not None:
        _compare(question, quick, before, latest, alike)
    return {name: (values[0], values[-1]) for name, values in alike.items() if values}


def asked_of(question: Question, order: list[str]) -> list[str]:
    """These layers, in the order they run, up to the last whose weights the score hangs on: of a box's class that is
    not the one that moves boxes, and of a unit not the classifier."""
    twin = copy.deepcopy(question.model).requires_grad_(True)
    weights = [(name, own) for name in order for own in twin.get_submodule(name).parameters(recurse=False)]
    with torch.enable_grad():
        score = question.of_model(twin)(question.inputs).sum()
        slopes = torch.autograd.grad(score, [own for _, own in weights], allow_unused=True)
    told = {name for (name, _), slope in zip(weights, slopes, strict=True) if slope is not None and slope.any()}
    return order[: max((order.index(name) + 1 for name in told), default=len(order))]


def _compare(
    question: Question, names: list[str], before: dict[str, Tensor], twin: Any, alike: dict[str, list[float]]
) -> None:
    for name in names:
        alike[name].append(tests.rank_correlation(before[name], _of_model(question, name, twin)))


def _of_model(question: Question, name: str, model: Any) -> Tensor:
    """What a method says of the same question to another network, one number a pixel or a place."""
    score, inputs = question.of_model(model), question.inputs
    match name:
        case "saliency":
            return saliency(score, inputs)
        case "guided_backprop":
            return guided_backprop(score, inputs).abs().amax(1)
        case "deconvnet":
            return deconvnet(question.projected(model), inputs).abs().amax(1)
        case "cam":
            return cam(model, inputs, question.target)
        case _:
            return grad_cam(model, score, inputs, cam_layer(question))
