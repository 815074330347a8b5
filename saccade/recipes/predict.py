"""What is on these pictures?"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from saccade import checkpoint
from saccade.checkpoint import Card
from saccade.data.decode import SUFFIXES, DecodeError, FilePicture
from saccade.data.film import FILMS
from saccade.data.formats.coco_found import annotation_of, encode
from saccade.data.formats.mask_classes import classes_file
from saccade.errors import UsageError
from saccade.predict import Predictor, load
from saccade.progress import track
from saccade.recipes.thumbnail import small_view
from saccade.report.draw import draw, titled
from saccade.report.palette import colour
from saccade.structures import VOID, Classification, ColourMap, Instances, LabelMap, Prediction
from saccade.wording import counted

FOUND, AREAS, MASKS = "found.json", "areas.json", "masks"
LARGEST = 2048  # pixels of the longer side of a drawn label map


def predict_all(run: str | Path | Predictor, paths: Sequence[Path]) -> Iterator[tuple[Path, Prediction | DecodeError]]:
    """One answer an image, in order; an image that cannot be read gives its error, and the others go on.

    run    a run directory, or what `load` made of it
    paths  images, and folders that are searched for images

    Raises UsageError, before anything else is done, for a path that does not exist or a folder without images.
    """
    files = find_images(paths)
    predictor = run if isinstance(run, Predictor) else load(run)
    for file in track(files, "looking", len(files)):
        try:
            yield file, predictor(file)
        except DecodeError as error:
            yield file, error


def find_images(paths: Sequence[Path]) -> list[Path]:
    """The images themselves, and those in the folders. Raises UsageError as `predict_all`."""
    return [file for path in paths for file in _images(path)]


def find_files(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """The images and the films, and those in the folders. Raises UsageError where a path or folder is neither."""
    pictures, films = list[Path](), list[Path]()
    for path in paths:
        inside = [path] if path.is_file() else sorted(path.rglob("*"))
        own = [file for file in inside if file.suffix.lower() in FILMS and file.is_file()]
        films += own
        # A folder of films alone has no images to ask for.
        if not own or any(file.suffix.lower() in SUFFIXES for file in inside):
            pictures += _images(path)
    return pictures, films


def in_words(prediction: Prediction, classes: Sequence[str], top: int = 5, sure: float = 0.5) -> str:
    """One line: the most likely classes, the things that were found, or how much of the image each class has.

    top   how many classes or things
    sure  the least score of a thing
    """
    if isinstance(prediction, ColourMap):
        return f"an image of {prediction.size[1]} x {prediction.size[0]} pixels; --out FOLDER keeps it"
    if isinstance(prediction, LabelMap):
        total = prediction.labels.size
        shares = [f"{name} {100 * area / total:.1f} %" for name, area in prediction.areas().items()]
        return "  ".join(shares[:top] + ([f"and {len(shares) - top} more"] if len(shares) > top else []))
    if not isinstance(prediction, Instances):
        return "  ".join(f"{name} {100 * score:.1f} %" for name, score in prediction.top(top))
    things = surer(prediction, sure)
    scores = np.zeros(0) if things.scores is None else things.scores
    named = [f"{classes[label]} {100 * s:.0f} %" for label, s in zip(things.labels[:top], scores[:top], strict=True)]
    more = [f"and {len(things) - top} more"] if len(things) > top else []
    return "  ".join([counted(len(things), "thing", "things") + (":" if named else ""), *named, *more])


def as_dict(prediction: Prediction, classes: Sequence[str], top: int = 5, sure: float = 0.5) -> dict[str, Any]:
    """For JSON: the most likely classes; every thing of a score of at least `sure`, its box as x, y, width, height,
    as COCO writes it; or how many pixels each class has."""
    if isinstance(prediction, ColourMap):
        return {"height": prediction.size[0], "width": prediction.size[1]}
    if isinstance(prediction, LabelMap):
        return {"height": prediction.size[0], "width": prediction.size[1], "pixels": prediction.areas()}
    if not isinstance(prediction, Instances):
        return prediction.as_dict(top)
    things = surer(prediction, sure)
    found = []
    for n in range(len(things)):
        entry = annotation_of(things, n)
        found.append({"class": classes[entry.pop("category_id") - 1]} | entry)
    return {"height": things.size[0], "width": things.size[1], "things": found}


def surer(things: Instances, sure: float) -> Instances:
    """What has a score of at least `sure`."""
    return things if things.scores is None else things.take(things.scores >= sure)


class Drawn:
    """A folder of pictures with what was said drawn on them, and all of it in files that others read: of things one
    COCO file; of label maps a folder `masks` of PNG files, a value a class, classes.txt, and the areas of the classes.

    files  the images that will be drawn on; none may be in this folder
    """

    def __init__(self, folder: Path, predictor: Predictor, files: Sequence[Path], sure: float = 0.5) -> None:
        if predictor.card.task == "classify":
            raise UsageError(
                f"{predictor.card.model} names classes of whole images; there is nothing to draw: no --out"
            )
        here = next((file for file in files if file.resolve().parent == folder.resolve()), None)
        if here is not None:
            raise UsageError(
                f"{folder} holds {here.name}, one of the images, which its drawing would replace; choose another --out"
            )
        if (folder / "model.toml").exists():
            raise UsageError(f"{folder} is a run directory; choose another --out for the pictures")
        others = [folder / name for name in (MASKS, "classes.txt") if (folder / name).exists()]
        if predictor.card.task == "segment" and others and not (folder / AREAS).exists():
            raise UsageError(f"{others[0]} is there already and no prediction's; choose another --out")
        self.folder, self.card, self.sure = folder, predictor.card, sure
        self._found: list[tuple[str, Instances]] = []
        self._areas: dict[str, dict[str, int]] = {}
        self._names: set[str] = set()
        checkpoint.make_folder(folder)
        if predictor.card.task == "segment":
            checkpoint.make_folder(folder / MASKS)

    def add(self, path: Path, said: Instances | LabelMap | ColourMap) -> Path:
        """Draw one image; returns where."""
        if isinstance(said, ColourMap):
            where = self.folder / self._free(path.stem, ".png")
            Image.fromarray(said.pixels).save(where)
            return where
        shown = said if isinstance(said, LabelMap) else surer(said, self.sure)
        pixels, _ = FilePicture(path).pixels("RGB")
        name = self._free(path.stem)
        Image.fromarray(_drawn(pixels, shown, self.card)).save(self.folder / name, quality=92)
        if isinstance(shown, LabelMap):
            self._write_map(shown, name)
            self._areas[str(path)] = shown.areas()
        else:
            self._found.append((str(path), shown))
        return self.folder / name

    def close(self) -> Path | None:
        """Write what tells of all images together; returns where, and None where there is nothing to tell."""
        if self.card.task == "image_to_image":
            return None
        if self.card.task == "segment":
            path = self.folder / AREAS
            checkpoint.write(self.folder / "classes.txt", classes_file(self.card.classes))
            checkpoint.write(path, json.dumps(self._areas, ensure_ascii=False, indent=1) + "\n")
            return path
        path = self.folder / FOUND
        checkpoint.write(path, encode(self._found, self.card.classes, self.card.skeleton))
        return path

    def _write_map(self, said: LabelMap, name: str) -> None:
        """The labels as values of a PNG, in the drawing's colours; beside it what probabilities were kept."""
        stem = name.rpartition(".")[0]
        image = Image.fromarray(said.labels)
        image.putpalette([part for label in range(VOID + 1) for part in colour(label)])
        image.save(self.folder / MASKS / f"{stem}.png")
        if said.probabilities is not None:
            np.savez_compressed(self.folder / MASKS / f"{stem}.npz", probabilities=said.probabilities)

    def _free(self, stem: str, suffix: str = ".jpg") -> str:
        """A name that no other image of this folder has taken."""
        name, number = f"{stem}{suffix}", 2
        while name in self._names:
            name, number = f"{stem}-{number}{suffix}", number + 1
        self._names.add(name)
        return name


