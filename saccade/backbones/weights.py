"""Published weights: where they are, whether the file is what it should be, and how they like their images.

A file is looked for in the folder SACCADE_WEIGHTS (MODEL-NAME*.safetensors, .pth or .weights), then in the cache, then
fetched.
"""

import hashlib
import json
import os
import pickle
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saccade.backbones.darknet_weights import is_darknet
from saccade.backbones.published import DARKNET, WEIGHTS, Published, State
from saccade.errors import SaccadeError, UsageError, unknown
from saccade.progress import Progress
from saccade.structures import Preprocessing


@dataclass(frozen=True)
class Weights:
    """A file of weights at hand, with what it says of itself.

    preprocessing  None when nothing is known
    classes        None when nothing is known
    convert        as in `Published`
    """

    path: Path
    preprocessing: Preprocessing | None = None
    classes: tuple[str, ...] | None = None
    convert: Callable[[State], State] | None = None

    def read(self) -> State:
        """The tensors, under the network's names; of a file of Darknet's, which has no names, see `darknet_weights`.

        Raises SaccadeError when the file is damaged or holds something else.
        """
        state = read_state(self.path)
        return self.convert(state) if self.convert else state


def resolve(model: str, weights: str | Path) -> Weights:
    """The file of these weights, fetched if need be.

    weights  a published name ("imagenet") or the path of a .safetensors or .pth file, or of Darknet's .weights

    Raises UsageError for a name that is not published, SaccadeError when the file cannot be had or is not intact.
    """
    text = str(weights)
    if Path(text).suffix in (".safetensors", ".pth", ".pt") or is_darknet(Path(text)):
        if not Path(text).is_file():
            raise UsageError(f"There is no weights file {text}")
        # A published file that somebody fetched has its peculiarities wherever it lies, and a detector may start from
        # one of its backbone.
        every = (entry for entries in WEIGHTS.values() for entry in entries.values())
        published = (entry for entry in every if entry.url.endswith(f"/{Path(text).name}"))
        return _described(Path(text), next(published, None))
    if Path(text).is_file():
        raise UsageError(
            f"{text} is not a file of weights: expected one that ends in .safetensors, .pth, .pt or .weights"
        )
    published = WEIGHTS.get(model, {}).get(text)
    if found := _on_the_shelf(model, text):
        return _described(found, published)
    if published is None:
        names = WEIGHTS.get(model)
        if not names:
            raise UsageError(
                f"saccade knows of no published weights for {model}; give the path of a .safetensors or .pth file"
            )
        raise unknown(f"weights of {model} called", text, names)
    return _described(_cached(published), published)


def at_hand(model: str, weights: str) -> bool:
    """Whether a published file is on this machine: in the folder SACCADE_WEIGHTS, or fetched before."""
    published = WEIGHTS.get(model, {}).get(weights)
    return bool(_on_the_shelf(model, weights) or (published and _cache_path(published).exists()))


def _on_the_shelf(model: str, weights: str) -> Path | None:
    """The file in the folder that SACCADE_WEIGHTS names."""
    shelf = os.environ.get("SACCADE_WEIGHTS")
    for suffix in ("safetensors", "pth", "weights") if shelf else ():
        for found in sorted(Path(str(shelf)).glob(f"{model}-{weights}*.{suffix}")):
            # "imagenet" must not pick up a file of "imagenet_v2".
            if not found.name.startswith(f"{model}-{weights}_"):
                return found
    return None


def _cache_path(published: Published) -> Path:
    return cache_folder() / published.url.rsplit("/", 1)[1]


