"""What does the network see? One verb for every method: about one image, a data set, or the network itself."""

import inspect
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from saccade import checkpoint
from saccade.data.source import Split
from saccade.errors import SaccadeError, UsageError, unknown
from saccade.predict import Pictured, Predictor, load, weights_for
from saccade.recipes import explain_data
from saccade.recipes.explain_methods import METHODS, answer, check_kinds
from saccade.recipes.explain_pictures import Explained
from saccade.recipes.explain_question import Asked, Question, ask
from saccade.recipes.neighbours import show_neighbours
from saccade.recipes.pointing import show_pointing
from saccade.report.page import Fact, Page, Pictures, Prose, Section, Tile, render
from saccade.report.sheet import grid

# What a page shows when no method is named: those that hold most, first.
CHOSEN = ("occlusion", "grad_cam", "integrated_gradients", "smoothgrad", "guided_backprop")
OF_DATA = {
    "top_patches": "What excites a unit most is not all that it answers to; of a rare thing a data set may have no "
    "example, and nine pictures look alike more often than a unit is pure.",
    "pointing": "A peak on the thing says that the network looked there, not that it looked at the right part of it; a "
    "large thing is hit by chance, as the last lines tell.",
    "embedding_map": "Neighbours on the map were neighbours for the network; how far apart two groups lie, and how "
    "dense they are, means nothing with tsne. Another seed turns and mirrors it.",
}
OF_PAIRS = {
    "neighbours": "Exact: every image was compared. Alike means alike to this layer, which sees what it was trained to "
    "tell apart; of two images with the same cosine the earlier comes first.",
}
OF_NETWORKS = {
    "filters": "They are the weights themselves, all drawn to one scale: nothing is computed.",
}
NAMES = (*METHODS, *OF_DATA, *OF_PAIRS, *OF_NETWORKS)


def explain(
    run: str | Path | Predictor,
    image: Pictured | Split | None = None,
    *,
    method: str | None = None,
    weights: str | None = None,
    target: int | str | None = None,
    layer: str | None = None,
    unit: str | None = None,
    thing: int = 1,
    keypoint: int | str | None = None,
    pixel: tuple[int, int] | None = None,
    data: str | Path | Split | None = None,
    beside: Sequence[str | Path | Predictor] = (),
    **options: Any,
) -> Explained:
    """What a network sees, by one method.

    run       a run directory, what `load` made of it, or with `weights` a name of the catalogue
    image     a picture; for the methods that look through a data set, DATA of any format; for `filters` nothing
    method    one of `NAMES`; None for occlusion
    weights   "imagenet" or another published name, where `run` is a name of the catalogue
    target    a class, by name or number; None for what the network says itself
    layer     as the state dict names it, where a method looks at one; None lets most of them choose
    unit      "CHANNEL" or "CHANNEL,ROW,COLUMN" of that layer, in the place of a class
    thing     detection: the so-maniest thing that was found, from 1, of the target if there is one
    keypoint  detection: one of its keypoints, by name or number
    pixel     segmentation: (row, column) of the image
    data      neighbours: where to look for them
    beside    filters: more networks, as `run`
    options   what the method takes besides

    Raises UsageError for an unknown method, layer, target or option, SaccadeError when a gradient is not finite.
    """
    method = CHOSEN[0] if method is None else method
    if method not in NAMES:
        raise unknown("method", method, NAMES)
    asked = Asked(target, layer, unit, thing, keypoint, pixel)
    if asked != Asked(layer=layer) and not (method in METHODS and METHODS[method].asks):
        raise UsageError(f"{method} is not about one answer: it takes no target, unit, thing, keypoint or pixel")
    if data is not None and method not in OF_PAIRS:
        raise UsageError(f"data is where neighbours are looked for; {method} takes none")
    if beside and method not in OF_NETWORKS:
        raise UsageError(f"only filters of several networks are shown beside each other; {method} takes one network")
    predictor = _loaded(run, weights_for(run, weights) if beside else weights)
    if method in METHODS:
        if image is None or isinstance(image, Split):
            raise UsageError(f"{method} looks at one image: name it")
        question = ask(predictor, image, asked, METHODS[method].asks)
        # Where a unit is asked about, the layer says which; the method chooses its own.
        return explain_question(question, method, layer if unit is None else None, options)
    return _of_many(
        predictor, image, method, layer, data, [_loaded(one, weights_for(one, weights)) for one in beside], options
    )


def explain_question(question: Question, method: str, layer: str | None, options: dict[str, Any]) -> Explained:
    """One method about one image that was looked at already."""
    if layer is not None and "layer" in METHODS[method].options():
        options = {"layer": layer} | options
    elif layer is not None:
        raise UsageError(f"{method} looks at no layer: leave out the layer, or name a unit of it")
    return answer(question, method, options)


