"""The methods that look through a data set, or at the network alone."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from saccade.data import source as sources
from saccade.data.decode import render
from saccade.data.findings import DataError, Findings
from saccade.data.source import Split
from saccade.errors import UsageError
from saccade.explain import embedding_map as maps
from saccade.explain import neighbours as nearest
from saccade.explain.deconvnet import deconvnet
from saccade.explain.fields import Fields, fields_of
from saccade.explain.filters import filters as filters_of
from saccade.explain.score import of_activity
from saccade.explain.top_patches import TopPatches, top_patches
from saccade.keyed import generator
from saccade.predict import Predictor
from saccade.progress import Progress
from saccade.recipes.explain_pictures import Explained, features_layer
from saccade.recipes.predict import find_images
from saccade.report import explain_plots
from saccade.report.heat import around_grey
from saccade.report.page import Block, Figure, Tile
from saccade.report.picture_map import PictureMap

BATCH = 32
MOST_NAMED = 24  # classes that a legend can hold
PATCH, GAP = 72, 4  # pixels of a patch on a sheet, and between two
SPLITS = ("test", "val", "all", "train")  # which is looked through: the first that there is


@dataclass(frozen=True, eq=False)
class Looked:
    """A data set as the network looks at it.

    labels   [M] int64, where every image has one class; None else
    classes  their names
    """

    predictor: Predictor
    name: str
    split: Split
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.split)

    def picture(self, index: int) -> np.ndarray:
        """[H, W, C] uint8: what the network sees of an image."""
        preprocessing, picture = self.predictor.card.preprocessing, self.split.open(index)
        return render(picture, preprocessing.view(picture.size), preprocessing)

    def inputs(self, pictures: Sequence[np.ndarray]) -> Tensor:
        """Pictures of one size, normalised, [B, C, H, W]."""
        images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).to(self.predictor.device)
        with torch.no_grad():
            return self.predictor.preprocess(images).contiguous(memory_format=torch.channels_last)

    def batches(self, what: str) -> Iterator[Tensor]:
        """All images in order, those of one size that follow each other together."""
        pictures: list[np.ndarray] = []
        with Progress(what, len(self)) as progress:
            for index in range(len(self)):
                picture = self.picture(index)
                if pictures and (len(pictures) == BATCH or picture.shape != pictures[0].shape):
                    yield self.inputs(pictures)
                    progress.advance(len(pictures))
                    pictures = []
                pictures.append(picture)
            if pictures:
                yield self.inputs(pictures)
                progress.advance(len(pictures))


def look_through(predictor: Predictor, data: str | Path | Split, split: str | None = None) -> Looked:
    """The images of DATA: a set of any format, of which the part that was not trained on if there is one, or a folder
    of plain images.

    Raises UsageError when there are none.
    """
    if isinstance(data, Split):
        return Looked(predictor, "the images", data)
    try:
        source = sources.read(data, Findings(strict=False))
    except (UsageError, DataError):
        if not Path(data).is_dir():
            raise
        files = find_images([Path(data)])
        ids = [str(file.relative_to(data)) for file in files]
        return Looked(predictor, str(data), Split(files, ids))
    name = split or next(name for name in SPLITS if name in source.splits)
    if name not in source.splits:
        raise UsageError(f"{source.name} has no split {name!r}; it has {', '.join(source.splits)}")
    own = source.splits[name]
    if not len(own):
        raise UsageError(f"{source.name} has no images in {name}")
    return Looked(predictor, f"{source.name}, {name}", own, own.labels, source.classes)


def default_layer(looked: Looked) -> str:
    return features_layer(looked.predictor, looked.inputs([looked.picture(0)]))


def show_filters(
    predictor: Predictor, trust: str, layer: str | None = None, beside: Sequence[Predictor] = ()
) -> Explained:
    """beside  other networks, whose filters are shown too"""
    tiles, words = [], []
    for own in (predictor, *beside):
        found = filters_of(own.model, layer if own is predictor else None)
        count, height, width = found.weights.shape[:3]
        words.append(f"{own.card.model} {found.layer}: {count} of {height} x {width}")
        tiles += [Tile(_enlarged(tile.image), tile.title, own.card.model if beside else "") for tile in found.tiles()]
    return Explained("filters", "; ".join(words), tiles, trust)


def _enlarged(image: np.ndarray) -> np.ndarray:
    """Small filters pixel by pixel, large enough to be seen."""
    factor = max(1, 64 // max(image.shape[:2]))
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def show_top_patches(
    looked: Looked, trust: str, layer: str | None = None, units: str | int = 10, count: int = 9
) -> Explained:
    """units  how many channels, spread over all; or which, "3,17,40"; of one "3," with a comma
    count  patches of each"""
    layer = default_layer(looked) if layer is None else layer
    model = looked.predictor.model
    inputs = looked.inputs([looked.picture(0)])
    fields = fields_of(model, layer, inputs)
    channels = _channels(units)
    found = top_patches(model, looked.batches("looking for patches"), layer, channels, count)
    if channels is None:
        chosen = np.unique(np.linspace(0, len(found.channels) - 1, min(int(units), len(found.channels))).astype(int))
        found = TopPatches(
            layer, *(part[chosen] for part in (found.channels, found.values, found.images, found.places))
        )
    tiles, refused = [], ""
    with Progress("projecting", len(found.channels), unit="units") as progress:
        for n, channel in enumerate(found.channels.tolist()):
            tile, refused = _unit_tile(looked, found, fields, n, channel)
            tiles.append(tile)
            progress.advance()
    sees = "{} x {}".format(*fields.largest)
    words = f"{layer}: what excites its units most in {len(looked):,} images of {looked.name}; each sees {sees} pixels"
    return Explained("top_patches", words, tiles, " ".join(filter(None, (trust, refused))))


def _channels(units: str | int) -> list[int] | None:
    """Which channels are named; None where it is only said how many."""
    if isinstance(units, int):
        return None
    try:
        return [int(part) for part in units.strip(",").split(",")]
    except ValueError:
        raise UsageError(
            f'units is a number of channels, or some of them such as "3,17,40", or one, "3,"; got {units!r}'
        ) from None


def _unit_tile(looked: Looked, found: TopPatches, fields: Fields, n: int, channel: int) -> tuple[Tile, str]:
    """The patches of one unit, and what the DeconvNet projects down from each; why there is none of the latter."""
    known = found.values[n][np.isfinite(found.values[n])]
    if not known.any():
        silence = np.full((PATCH, PATCH, 3), 128, dtype=np.uint8)
        return Tile(silence, f"channel {channel}", f"silent on all {len(looked):,} images"), ""
    patches, projected, refused = [], [], ""
    model = looked.predictor.model
    for value, image, place in zip(found.values[n], found.images[n], found.places[n], strict=True):
        if not np.isfinite(value):
            continue
        picture = looked.picture(int(image))
        row, column = (int(part) for part in place)
        box = (
            fields.box(row, column) if picture.shape[:2] == fields.size else (0, 0, picture.shape[1], picture.shape[0])
        )
        patches.append(_cut(picture, box))
        if refused:
            continue
        try:
            score = of_activity(model, found.layer, channel, (row, column))
            back = deconvnet(score, looked.inputs([picture]))[0].permute(1, 2, 0).cpu().numpy()
            left, top, right, bottom = box
            projected.append(_cut(around_grey(back[top:bottom, left:right]), (0, 0, right - left, bottom - top)))
        except UsageError as error:
            refused = str(error)
    sides = [_square(patches)] + ([_square(projected)] if projected else [])
    gap = np.full((sides[0].shape[0], 3 * GAP, 3), 255, dtype=np.uint8)
    image = np.hstack([sides[0], gap, sides[1]]) if len(sides) > 1 else sides[0]
    return Tile(image, f"channel {channel}", f"activations {known.max():.3g} to {known.min():.3g}"), refused


def _cut(picture: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """[PATCH, PATCH, 3] uint8: a part of a picture, all of it, on grey where it is not square."""
    left, top, right, bottom = box
    part = picture[top:bottom, left:right]
    part = np.repeat(part, 3, axis=2) if part.shape[2] == 1 else part
    factor = PATCH / max(part.shape[:2])
    size = max(1, round(factor * part.shape[1])), max(1, round(factor * part.shape[0]))
    part = cv2.resize(part, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
    out = np.full((PATCH, PATCH, 3), 128, dtype=np.uint8)
    y, x = (PATCH - size[1]) // 2, (PATCH - size[0]) // 2
    out[y : y + size[1], x : x + size[0]] = part
    return out


def _square(patches: Sequence[np.ndarray]) -> np.ndarray:
    """Patches in rows and columns, on white."""
    columns = math.ceil(math.sqrt(len(patches)))
    rows = math.ceil(len(patches) / columns)
    step = PATCH + GAP
    out = np.full((rows * step - GAP, columns * step - GAP, 3), 255, dtype=np.uint8)
    for n, patch in enumerate(patches):
        top, left = n // columns * step, n % columns * step
        out[top : top + PATCH, left : left + PATCH] = patch
    return out


def show_embedding_map(
    looked: Looked,
    trust: str,
    layer: str | None = None,
    by: str = "tsne",
    count: int = 1000,
    perplexity: float | None = None,
    seed: int = 0,
) -> Explained:
    """count  so many images, chosen at random where there are more"""
    if not 1 <= count <= maps.MOST:
        raise UsageError(f"count must be between 1 and {maps.MOST}, the images that a grid takes; got {count}")
    layer = default_layer(looked) if layer is None else layer
    chosen = np.arange(len(looked))
    if len(looked) > count:
        chosen = np.sort(generator("embedding map", seed).permutation(len(looked))[:count])
    part = Looked(looked.predictor, looked.name, looked.split.take(chosen), None, looked.classes)
    labels = None if looked.labels is None else looked.labels[chosen]
    model = looked.predictor.model
    rows = [nearest.features_of(model, inputs, layer) for inputs in part.batches("looking at images")]
    places = maps.embedding_map(np.concatenate(rows), by, perplexity, seed)  # pyright: ignore[reportArgumentType]
    thumbnails = [part.picture(n) for n in range(len(part))]
    drawn = PictureMap(thumbnails, list(part.split.ids), places, maps.on_grid(places), labels, looked.classes)
    shown = f"{len(part):,} of {len(looked):,}" if len(part) < len(looked) else f"{len(part):,}"
    words = f"{shown} images of {looked.name}, placed by {layer}"
    tiles = [Tile(drawn.scatter(), f"{by}: where each image lies", words), Tile(drawn.grid(), "on a grid", words)]
    blocks: list[Block] = []
    if labels is not None and len(np.unique(labels)) <= MOST_NAMED:
        svg = explain_plots.dots(places, labels, looked.classes, f"{by}: where each class lies")
        blocks.append(Figure(svg, "The same map, a mark for each image, by its class."))
    return Explained("embedding_map", words, tiles, trust, places, blocks, files={"map.html": drawn.page(words)})
