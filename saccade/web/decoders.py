"""Processes that decode for the service: a few that wait for pictures, and one for each film.

What is decoded comes from strangers. A process that takes too long is killed, one that dies is replaced, and what it
was asked is asked once more of another; what breaks two is refused.
"""

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from saccade.data.decode import DecodeError, TooLarge, UnknownKind
from saccade.data.film import Frame
from saccade.geometry.view import Size
from saccade.structures import Preprocessing, Sample
from saccade.web.decoder import receive, send
from saccade.web.limits import Limits

STARTING = 60.0  # seconds a process may take to start on a busy machine


class Died(Exception):
    """The process ended, or was killed, before it answered."""


class Decoder:
    """One process. It answers one question at a time."""

    def __init__(self, limits: Limits) -> None:
        self.seconds = limits.decode_seconds
        known = ("PATH", "LANG", "LC_ALL", "VIRTUAL_ENV", "PYTHONPATH", "LD_LIBRARY_PATH")
        environment = {name: os.environ[name] for name in known if name in os.environ}
        # Every thread of a library's pool takes its share of the memory that the process may hold.
        environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        environment |= {"SACCADE_PIXEL_LIMIT": str(limits.pixels / 1e6)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "saccade.web.decoder", str(limits.decode_memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # an interruption at the terminal is the service's to handle
        )
        self._ready = False

    def ask(self, question: dict[str, Any], content: bytes = b"") -> tuple[dict[str, Any], bytearray]:
        """What it answers, and the bytes with it.

        Raises TooLarge or DecodeError where the file is to blame, Died where the process is gone.
        """
        if not self._ready:
            self._exchange(None, b"", STARTING)
            self._ready = True
        told, pixels = self._exchange(question, content, self.seconds)
        if "large" in told:
            raise TooLarge("the file", told["large"].partition(";")[0])
        if "unknown" in told:
            raise UnknownKind("the file", told["unknown"])
        if "broken" in told:
            raise DecodeError("the file", told["broken"])
        return told, pixels

    def _exchange(
        self, question: dict[str, Any] | None, content: bytes, seconds: float
    ) -> tuple[dict[str, Any], bytearray]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        late = threading.Event()

        def kill() -> None:
            late.set()
            self.process.kill()

        timer = threading.Timer(seconds, kill)
        timer.start()
        try:
            if question is not None:
                send(self.process.stdin, question, content)  # type: ignore[arg-type]
            received = receive(self.process.stdout)  # type: ignore[arg-type]
        except (OSError, ValueError):
            received = None
        except BaseException:
            self.close()  # the rest of its answer would be taken for the next one's
            raise
        finally:
            timer.cancel()
        if late.is_set():
            self.close()
            raise TooLarge("the file", f"takes longer than {seconds:g} seconds to decode")
        if received is None:
            self.close()
            raise Died
        return received

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                # A pipe to a process that is gone cannot be flushed, and need not be.
                with suppress(OSError):
                    stream.close()


class Decoders:
    """So many processes, shared by all requests. Safe to use from any number of threads.

    count  how many pictures are decoded at a time
    """

    def __init__(self, limits: Limits, count: int) -> None:
        self.limits, self.count, self.died = limits, count, 0
        self._idle: queue.LifoQueue[Decoder | None] = queue.LifoQueue()
        self._all: set[Decoder] = set()
        self._lock = threading.Lock()
        for _ in range(count):
            self._idle.put(self._start())

    def sample(self, content: bytes, preprocessing: Preprocessing) -> Sample:
        """An image file as a network looks at it.

        Raises DecodeError where it cannot be, TooLarge where it would take too much time, memory or pixels.
        """
        question = {"ask": "sample", "preprocessing": asdict(preprocessing)}
        told, pixels = self._ask(question, content)
        size: Size = (told["size"][0], told["size"][1])
        image = np.frombuffer(pixels, dtype=np.uint8).reshape(told["shape"])
        return Sample(image, None, preprocessing.view(size), "")

    def check(self, content: bytes) -> None:
        """Raise DecodeError where a file does not begin as a picture does."""
        self._ask({"ask": "check"}, content)

    @contextmanager
    def film(self, path: Path) -> Iterator["DecodedFilm"]:
        """A film, which has a process of its own."""
        decoder = self._start()
        try:
            yield DecodedFilm(decoder, path, self.limits)
        except Died:
            self.died += 1
            raise DecodeError("the film", "breaks the process that decodes it") from None
        finally:
            self._end(decoder)

    @property
    def processes(self) -> list[int]:
        """The numbers of the processes that are there."""
        with self._lock:
            return [decoder.process.pid for decoder in self._all if decoder.alive]

    def close(self) -> None:
        """End all processes."""
        with self._lock:
            decoders, self._all = self._all, set()
        for decoder in decoders:
            decoder.close()

    def _ask(self, question: dict[str, Any], content: bytes) -> tuple[dict[str, Any], bytearray]:
        for _ in range(2):
            decoder = self._idle.get()
            try:
                decoder = decoder or self._start()
                return decoder.ask(question, content)
            except Died:
                self.died += 1
            finally:
                if decoder is not None and not decoder.alive:
                    self._end(decoder)
                    decoder = None
                    with suppress(OSError):  # then whoever comes next tries to start one
                        decoder = self._start()
                self._idle.put(decoder)
        raise DecodeError("the file", "breaks the process that decodes it")

    def _start(self) -> Decoder:
        decoder = Decoder(self.limits)
        with self._lock:
            self._all.add(decoder)
        return decoder

    def _end(self, decoder: Decoder) -> None:
        with self._lock:
            self._all.discard(decoder)
        decoder.close()


class DecodedFilm:
    """A film whose frames are decoded elsewhere. Going over it once gives them, as `Film` does.

    count  of its frames, where that is known or can be guessed
    rate   frames a second; None where the file does not say
    """

    def __init__(self, decoder: Decoder, path: Path, limits: Limits) -> None:
        self._decoder, self._limits = decoder, limits
        told, _ = decoder.ask({"ask": "film", "path": str(path)})
        self.count: int | None = told["count"]
        self.rate = None if told["rate"] is None else Fraction(*told["rate"])
        if self.count is not None and self.count > limits.frames:
            raise TooLarge("the film", f"has some {self.count:,} frames, and the limit is {limits.frames:,}")

    def __iter__(self) -> Iterator[Frame]:
        done = 0
        while True:
            told, pixels = self._decoder.ask({"ask": "frame"})
            if "end" in told:
                return
            if done == self._limits.frames:
                raise TooLarge("the film", f"has more frames than the limit of {self._limits.frames:,}")
            yield Frame(np.frombuffer(pixels, dtype=np.uint8).reshape(told["shape"]), told["seconds"])
            done += 1
