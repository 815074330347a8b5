"""Films, frame by frame: never more than a few frames in memory, however long the film."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from saccade.data.decode import DecodeError, check_pixels
from saccade.errors import SaccadeError

FILMS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".ogv", ".3gp")
MISSING = 0.5  # seconds at the end that a film may lack before it is said to break off


class Frame(NamedTuple):
    """One picture of a film.

    pixels   [H, W, 3] uint8 RGB, upright
    seconds  since the film began
    """

    pixels: np.ndarray
    seconds: float


class Film:
    """A film on disk. Going over it decodes it, from the beginning each time.

    count  of its frames, where that is known or can be guessed from its length
    rate   frames a second, on average; None where the file does not say
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _opened(path) as container:
            stream = container.streams.video[0]
            self.rate: Fraction | None = stream.average_rate or stream.guessed_rate
            self._exact, self._seconds = stream.frames or None, None
            if stream.duration and stream.time_base:
                self._seconds = float(stream.duration * stream.time_base)
            elif stream.metadata.get("DURATION"):
                self._seconds = _clock(stream.metadata["DURATION"])
            elif container.duration and len(container.streams) == 1:
                self._seconds = container.duration / 1e6  # else that of the longest, which may be the sound's
        self.count = self._exact
        if self.count is None and self._seconds and self.rate:
            self.count = max(1, round(self._seconds * self.rate))

    def __iter__(self) -> Iterator[Frame]:
        """Its frames, in order.

        Raises DecodeError, after the frames that could be read, where the film breaks off. Frames that are damaged in
        the middle are left out or smeared, as players show them.
        """
        from av.error import FFmpegError

        done, seconds, first = 0, 0.0, None
        step = float(1 / self.rate) if self.rate else 0.04
        try:
            with _opened(self.path) as container:
                stream = container.streams.video[0]
                stream.thread_type = "AUTO"
                for frame in container.decode(stream):
                    check_pixels((frame.height, frame.width), str(self.path))
                    first = frame.time if first is None else first
                    seconds = done * step if frame.time is None or first is None else frame.time - first
                    yield Frame(_upright(frame.to_ndarray(format="rgb24"), frame.rotation), seconds)
                    done += 1
        except FFmpegError as error:
            raise DecodeError(str(self.path), f"breaks off after {done:,} frames ({_reason(error)})") from None
        if not done:
            raise DecodeError(str(self.path), "has not one frame that can be read")
        lacks = self._seconds is not None and seconds + step < self._seconds - max(MISSING, 0.02 * self._seconds)
        if lacks and (self._exact is None or done < self._exact):
            raise DecodeError(
                str(self.path), f"breaks off after {done:,} of some {self.count or done:,} frames: it was cut short"
            )


def _clock(text: str) -> float | None:
    """Seconds of 01:02:03.456; None where it is something else."""
    try:
        hours, minutes, seconds = (float(part) for part in text.split(":"))
    except ValueError:
        return None
    return 3600 * hours + 60 * minutes + seconds


def _opened(path: Path) -> Any:
    """The container, which must hold pictures. Raises DecodeError."""
    try:
        import av
        from av.error import FFmpegError
    except ImportError:
        raise SaccadeError(
            f"{path} is a film, and films are read by PyAV, which is not installed: pip install 'saccade[film]'"
        ) from None
    try:
        container = av.open(str(path))
    except FFmpegError as error:
        raise DecodeError(str(path), f"cannot be read as a film ({_reason(error)}); it may be cut short") from None
    if not container.streams.video:
        container.close()
        raise DecodeError(str(path), "has no pictures, only sound or text")
    return container


def _upright(pixels: np.ndarray, rotation: int) -> np.ndarray:
    """Turned as its camera was held.

    rotation  degrees counter-clockwise that the picture is to be turned by, as the file says
    """
    return np.ascontiguousarray(np.rot90(pixels, round(rotation / 90) % 4)) if rotation else pixels


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
