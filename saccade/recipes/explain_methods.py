"""The methods that look at one image, by name, and how far each can be trusted."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from saccade.errors import UsageError, unknown
from saccade.recipes.explain_faithfulness import show_faithfulness
from saccade.recipes.explain_pictures import (
    Explained,
    show_cam,
    show_deconvnet,
    show_feature_maps,
    show_grad_cam,
    show_guided_backprop,
    show_integrated_gradients,
    show_occlusion,
    show_saliency,
    show_shifts,
    show_smoothgrad,
)
from saccade.recipes.explain_question import Question


@dataclass(frozen=True)
class Method:
    """How a question becomes pictures.

    run    of a question and options
    trust  how far it can be trusted, in a sentence
    asks   whether it is about one answer of the network, and not the image alone
    """

    run: Callable[..., Explained]
    trust: str
    asks: bool = True

    def options(self) -> dict[str, Any]:
        """Its options and what they are unless told."""
        parameters = list(inspect.signature(self.run).parameters.values())[2:]
        return {one.name: one.default for one in parameters}


def answer(question: Question, name: str, options: Mapping[str, Any]) -> Explained:
    """Run a method. Raises UsageError, naming the nearest, for an unknown option."""
    method = METHODS[name]
    known = method.options()
    for option in options:
        if option not in known:
            if not known:
                raise UsageError(f"{name} takes no options, got {option}")
            raise unknown(f"option of {name} called", option, known)
    check_kinds(name, method.run, options)
    return method.run(question, method.trust, **options)


def check_kinds(name: str, show: Callable[..., Explained], options: Mapping[str, Any]) -> None:
    """Raise UsageError for an option of another kind than what shows the method says that it takes."""
    words = {int: "a whole number", float: "a number", str: "a word", Path: "a path"}
    for option, value in options.items():
        annotation = inspect.signature(show).parameters[option].annotation
        kinds = {kind for kind in (get_args(annotation) or (annotation,)) if kind in words}
        fits = isinstance(value, tuple(kinds | ({int} if float in kinds else set()))) and not isinstance(value, bool)
        if kinds and not fits and value is not None:
            wanted = " or ".join(words[kind] for kind in words if kind in kinds)
            raise UsageError(f"{option} of {name} is {wanted}, got {value!r}")


METHODS: dict[str, Method] = {
    "occlusion": Method(
        show_occlusion,
        "It asks for nothing but answers, so what it shows is true of this network and this image; it is as coarse as "
        "the square, and of two parts that can stand in for each other neither seems to matter.",
    ),
    "grad_cam": Method(
        show_grad_cam,
        "It tells where, roughly, and depends on what the network learnt; a place is as large as the layer is coarse, "
        "and what lies in it is not told apart.",
    ),
    "cam": Method(
        show_cam,
        "It is exact: the mean of this map is what the class was given; but each place of it has seen more of the "
        "image than it covers.",
    ),
    "integrated_gradients": Method(
        show_integrated_gradients,
        "What the pixels get sums to what the score rose by from a grey image; compared with another nothing than "
        "grey, it would be shared out otherwise, and what is grey itself can get nothing.",
    ),
    "smoothgrad": Method(
        show_smoothgrad,
        "The gradient, steadied: it tells what would change the score if it changed a little, which is not all that "
        "the score rests on.",
    ),
    "saliency": Method(
        show_saliency,
        "The bare gradient: true of the smallest changes only, and it flickers from pixel to pixel; believe where it "
        "is dense, not its single points.",
    ),
    "guided_backprop": Method(
        show_guided_backprop,
        "Sharp and pretty, and hardly different for another class: it shows what is there to be seen, not what the "
        "answer rests on.",
    ),
    "deconvnet": Method(
        show_deconvnet,
        "It shows which structure in the image a unit answers to; the sharpness comes from where the maxima were, and "
        "of a class it says as little as guided backpropagation: it can lie anywhere in the image.",
    ),
    "feature_maps": Method(
        show_feature_maps,
        "It is what the layer gave, each channel drawn from its own darkest to its own brightest: two channels' "
        "brightness cannot be compared.",
        asks=False,
    ),
    "shifts": Method(
        show_shifts,
        "Measured on this image alone; what comes in from beyond the edge is grey, and moves nobody would see in a "
        "photograph count too.",
        asks=False,
    ),
    "faithfulness": Method(
        show_faithfulness,
        "Images with pixels taken away look like nothing that the network was trained on, so small differences between "
        "areas mean nothing; of one image even large ones are an anecdote.",
    ),
}  # fmt: skip
