"""A process that decodes what strangers sent, so that a file that breaks a decoder breaks nothing else.

It is started by `decoders.py`, reads questions on its standard input and answers on its standard output: a line of
JSON, and as many bytes as the line says. It may hold so much memory and write no file; its time is kept by who asks.

    {"ask": "sample", "preprocessing": {...}, "bytes": n}   an image file        -> a picture as the network sees it
    {"ask": "check", "bytes": n}                            an image file        -> its size
    {"ask": "film", "path": "..."}                          a film's place       -> its rate and count of frames
    {"ask": "frame"}                                        the film's next      -> pixels and seconds; or its end
"""

import json
import os
import resource
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

MOST_HEADER = 100_000  # bytes of a line


def main() -> None:
    """Answer until nobody asks any more."""
    memory = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    # What libraries print must not get between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    frames: Iterator[Any] | None = None
    # Imported here, before the first question, so that nobody waits for it.
    from saccade.data import decode  # noqa: F401

    send(answers, {"ready": True})
    while (received := receive(sys.stdin.buffer)) is not None:
        asked, content = received
        try:
            match asked["ask"]:
                case "sample":
                    told, pixels = _sample(content, asked["preprocessing"])
                case "check":
                    told, pixels = _check(content), b""
                case "film":
                    told, frames = _film(asked["path"])
                    pixels = b""
                case _:
                    assert frames is not None
                    told, pixels = _frame(frames)
        except MemoryError:
            told, pixels = {"large": "takes more memory to decode than this service gives it"}, b""
        except Exception as error:
            told, pixels = _reason(error), b""
        send(answers, told, pixels)


def send(stream: BinaryIO, header: dict[str, Any], content: bytes | memoryview = b"") -> None:
    """One message."""
    stream.write(json.dumps(header | {"bytes": len(content)}).encode() + b"\n")
    stream.write(content)
    stream.flush()


def receive(stream: BinaryIO) -> tuple[dict[str, Any], bytearray] | None:
    """One message; None where there are no more."""
    line = stream.readline(MOST_HEADER)
    if not line.endswith(b"\n"):
        return None
    header = json.loads(line)
    content = bytearray(header.pop("bytes"))
    view, done = memoryview(content), 0
    while done < len(content):
        count = stream.readinto(view[done:])  # type: ignore[attr-defined]
        if not count:
            return None
        done += count
    return header, content


def _sample(content: bytearray, preprocessing: dict[str, Any]) -> tuple[dict[str, Any], memoryview]:
    from saccade.data.decode import FilePicture, prepare
    from saccade.structures import Preprocessing

    picture = FilePicture(bytes(content))
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in preprocessing.items()
    }
    sample = prepare(picture, Preprocessing(**values))
    return {"size": list(picture.size), "shape": list(sample.image.shape)}, _bytes_of(sample.image)


def _check(content: bytearray) -> dict[str, Any]:
    from saccade.data.decode import FilePicture

    return {"size": list(FilePicture(bytes(content)).size)}


def _film(path: str) -> tuple[dict[str, Any], Iterator[Any]]:
    from pathlib import Path

    from saccade.data.film import Film

    film = Film(Path(path))
    rate = None if film.rate is None else [film.rate.numerator, film.rate.denominator]
    return {"rate": rate, "count": film.count}, iter(film)


def _frame(frames: Iterator[Any]) -> tuple[dict[str, Any], bytes | memoryview]:
    frame = next(frames, None)
    if frame is None:
        return {"end": True}, b""
    return {"seconds": frame.seconds, "shape": list(frame.pixels.shape)}, _bytes_of(frame.pixels)


def _bytes_of(pixels: Any) -> memoryview:
    import numpy as np

    return np.ascontiguousarray(pixels).data.cast("B")


def _reason(error: Exception) -> dict[str, Any]:
    """What is said of a file that cannot be read; never where it lies on this machine."""
    from saccade.data.decode import DecodeError, TooLarge, UnknownKind

    match error:
        case TooLarge():
            return {"large": error.reason}
        case UnknownKind():
            return {"unknown": error.reason}
        case DecodeError():
            return {"broken": error.reason}
    words = str(error)
    # OpenCV says so in words.
    if "memory" in words.lower():
        return {"large": "takes more memory to decode than this service gives it"}
    return {"broken": f"cannot be read ({type(error).__name__})"}


if __name__ == "__main__":
    main()
