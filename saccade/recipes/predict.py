"""What is on these pictures?"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from saccade.data.decode import SUFFIXES, DecodeError
from saccade.errors import UsageError
from saccade.predict import load
from saccade.progress import track
from saccade.structures import Prediction


def predict_all(run: str | Path, paths: Sequence[Path]) -> Iterator[tuple[Path, Prediction | DecodeError]]:
    """One answer an image, in order; an image that cannot be read gives its error, and the others go on.

    run    a run directory
    paths  images, and folders that are searched for images

    Raises UsageError, before anything else is done, for a path that does not exist or a folder without images.
    """
    files = [file for path in paths for file in _images(path)]
    predictor = load(run)
    for file in track(files, "looking", len(files)):
        try:
            yield file, predictor(file)
        except DecodeError as error:
            yield file, error


def _images(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UsageError(f"There is no {path}")
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if not found:
        raise UsageError(f"{path} holds no images; expected files ending in {' '.join(sorted(SUFFIXES))}")
    return found
