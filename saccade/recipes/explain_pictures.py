"""The methods that look at one image: how each is asked, and the pictures that it makes."""

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from torch import Tensor

from saccade.errors import UsageError
from saccade.explain import cam as cams
from saccade.explain import deconvnet as deconvnets
from saccade.explain import feature_maps as maps
from saccade.explain import grad_cam as grad_cams
from saccade.explain import guided_backprop as guided
from saccade.explain import integrated_gradients as integrated
from saccade.explain import occlusion as occlusions
from saccade.explain import saliency as saliencies
from saccade.explain import shifts as moves
from saccade.explain import smoothgrad as smooth
from saccade.explain.fields import fields_of, lattice_of
from saccade.explain.layers import Call, is_map, watch, watch_all
from saccade.explain.occlusion import Occlusion
from saccade.predict import Predictor
from saccade.recipes.explain_question import Question, of_backbone
from saccade.report import explain_plots
from saccade.report.draw import draw
from saccade.report.heat import SHARE, around_grey, heat, overlay
from saccade.report.page import Block, Figure, Tile
from saccade.report.sheet import CELL, grid
from saccade.structures import Classification, LabelMap

MOST_CLASSES = 12  # so many are told apart on the map of the most probable class
POINTS = 0.98  # of a picture that is made of points: fewer lie beyond the scale, so that more can be seen
UNSHARED = 0.05  # of what the score rose by, beyond which integrated gradients are said not to add up
LAYERS = 6  # of a network, to compare how they answer