def drawn_on(pixels: np.ndarray, said: Prediction, card: Card, sure: float = 0.5) -> np.ndarray:
    """A frame of a film, [H, W, 3] uint8 RGB, with what was said of it; of colours that were asked for, these.

    sure  the least score of a thing
    """
    if isinstance(said, ColourMap):
        return said.pixels
    if isinstance(said, Classification):
        return titled(pixels, f"{said.name} {100 * said.score:.0f} %", said.label)
    shown = surer(said, sure) if isinstance(said, Instances) else said
    return draw(pixels, shown, card.classes, card.skeleton, legend=False)


def _drawn(pixels: np.ndarray, shown: Instances | LabelMap, card: Card) -> np.ndarray:
    """The picture with what was said of it; of a label map no larger than a screen takes."""
    if isinstance(shown, LabelMap) and max(shown.size) > LARGEST:
        view = small_view(shown.size, LARGEST)
        labels = view.apply(shown.labels[..., None], interpolation="nearest", fill=(VOID,))[..., 0]
        pixels, shown = view.apply(pixels), LabelMap(labels, shown.classes)
    return draw(pixels, shown, card.classes, card.skeleton)


def _images(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UsageError(f"There is no {path}")
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if not found:
        raise UsageError(f"{path} holds no images; expected files ending in {' '.join(sorted(SUFFIXES))}")
    return found
