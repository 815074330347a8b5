"""What is on these pictures?"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from saccade import checkpoint
from saccade.data.decode import SUFFIXES, DecodeError, FilePicture
from saccade.data.formats.coco_found import annotation_of, encode
from saccade.errors import UsageError
from saccade.predict import Predictor, load
from saccade.progress import track
from saccade.report.draw import draw
from saccade.structures import Instances, Prediction
from saccade.wording import counted

FOUND = "found.json"


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


def in_words(prediction: Prediction, classes: Sequence[str], top: int = 5, sure: float = 0.5) -> str:
    """One line: the most likely classes, or the things that were found.

    top   how many classes or things
    sure  the least score of a thing
    """
    if not isinstance(prediction, Instances):
        return "  ".join(f"{name} {100 * score:.1f} %" for name, score in prediction.top(top))
    things = surer(prediction, sure)
    scores = np.zeros(0) if things.scores is None else things.scores
    named = [f"{classes[label]} {100 * s:.0f} %" for label, s in zip(things.labels[:top], scores[:top], strict=True)]
    more = [f"and {len(things) - top} more"] if len(things) > top else []
    return "  ".join([counted(len(things), "thing", "things") + (":" if named else ""), *named, *more])


def as_dict(prediction: Prediction, classes: Sequence[str], top: int = 5, sure: float = 0.5) -> dict[str, Any]:
    """For JSON: the most likely classes; or every thing of a score of at least `sure`, its box as x, y, width, height,
    as COCO writes it."""
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
    """A folder of pictures with what was found drawn on them, and all of it as one COCO file.

    files  the images that will be drawn on; none may be in this folder
    """

    def __init__(self, folder: Path, predictor: Predictor, files: Sequence[Path], sure: float = 0.5) -> None:
        if predictor.card.task != "detect":
            raise UsageError(
                f"{predictor.card.model} names classes of whole images; there is nothing to draw: no --out"
            )
        here = next((file for file in files if file.resolve().parent == folder.resolve()), None)
        if here is not None:
            raise UsageError(
                f"{folder} holds {here.name}, one of the images, which its drawing would replace; choose another --out"
            )
        self.folder, self.card, self.sure = folder, predictor.card, sure
        self._found: list[tuple[str, Instances]] = []
        self._names: set[str] = set()
        checkpoint.make_folder(folder)

    def add(self, path: Path, found: Instances) -> Path:
        """Draw one image; returns where."""
        things = surer(found, self.sure)
        pixels, _ = FilePicture(path).pixels("RGB")
        name = self._free(path.stem)
        Image.fromarray(draw(pixels, things, self.card.classes, self.card.skeleton)).save(
            self.folder / name, quality=92
        )
        self._found.append((str(path), things))
        return self.folder / name

    def close(self) -> Path:
        """Write the COCO file; returns where."""
        path = self.folder / FOUND
        checkpoint.write(path, encode(self._found, self.card.classes, self.card.skeleton))
        return path

    def _free(self, stem: str) -> str:
        """A name that no other image of this folder has taken."""
        name, number = f"{stem}.jpg", 2
        while name in self._names:
            name, number = f"{stem}-{number}.jpg", number + 1
        self._names.add(name)
        return name


def _images(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UsageError(f"There is no {path}")
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if not found:
        raise UsageError(f"{path} holds no images; expected files ending in {' '.join(sorted(SUFFIXES))}")
    return found