@dataclass(frozen=True, eq=False)
class Explained:
    """What a method shows.

    method  its name
    words   what was explained
    tiles   pictures, the most telling first
    trust   how far it can be trusted, in a sentence
    values  as the method gives them: [H, W] or [H, W, C] float32 for the image that the network sees; of feature_maps
            [C, h, w], of neighbours the cosines [n], of embedding_map the places [N, 2]; None where there are none
    blocks  plots and tables besides
    files   pages besides, by name
    """

    method: str
    words: str
    tiles: list[Tile]
    trust: str
    values: np.ndarray | None = None
    blocks: list[Block] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)

    def picture(self) -> np.ndarray:
        """The most telling picture, [H, W, 3] uint8 RGB."""
        if not self.tiles:
            raise UsageError(f"{self.method} gives no picture; its numbers are in its tables")
        image = self.tiles[0].image
        return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image

    def sheet(self) -> bytes:
        """All its pictures side by side, with their captions, as a PNG."""
        many = len(self.tiles) > 12
        columns = min(len(self.tiles), 12 if many else 4)
        return grid(self.tiles, columns, CELL // 3 if many else CELL)


def _heated(
    question: Question,
    method: str,
    values: Tensor,
    trust: str,
    signed: bool = False,
    share: float = SHARE,
    layer: str | None = None,
) -> Explained:
    """The picture of one number a pixel, [H, W] float of the padded image, or a unit of a layer.

    share  of the pixels that lie within the scale of the picture
    """
    own = of_image(question, values, layer)
    over = question.marked(overlay(question.image, own, signed, share))
    return Explained(method, question.words, [Tile(over, method, question.words)], trust, own)


def of_image(question: Question, values: Tensor, layer: str | None = None) -> np.ndarray:
    """[H, W] float32 for the image, of values for the padded image, or of the units of a layer, where they look."""
    height, width = question.inputs.shape[2:]
    found = values.detach().float().cpu().numpy()
    if layer is not None:
        lattice = lattice_of(question.model, layer, question.inputs)
        (x, y), (across, down) = lattice.first, lattice.step
        columns = ((np.arange(width, dtype=np.float32) + 0.5 - x) / across).astype(np.float32)
        rows = ((np.arange(height, dtype=np.float32) + 0.5 - y) / down).astype(np.float32)
        places = np.meshgrid(columns, rows)
        found = cv2.remap(found, *places, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(found[: question.image.shape[0], : question.image.shape[1]])


def _projected(question: Question, method: str, values: Tensor, trust: str) -> Explained:
    """The picture of [1, C, h, w]: colours around grey, as they were projected to the pixels, and where they are."""
    height, width = question.image.shape[:2]
    colours = values[0].detach().float().cpu().permute(1, 2, 0).numpy()[:height, :width]
    tiles = [
        Tile(around_grey(colours), method, question.words),
        Tile(question.marked(overlay(question.image, np.abs(colours).max(2))), method, "where it is strong"),
    ]
    return Explained(method, question.words, tiles, trust, np.ascontiguousarray(colours))


def show_saliency(question: Question, trust: str) -> Explained:
    return _heated(question, "saliency", saliencies.saliency(question.score, question.inputs)[0], trust, share=POINTS)


def show_smoothgrad(question: Question, trust: str, noise: float = 0.15, copies: int = 50, seed: int = 0) -> Explained:
    values = smooth.smoothgrad(question.score, question.inputs, noise, copies, seed=seed)
    return _heated(question, "smoothgrad", values[0], trust, share=POINTS)


def show_integrated_gradients(question: Question, trust: str, steps: int = 50) -> Explained:
    grey = question.grey.expand_as(question.inputs)
    values = integrated.integrated_gradients(question.score, question.inputs, grey, steps)
    with torch.no_grad():
        whole = float(question.score(question.inputs)[0]) - float(question.score(grey)[0])
    shared = float(values.sum())
    found = _heated(question, "integrated_gradients", values[0].sum(0), trust, signed=True, share=POINTS)
    told = f"{trust} Here the pixels share out {shared:.3f} of the {whole:.3f} that the score rose by."
    if abs(shared - whole) > UNSHARED * abs(whole):
        told += (
            f" That is not all, or too much: the way from grey was taken in too large steps; steps={4 * steps} helps."
        )
    return Explained(found.method, found.words, found.tiles, told, found.values)


def show_guided_backprop(question: Question, trust: str) -> Explained:
    return _projected(question, "guided_backprop", guided.guided_backprop(question.score, question.inputs), trust)


def show_deconvnet(question: Question, trust: str, unpooling: str = "switches") -> Explained:
    score = question.projected(question.model)
    values = deconvnets.deconvnet(score, question.inputs, unpooling)  # pyright: ignore[reportArgumentType]
    if not values.any():
        raise UsageError(f"{question.name} is silent on this image: there is nothing to project")
    return _projected(question, "deconvnet", values, trust)


def show_grad_cam(question: Question, trust: str, layer: str | None = None) -> Explained:
    if layer is None:
        layer = cam_layer(question)
    values = grad_cams.grad_cam(question.model, question.score, question.inputs, layer)[0]
    found = _heated(question, "grad_cam", values, trust, layer=layer)
    size = f"{values.shape[0]} x {values.shape[1]} places of {layer}"
    if not values.any():
        size += ": none speaks for it"
    if isinstance(question.said, LabelMap):
        trust += " Of one pixel it is mostly the map of its class: the channels' weights are means over all the image."
    return Explained(found.method, found.words, [Tile(found.tiles[0].image, "grad_cam", size)], trust, found.values)


def cam_layer(question: Question) -> str:
    return grad_cams.coarsest_layer(question.model, question.score, question.inputs, of_backbone(question.model))


def show_cam(question: Question, trust: str) -> Explained:
    if not isinstance(question.said, Classification) or question.target is None:
        raise UsageError("CAM explains a class of a whole image; for this question take grad_cam")
    values = cams.cam(question.model, question.inputs, question.target)[0]
    layer = cams.averaged(question.model, question.inputs).layer
    return _heated(question, "cam", values, trust, signed=True, layer=layer)


def show_occlusion(
    question: Question,
    trust: str,
    square: int | str | None = None,
    stride: int | None = None,
    fill: float | str = "grey",
    layer: str | None = None,
) -> Explained:
    """square  its side in pixels, or "field": as large as what a unit of `layer` sees; None for a seventh of the image
    fill    "grey", "blur", or a number, normalised
    layer   whose strongest map is watched too; None for the coarsest"""
    if layer is None:
        layer = features_layer(question.predictor, question.inputs)
    side = _side_of(square, question, layer)
    label = question.target if isinstance(question.said, Classification) and question.target is not None else None
    with torch.no_grad():
        _, found = watch(question.model, [layer], lambda: question.score(question.inputs))
    channel = int(found[layer][0].flatten(1).sum(1).argmax())

    def look(images: Tensor) -> Tensor:
        answers, found = watch(
            question.model,
            [layer],
            lambda: question.model(images).float().softmax(1) if label is not None else question.score(images)[:, None],
        )
        return torch.cat([answers, found[layer][:, channel].flatten(1).sum(1, keepdim=True)], 1)

    cover = question.grey if fill == "grey" else fill
    seen = occlusions.occlusion(look, question.inputs, side, stride, cover)
    drop = seen.drop()
    # Drawn without the edges of the squares, which are the method's and not the network's.
    smooth_drop = torch.from_numpy(cv2.GaussianBlur(drop[label or 0].numpy(), (0, 0), max(0.5, min(seen.stride) / 2)))
    before = float(seen.before[label or 0])
    if label is None and before <= 0:
        trust += f" What is asked about is at {before:.3g} before anything is covered, so there is little to lose."
    lost = _heated(question, "occlusion", smooth_drop.clamp(min=0), trust, share=1.0)
    square_words = f"a square of {side} pixels every {seen.stride[0]}"
    tiles = [Tile(lost.tiles[0].image, "occlusion", f"where covering costs {question.name} most")]
    after = seen.after[..., label or 0].numpy()
    what = "probability" if label is not None else "score"
    # A probability is dark at 0; a score has no such end, and is drawn from its least to its most.
    after = after if label is not None else after - after.min()
    tiles.append(
        Tile(_grown(heat(after, share=1.0), seen, question), f"{what} of what is explained", f"with {square_words}")
    )
    if label is not None:
        tiles.append(_most_probable(question, seen))
    activity = seen.after[..., -1].numpy()
    tiles.append(
        Tile(_grown(heat(activity, share=1.0), seen, question), f"activity of channel {channel}", f"of {layer}")
    )
    return Explained("occlusion", question.words, tiles, trust, of_image(question, drop[label or 0]))


def _side_of(square: int | str | None, question: Question, layer: str) -> int:
    """How many pixels a side the square has that covers; arguments as of `show_occlusion`."""
    shorter = min(question.image.shape[:2])
    if square is None:
        return max(1, shorter // 7)
    if square == "field":
        side = min(fields_of(question.model, layer, question.inputs).largest)
        if side >= shorter:
            raise UsageError(
                f"a unit of {layer} sees {side} pixels of the image's {shorter}: a square as large would cover all of "
                f"it; name a layer that sees less, --set layer=..., or a number of pixels"
            )
        return side
    if not isinstance(square, int):
        raise UsageError(f'square is a number of pixels, or "field", got {square!r}')
    return square


def features_layer(predictor: Predictor, inputs: Tensor) -> str:
    """The last of the coarsest maps of the whole image that are not the classes' own; of the backbone, if there is
    one."""
    model, classes, among = predictor.model, len(predictor.card.classes), of_backbone(predictor.model)
    with torch.no_grad():
        _, calls = watch_all(model, lambda: model(inputs))
    calls = [call for call in calls if among is None or call.name in among]
    uses = [call.name for call in calls]
    alone = [call for call in calls if is_map(call.output) and uses.count(call.name) == 1]
    fit = [call for call in alone if len(call.output) == len(inputs) and call.output.shape[1] != classes]
    if not fit:
        raise UsageError("the network has no layer with maps of the whole image; name one with --layer")
    return min(reversed(fit), key=lambda call: call.output.shape[2:].numel()).name


def _grown(picture: np.ndarray, seen: Occlusion, question: Question) -> np.ndarray:
    """A map [R, S] or [R, S, 3] of the places of a square as large as the image: every pixel has that of the square
    whose middle is nearest. What lies beyond the image is cut off."""
    nearest = []
    for length, side, step, count in zip(seen.size, seen.square, seen.stride, picture.shape[:2], strict=True):
        first = step * np.arange(count)
        middles = (first + np.minimum(first + side, length)) / 2  # the last may be cut off by the edge
        nearest.append(np.abs(np.arange(length)[:, None] + 0.5 - middles).argmin(1))
    rows, columns = nearest
    return picture[rows[: question.image.shape[0]]][:, columns[: question.image.shape[1]]]


def _most_probable(question: Question, seen: Occlusion) -> Tile:
    """Which class is the most probable with the square at each place."""
    best = seen.after[..., :-1].numpy().argmax(2)
    found, counts = np.unique(best, return_counts=True)
    kept = found[np.argsort(-counts, kind="stable")][:MOST_CLASSES]
    labels = np.full(best.shape, len(kept), dtype=np.uint8)
    for n, label in enumerate(kept):
        labels[best == label] = n
    names = (*(question.predictor.card.classes[label] for label in kept), "others")
    large = _grown(labels, seen, question)
    ground = np.full((*large.shape, 3), 255, dtype=np.uint8)
    return Tile(draw(ground, LabelMap(large, names), names), "the most probable class", "with the square there")


def show_feature_maps(question: Question, trust: str, layer: str | None = None, most: int = maps.MOST) -> Explained:
    if layer is None:
        raise UsageError("feature_maps are those of a layer: name it with --layer; `saccade models NAME --layers`")
    found = maps.feature_maps(question.model, question.inputs, layer)
    shape = " x ".join(map(str, found.maps.shape))
    return Explained("feature_maps", f"{layer}, {shape}", found.tiles(most), trust, found.maps)


def show_shifts(question: Question, trust: str, kind: str | None = None, layers: str | None = None) -> Explained:
    """layers  names, separated by commas; None for some from first to last"""
    names = layers.split(",") if layers else some_layers(question)
    blocks: list[Block] = []
    along = {"translate": "pixels to the right", "rotate": "degrees", "scale": "times as large"}
    for own in [kind] if kind else list(moves.AMOUNTS):
        found = moves.shifts(question.model, question.inputs, names, own, fill=question.grey)  # pyright: ignore[reportArgumentType]
        panels = {
            f"{own}: {title}": dict(zip(found.layers, values, strict=True))
            for title, values in (("moves with the image", found.equivariance), ("stays as it was", found.invariance))
        }
        svg = explain_plots.answers(found.amounts, panels, own, along[own])
        blocks.append(Figure(svg, f"How far each layer's answer moves with the image, and stays as it was ({own})."))
    return Explained("shifts", "how its layers answer to a moved image", [], trust, None, blocks)


def some_layers(question: Question) -> list[str]:
    """A few layers with maps, from the first to the last, and what is said in the end."""
    with torch.no_grad():
        _, calls = watch_all(question.model, lambda: question.model(question.inputs))
    uses = [call.name for call in calls]
    alone = [call for call in calls if uses.count(call.name) == 1 and len(call.output) == 1]
    # A block gives what its last layer gave, if it does nothing more.
    new = [call for call, before in zip(alone, [None, *alone], strict=False) if not _same(call, before)]
    names = [call.name for call in new if is_map(call.output)]
    rows = [call.name for call in alone if call.output.ndim == 2]
    chosen = [names[round(n)] for n in np.linspace(0, len(names) - 1, min(LAYERS, len(names)))] if names else []
    return list(dict.fromkeys([*chosen, *rows[-1:]]))


def _same(call: Call, before: Call | None) -> bool:
    return before is not None and call.output.shape == before.output.shape and call.output.equal(before.output)


# What can be asked which pixels matter, and so be tested.
ATTRIBUTIONS: dict[str, Callable[..., Explained]] = {
    "occlusion": show_occlusion,
    "saliency": show_saliency,
    "guided_backprop": show_guided_backprop,
    "deconvnet": show_deconvnet,
    "grad_cam": show_grad_cam,
    "cam": show_cam,
    "integrated_gradients": show_integrated_gradients,
    "smoothgrad": show_smoothgrad,
}


def importance(question: Question, name: str) -> Tensor:
    """[H, W] float: how important a method says each pixel is, larger is more."""
    found = ATTRIBUTIONS[name](question, "").values
    assert found is not None
    return torch.from_numpy(np.abs(found).max(2) if found.ndim == 3 else found)
