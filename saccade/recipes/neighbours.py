"""Which images of a data set look like this one to a network; and, of a run, which of those that it was trained on."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from saccade.data import source as sources
from saccade.data.findings import Findings
from saccade.data.hold_out import hold_out
from saccade.data.source import Split
from saccade.errors import SaccadeError
from saccade.explain import neighbours as nearest
from saccade.predict import Pictured, Predictor
from saccade.recipes.explain_data import Looked, default_layer, look_through
from saccade.recipes.explain_pictures import Explained
from saccade.recipes.explain_question import Asked, ask
from saccade.report.page import Tile

FOLDER = "neighbours"  # in a run directory: the features of what it was trained on


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """A data set by the features that a layer has for its images."""

    looked: Looked
    layer: str
    index: nearest.Index

    def nearest(self, image: np.ndarray, count: int) -> tuple[list[int], list[float]]:
        """Which are the most alike, best first, and their cosines.

        image  [H, W, C] uint8: what the network sees of it
        """
        # As the others were looked at, without what pads it.
        query = nearest.features_of(self.looked.predictor.model, self.looked.inputs([image]), self.layer)
        places, alike = self.index.nearest(query, count)
        return places[0].tolist(), alike[0].tolist()

    def named(self, place: int) -> tuple[str, str]:
        """What an image is called, and its class, where every image has one."""
        labels = self.looked.labels
        return self.index.ids[place], "" if labels is None else self.looked.classes[int(labels[place])]


def neighbourhood(looked: Looked, layer: str | None = None, folder: str | Path | None = None) -> Neighbourhood:
    """Look through a data set, or take what is known of it already.

    folder  keeps the features for the next time

    Raises UsageError when the folder is something else, or a layer gives no features.
    """
    layer = default_layer(looked) if layer is None else layer
    about = _about(looked, layer)

    def rows() -> Iterator[np.ndarray]:
        for inputs in looked.batches("looking at images"):
            yield nearest.features_of(looked.predictor.model, inputs, layer)

    if folder is None:
        index = nearest.Index(np.concatenate(list(rows())), tuple(looked.split.ids), about)
        return Neighbourhood(looked, layer, index)
    if (Path(folder) / nearest.ABOUT).is_file():
        index = nearest.load(Path(folder))
        if index.about == about:
            return Neighbourhood(looked, layer, index)
    return Neighbourhood(looked, layer, nearest.build(Path(folder), rows(), looked.split.ids, about))


def trained_on(predictor: Predictor) -> Looked:
    """What a run was trained on, without what was kept back.

    Raises SaccadeError where it is no longer where it was.
    """
    card = predictor.card
    try:
        source = sources.read(card.data, Findings(strict=False))
        held = hold_out(source, card.config["hold_out"], card.config["seed"], predictor.task.known)
    except (SaccadeError, KeyError) as error:
        raise SaccadeError(f"what {card.model} was trained on, {card.data}, cannot be read: {error}") from None
    train = held.splits["train"]
    return Looked(predictor, f"{source.name}, train", train, train.labels, source.classes)


def keep_neighbourhood(predictor: Predictor, run: Path) -> Neighbourhood:
    """Look through what a run was trained on, and keep that in the run directory; quick the second time.

    Raises SaccadeError where it cannot be read.
    """
    return neighbourhood(trained_on(predictor), folder=run / FOLDER)


def open_neighbourhood(predictor: Predictor, run: Path) -> Neighbourhood | None:
    """What was kept in a run directory; None where there is nothing, or it is of other weights or images."""
    if not (run / FOLDER / nearest.ABOUT).is_file():
        return None
    try:
        looked, index = trained_on(predictor), nearest.load(run / FOLDER)
    except SaccadeError:
        return None
    layer = index.about.get("layer", "")
    return Neighbourhood(looked, layer, index) if index.about == _about(looked, layer) else None


def show_neighbours(
    predictor: Predictor,
    image: Pictured,
    data: str | Path | Split,
    trust: str,
    layer: str | None = None,
    count: int = 12,
    index: str | Path | None = None,
    split: str | None = None,
) -> Explained:
    """index  a folder that keeps the features for the next time"""
    near = neighbourhood(look_through(predictor, data, split), layer, index)
    question = ask(predictor, image, Asked(), about_answer=False)
    places, alike = near.nearest(question.image, count)
    tiles = [Tile(question.image, "the image", str(image) if isinstance(image, (str, Path)) else "")]
    for place, value in zip(places, alike, strict=True):
        id, label = near.named(place)
        tiles.append(Tile(near.looked.picture(place), f"{value:.3f}  {label}".strip(), id))
    words = f"the most alike of {len(near.looked):,} images of {near.looked.name}, by {near.layer}"
    return Explained("neighbours", words, tiles, trust, np.array(alike, dtype=np.float32))


def _about(looked: Looked, layer: str) -> dict[str, str]:
    """What features are of: another network's, or other images', cannot be compared with them."""
    return {
        "model": looked.predictor.card.model,
        "weights": _digest(looked.predictor),
        "preprocessing": repr(looked.predictor.card.preprocessing),
        "layer": layer,
        "images": _listed(looked),
    }


def _digest(predictor: Predictor) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for name, tensor in predictor.model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _listed(looked: Looked) -> str:
    """Which images these are: by name and, of files, by size."""
    digest = hashlib.blake2b("\n".join(looked.split.ids).encode(), digest_size=8)
    digest.update(repr(looked.split.bytes).encode())
    return digest.hexdigest()
