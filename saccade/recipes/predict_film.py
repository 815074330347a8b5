"""What is on a film? The film with what was said drawn on it, and a line of JSON a frame."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from saccade.checkpoint import Card
from saccade.data.decode import DecodeError
from saccade.data.film import Film, Frame
from saccade.errors import SaccadeError, UsageError
from saccade.geometry.view import Size, View
from saccade.predict import Predictor
from saccade.progress import Progress
from saccade.recipes.predict import as_dict, drawn_on
from saccade.structures import Prediction

TICKS = 1000  # a second, of the times of the frames that are written
CODECS = ("libx264", "libopenh264", "mpeg4")  # the best first
FASTEST = 240  # frames a second; where a file says more it does not know, and a player would lose the last one
SLOWEST = Fraction(1, TICKS)  # and less than that could not be written


class Frames(Protocol):
    """A film, as `Film` is one."""

    count: int | None
    rate: Fraction | None

    def __iter__(self) -> Iterator[Frame]: ...


class Seen(NamedTuple):
    """What came of a film.

    film    the drawn film
    lines   the file of JSON lines: frame (from 0), seconds, and what was said
    frames  how many
    error   why there are no more, where it breaks off
    """

    film: Path
    lines: Path
    frames: int
    error: DecodeError | None


def predict_film(
    predictor: Predictor,
    path: Path,
    out: Path | None = None,
    top: int = 5,
    sure: float = 0.5,
    told: Callable[[str], None] | None = None,
) -> Seen:
    """Look at a film frame by frame, and write NAME-predicted.mp4 and NAME-predicted.jsonl.

    out   a folder for them; None for the current one
    top   how many classes to name
    sure  the least score of a thing
    told  is handed each line of JSON too, with the film's path

    However long the film, only a few frames are in memory. A film that breaks off is written as far as it goes.

    Raises DecodeError when not one frame can be read, UsageError when one of the files is there already.
    """
    check_places([path], out)
    film, lines = places_of(path, out)
    source = Film(path)
    film.parent.mkdir(parents=True, exist_ok=True)
    with Progress(f"looking at {path.name}", source.count, unit="frames") as progress:

        def tell(place: dict[str, Any]) -> None:
            if told is not None:
                told(json.dumps({"path": str(path)} | place, ensure_ascii=False))
            progress.advance()

        return draw_film(source, predictor, predictor.card, film, lines, top, sure, tell)


def draw_film(
    source: Frames,
    look: Callable[[np.ndarray], Prediction],
    card: Card,
    film: Path,
    lines: Path,
    top: int = 5,
    sure: float = 0.5,
    tell: Callable[[dict[str, Any]], None] | None = None,
) -> Seen:
    """Look at frames one by one, and write them, drawn on, and a line of JSON each.

    look         what is said of a frame, [H, W, 3] uint8 RGB
    film, lines  the files that are written, whole or as far as the frames go
    tell         is handed what each line says

    Raises DecodeError when not one frame can be read.
    """
    error, count = None, 0
    parts = [file.with_name(f"{file.name}.{os.getpid()}.part") for file in (film, lines)]
    try:
        with Writer(parts[0], source.rate) as writer, parts[1].open("w", encoding="utf-8") as text:
            try:
                for count, frame in enumerate(source, start=1):
                    said = look(frame.pixels)
                    place: dict[str, Any] = {"frame": count - 1, "seconds": round(frame.seconds, 6)}
                    place |= as_dict(said, card.classes, top, sure)
                    text.write(json.dumps(place, ensure_ascii=False) + "\n")
                    writer.add(drawn_on(frame.pixels, said, card, sure), frame.seconds)
                    if tell is not None:
                        tell(place)
            except DecodeError as broken:
                error = broken
        if error is not None and not count:
            raise error
        for part, file in zip(parts, (film, lines), strict=True):
            part.rename(file)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)
    return Seen(film, lines, count, error)


def places_of(path: Path, out: Path | None) -> tuple[Path, Path]:
    """The drawn film and the lines of JSON that a film becomes."""
    folder = Path() if out is None else out
    return folder / f"{path.stem}-predicted.mp4", folder / f"{path.stem}-predicted.jsonl"


def check_places(paths: Sequence[Path], out: Path | None) -> None:
    """Raise UsageError where what films become is there already, or two of them would become the same."""
    taken: dict[Path, Path] = {}
    for path in paths:
        for file in places_of(path, out):
            if file in taken:
                raise UsageError(f"{taken[file]} and {path} would both become {file}; look at them one by one")
            if file.exists():
                raise UsageError(f"{file} is there already; choose another --out, or move it away")
            taken[file] = path


class Writer:
    """A film that is written frame by frame, as large as the first one; others are fitted into that.

    rate  frames a second, for players that ask; every frame carries its own time
    """

    def __init__(self, path: Path, rate: Fraction | None) -> None:
        self.path, self.rate = path, rate if rate and SLOWEST <= rate <= FASTEST else Fraction(25)
        self.size: Size | None = None
        self._last = -1

    def __enter__(self) -> "Writer":
        import av

        self._container = av.open(str(self.path), "w", format="mp4")
        return self

    def add(self, pixels: np.ndarray, seconds: float) -> None:
        """The next frame, [H, W, 3] uint8 RGB."""
        import av

        if self.size is None:
            self._begin((pixels.shape[0], pixels.shape[1]))
        assert self.size is not None
        if pixels.shape[:2] != self.size:
            pixels = _fitted(pixels, self.size)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        # Times that stand still or go back, as damaged films have them, would be refused.
        self._last = max(round(seconds * TICKS), self._last + 1)
        frame.pts, frame.time_base = self._last, Fraction(1, TICKS)
        self._container.mux(self._stream.encode(frame))

    def _begin(self, size: Size) -> None:
        import av

        # What players can show has even sides.
        self.size = (size[0] + size[0] % 2, size[1] + size[1] % 2)
        codec = next((name for name in CODECS if name in av.codecs_available), None)
        if codec is None:
            raise SaccadeError(f"this PyAV can write none of {', '.join(CODECS)}; install another: pip install av")
        # PyAV's types say that it may be sound.
        self._stream: Any = self._container.add_stream(codec, rate=self.rate.limit_denominator(TICKS))
        self._stream.height, self._stream.width = self.size
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, TICKS)
        if codec == "libx264":
            self._stream.options = {"crf": "20", "preset": "veryfast"}
        else:
            self._stream.bit_rate = max(400_000, 4 * size[0] * size[1])

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self.size is not None and kind is None:
            self._container.mux(self._stream.encode(None))
        self._container.close()


def _fitted(pixels: np.ndarray, size: Size) -> np.ndarray:
    """[H, W, 3] uint8 inside (height, width). Where but one row or column is missing, the last one comes twice."""
    lacking = size[0] - pixels.shape[0], size[1] - pixels.shape[1]
    if set(lacking) <= {0, 1}:
        return np.pad(pixels, ((0, lacking[0]), (0, lacking[1]), (0, 0)), mode="edge")
    return View.identity((pixels.shape[0], pixels.shape[1])).letterboxed(size).apply(pixels)