def read_state(path: Path) -> State:
    """The tensors of a .safetensors, .pth or .pt file. Never unpickles anything but tensors.

    Raises SaccadeError when the file is damaged or holds something else.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        # torch's own words advise to unpickle it all the same.
        raise SaccadeError(
            f"{path} cannot be read as weights: it is no file of torch.save, or holds more than tensors and "
            f"plain values; save the state dict alone"
        ) from None
    except Exception as error:  # both libraries raise many kinds on damaged or hostile files
        reason = str(error).strip().split("\n")[0][:200]
        raise SaccadeError(f"{path} cannot be read as weights: {reason}") from None
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise SaccadeError(f"{path} holds no state dict (names with tensors), but a {type(state).__name__}")
    if state and all(key.startswith("module.") for key in state):
        # Saved from inside DataParallel or DistributedDataParallel.
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return state


def class_names(name: str) -> tuple[str, ...]:
    """The class names of a published list, in order: "imagenet" has 1,000."""
    return tuple(
        resources.files("saccade.backbones").joinpath(f"{name}_classes.txt").read_text("utf-8").split("\n")[:-1]
    )


def coco_in_imagenet() -> dict[str, tuple[int, ...]]:
    """For names of COCO's classes the labels of ImageNet's that are such a thing, 0..999; some have none."""
    imagenet = class_names("imagenet")
    text = resources.files("saccade.backbones").joinpath("coco_in_imagenet.toml").read_text("utf-8")

    def labels(entry: str) -> range:
        first, _, last = entry.partition(" ... ")
        return range(imagenet.index(first), imagenet.index(last or first) + 1)

    return {name: tuple(k for one in entries for k in labels(one)) for name, entries in tomllib.loads(text).items()}


def cache_folder() -> Path:
    """Where fetched weights are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "saccade" / "weights"


def _described(path: Path, published: Published | None) -> Weights:
    """The file with its preprocessing: its own metadata first, then the table's."""
    preprocessing = published.preprocessing if published else DARKNET if is_darknet(path) else None
    if path.suffix == ".safetensors":
        own = _metadata(path).get("preprocessing")
        preprocessing = _preprocessing(path, own) if own else preprocessing
    if published is None:
        return Weights(path, preprocessing)
    return Weights(path, preprocessing, class_names(published.classes), published.convert)


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise SaccadeError(f"{path} cannot be read as weights: {error}") from None


def _preprocessing(path: Path, text: str) -> Preprocessing:
    """From JSON such as {"size": 224, "resize": 256, "mean": [...], "std": [...]}."""
    try:
        said: dict[str, Any] = json.loads(text)
        size = said["size"]
        size = (size, size) if isinstance(size, int) else tuple(size)
        resize = said.get("resize", max(size))
        return Preprocessing(size, resize, said.get("mode", "RGB"), tuple(said["mean"]), tuple(said["std"]))
    except (ValueError, KeyError, TypeError) as error:
        raise SaccadeError(f"{path}: its metadata 'preprocessing' cannot be understood ({error!r}): {text}") from None


def _cached(published: Published) -> Path:
    """The file in the cache, fetched and verified when it is not there yet."""
    path = _cache_path(published)
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    digest = hashlib.sha256()
    try:
        with urllib.request.urlopen(published.url, timeout=30) as answer, part.open("wb") as file:
            length = int(answer.headers.get("Content-Length") or 0)
            with Progress(f"fetching {path.name}", length or None, unit="bytes") as progress:
                while block := answer.read(1 << 20):
                    digest.update(block)
                    file.write(block)
                    progress.advance(len(block))
        if not digest.hexdigest().startswith(published.sha256):
            raise SaccadeError(
                f"{published.url} gave a file whose SHA-256 begins {digest.hexdigest()[:8]}, "
                f"expected {published.sha256}; it was damaged on the way or replaced: try again"
            )
        part.rename(path)
    except (urllib.error.URLError, OSError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise SaccadeError(
            f"{published.url} cannot be fetched ({getattr(error, 'reason', error)}); "
            f"download it elsewhere and put it at {path}, or into a folder that SACCADE_WEIGHTS names"
        ) from None
    finally:
        part.unlink(missing_ok=True)
    return path
