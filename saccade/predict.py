"""From a run directory to predictions. A Predictor keeps nothing of a picture: any number of threads may share one."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from saccade import checkpoint
from saccade.backbones.published import WEIGHTS
from saccade.checkpoint import Card
from saccade.data.decode import Picture, prepare, to_picture
from saccade.data.loader import collate
from saccade.errors import SaccadeError, UsageError
from saccade.layers.fuse import fuse_norms
from saccade.layers.preprocess import Preprocess
from saccade.layers.twin import keep_in
from saccade.models import Model, create_model, create_probe, create_task, find_weights, list_models, task_of
from saccade.precision import choose
from saccade.structures import Prediction, Sample
from saccade.tasks.segment.contract import Segmenter
from saccade.tasks.segment.tiles import check_tile

ENOUGH = 64  # pixels a side of an image that every network takes which takes images of any size
Pictured = str | Path | bytes | np.ndarray | Image.Image


class Predictor:
    """A trained model with all it needs to look at a picture.

    model  the bare network, on normalised input
    task   what is asked of it
    card   what the weights are: their classes, their preprocessing, how they were trained
    dtype  what it computes in: float32; or bfloat16, much faster where the machine is built for it, and right to two or
           three digits
    """

    def __init__(self, model: Model, card: Card, precision: str = "float32", **options: Any) -> None:
        self.model, self.card = model.eval().requires_grad_(False), card
        self.task = create_task(card.task, card.classes, model, card.skeleton, **options)
        self.device = next(model.parameters()).device
        self.preprocess = Preprocess(card.preprocessing).to(self.device)
        self.dtype = choose(precision, self.device)

    @cached_property
    def fused(self) -> Model:
        """The network that predicts: batch norms are parts of the convolutions before them. Made when first asked for:
        after that `model` is not to be given other weights, and what watches it does not see predictions."""
        preprocessing = self.card.preprocessing
        any_size = preprocessing.frame in ("whole", "windows")
        size = (ENOUGH, ENOUGH) if any_size else preprocessing.size
        return fuse_norms(self.model, torch.zeros(1, preprocessing.channels, *size, device=self.device))

    @cached_property
    def _cast(self) -> Model:
        """The same in the number format that it computes in, for pictures; evaluations are in float32."""
        return self.fused if self.dtype == torch.float32 else keep_in(self.fused, self.dtype)

    def __call__(self, image: Pictured) -> Prediction:
        """What the model says of one picture.

        image  a path, the bytes of a file, an array [H, W] or [H, W, 3] uint8 RGB, or a Pillow image

        Raises DecodeError when it is not an image.
        """
        return self.look(to_picture(image))

    def look(self, picture: Picture) -> Prediction:
        """What the model says of an opened picture."""
        return self.say([prepare(picture, self.card.preprocessing)])[0]

    @torch.inference_mode()
    def say(self, samples: Sequence[Sample]) -> Sequence[Prediction]:
        """What the model says of prepared pictures, which go through it together."""
        batch = collate(samples, self.card.preprocessing).to(self.device)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return self.task.predict(self._cast, self.preprocess, batch)


def load(
    path: str | Path,
    device: str | None = None,
    precision: str = "float32",
    tile: int | None = None,
    probabilities: bool = False,
    weights: str | None = None,
    turned: bool = False,
) -> Predictor:
    """The predictor of a run directory, or of published weights.

    path           a run directory; with `weights` a name of the catalogue

    device         "cpu", "cuda" ...; None for a GPU where there is one
    precision      "float32", "bfloat16", or "auto": bfloat16 where the machine is built for it
    tile           of a segmenter: larger images are looked at in squares of so many pixels a side; None for 1024
    probabilities  of a segmenter: its label maps keep those of all classes
    weights        "imagenet", "coco" or another published name
    turned         of a segmenter: it looks in all eight ways, mirrored and turned by quarters, and answers by the mean

    Raises UsageError when `path` is no run directory, or no network with such weights, SaccadeError when it is damaged
    or from a newer saccade.
    """
    model, card = _of_run(Path(path)) if weights is None else _published(str(path), weights)
    asked = {"tile": tile, "probabilities": probabilities, "turned": turned}
    of_maps = {name: value for name, value in asked.items() if value}
    if of_maps and card.task != "segment" and (card.task != "image_to_image" or set(of_maps) != {"tile"}):
        raise UsageError(f"{min(of_maps)} is for networks that say what every pixel is; {card.model} does not")
    if tile is not None and isinstance(model, Segmenter):
        check_tile(tile, model.grid)
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return Predictor(model.to(chosen), card, precision, **of_maps)


def weights_for(path: str | Path | Predictor, weights: str | None) -> str | None:
    """Of several networks that are named together: a run has its own weights, a name of the catalogue those asked."""
    return None if isinstance(path, Predictor) or (Path(path) / "model.toml").is_file() else weights


def _of_run(folder: Path) -> tuple[Model, Card]:
    if not folder.is_dir() and str(folder) in list_models():
        raise UsageError(
            f"{folder} is a name of the catalogue, not a run directory: say which weights, such as imagenet"
        )
    card = checkpoint.load_card(folder)
    if card.adapt == "probe":
        layer = int(card.config["layer"])
        model = create_probe(card.model, len(card.classes), in_channels=card.preprocessing.channels, layer=layer)
    else:
        model = create_model(card.model, len(card.classes), in_channels=card.preprocessing.channels, **card.options)
    try:
        model.load_state_dict(checkpoint.load_weights(folder))
    except RuntimeError as error:
        raise SaccadeError(f"{folder}/model.safetensors does not fit {card.model}: {error}") from None
    return model, card


def _published(name: str, weights: str) -> tuple[Model, Card]:
    """A network of the catalogue with the weights that somebody published for it, to be used as it is."""
    found = find_weights(name, weights)
    if found.classes is None or found.preprocessing is None or weights not in WEIGHTS.get(name, {}):
        raise UsageError(
            f"{name} cannot be used with {weights} as it is: nobody says which classes that file tells apart; "
            f"train it first: saccade fit DATA --model {name} --weights {weights}"
        )
    model = create_model(name, len(found.classes), found)
    return model, Card(name, task_of(name), found.classes, found.preprocessing, weights=weights)