def _of_many(
    predictor: Predictor,
    image: Pictured | Split | None,
    method: str,
    layer: str | None,
    data: str | Path | Split | None,
    beside: Sequence[Predictor],
    options: dict[str, Any],
) -> Explained:
    if method in OF_NETWORKS:
        if image is not None:
            raise UsageError(f"{method} are the network's own: name no image")
        return _called(explain_data.show_filters, predictor, OF_NETWORKS[method], layer=layer, beside=beside, **options)
    if image is None:
        raise UsageError(
            f"{method} looks through a data set: name it" if method in OF_DATA else f"{method} of what? Name an image"
        )
    if method in OF_PAIRS:
        if data is None:
            raise UsageError(f"{method} are looked for in a data set: name it with --data")
        if isinstance(image, Split):
            raise UsageError(f"{method} of what? One image is asked for, and got a split of {len(image)}")
        return _called(show_neighbours, predictor, image, data, OF_PAIRS[method], layer=layer, **options)
    if not isinstance(image, (str, Path, Split)):
        raise UsageError(f"{method} looks through a data set: a path or a name, not one picture")
    if method == "pointing":
        if isinstance(image, Split):
            raise UsageError("pointing has to know what the classes of the things are: give the path of the data")
        return _called(
            show_pointing, predictor, image, OF_DATA[method], **({"layer": layer} if layer else {}), **options
        )
    looked = explain_data.look_through(predictor, image, options.pop("split", None))
    show = {"top_patches": explain_data.show_top_patches, "embedding_map": explain_data.show_embedding_map}[method]
    return _called(show, looked, OF_DATA[method], layer=layer, **options)


def _called(show: Any, *parts: Any, **options: Any) -> Explained:
    """Call what shows something. Raises UsageError, naming the nearest, for an option it does not take."""
    known = [
        name
        for name in inspect.signature(show).parameters
        if name not in ("predictor", "looked", "trust", "image", "data")
    ]
    for option in options:
        if option not in known:
            raise unknown("option called", option, known)
    check_kinds(show.__name__.removeprefix("show_"), show, options)
    return show(*parts, **options)


def _loaded(run: str | Path | Predictor, weights: str | None) -> Predictor:
    if isinstance(run, nn.Module):
        raise UsageError(
            "a run directory, a name of the catalogue or what saccade.load gives was expected, but got a module; the "
            'functions in saccade/explain/ take any: docs/explain.md, "Any network"'
        )
    return run if isinstance(run, Predictor) else load(run, weights=weights)


def explain_all(question: Question, methods: Sequence[str] = CHOSEN) -> tuple[list[Explained], dict[str, str]]:
    """Several methods about one image; those that this network or image does not allow, with the reason."""
    shown, refused = [], {}
    for method in methods:
        try:
            shown.append(answer(question, method, {}))
        except SaccadeError as error:
            refused[method] = str(error)
    return shown, refused


def page_of(question: Question, shown: Sequence[Explained], refused: dict[str, str]) -> str:
    """The page: what was said of the image, and each method's picture with how far it can be trusted."""
    card = question.predictor.card
    facts = [Fact("explained", question.words), Fact("network", card.model, f"{len(card.classes):,} classes")]
    seen = Tile(question.marked(question.image), "what the network sees", question.words)
    sections = [Section("The image", [Pictures([seen], "", large=True)]), *(section_of(one) for one in shown)]
    if refused:
        words = "\n\n".join(f"{method}: {reason}" for method, reason in refused.items())
        sections.append(Section("Not for this network", [Prose(words)], open=False))
    return render(Page("What does the network see?", question.words, facts, sections))


def section_of(shown: Explained) -> Section:
    """What one method shows, and how far it can be trusted."""
    pictures = [Pictures(shown.tiles, "", large=len(shown.tiles) < 24)] if shown.tiles else []
    return Section(f"{shown.method}: {shown.words}", [*pictures, *shown.blocks, Prose(shown.trust)])


def save(shown: Explained, out: Path, stem: str = "") -> list[Path]:
    """Write a method's pictures, and a page; returns where."""
    checkpoint.make_folder(out)
    name = re.sub(r"[^\w.-]+", "-", f"{stem}-{shown.method}" if stem else shown.method)
    written = []
    if shown.tiles:
        checkpoint.write(out / f"{name}.png", shown.sheet())
        written.append(out / f"{name}.png")
    for file, content in shown.files.items():
        checkpoint.write(out / f"{name}-{file}", content)
        written.append(out / f"{name}-{file}")
    besides = (
        [Prose(f"Besides this page: {', '.join(f'{name}-{file}' for file in shown.files)}")] if shown.files else []
    )
    section = section_of(shown)
    section = replace(section, blocks=[*section.blocks, *besides])
    page = Page("What does the network see?", shown.words, [Fact("method", shown.method)], [section])
    checkpoint.write(out / f"{name}.html", render(page))
    return [*written, out / f"{name}.html"]


def save_all(
    question: Question, shown: Sequence[Explained], refused: dict[str, str], out: Path, stem: str
) -> list[Path]:
    """Write several methods' pictures, a sheet of the most telling one of each, and the page; returns where."""
    checkpoint.make_folder(out)
    own = re.sub(r"[^\w.-]+", "-", stem)
    tiles = [Tile(question.marked(question.image), question.words)]
    tiles += [replace(one.tiles[0], title=one.method, detail="") for one in shown if one.tiles]
    checkpoint.write(out / f"{own}.png", grid(tiles, 3))
    checkpoint.write(out / f"{own}.html", page_of(question, shown, refused))
    return [out / f"{own}.png", out / f"{own}.html"]
