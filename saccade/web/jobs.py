"""Films, which take longer than anybody waits for an answer: each is a job that is asked how far it is."""

import logging
import secrets
import shutil
import tempfile
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from saccade.data.decode import ArrayPicture, DecodeError, TooLarge, prepare
from saccade.errors import SaccadeError
from saccade.recipes.predict_film import draw_film
from saccade.structures import Prediction
from saccade.web.decoders import Decoders
from saccade.web.limits import Limits
from saccade.web.models import Served
from saccade.web.runner import Runner

log = logging.getLogger("saccade.web")

FRAME_SECONDS = 300.0  # a frame may wait for its turn


class TooMany(Exception):
    """One client, or all together, have as many films here as they may have."""


class _Cancelled(Exception):
    """Somebody deleted the job, or the service ends."""


@dataclass(eq=False)
class Job:
    """One film.

    folder  where its files are, under names of our own: the film as it came, drawn.mp4 and lines.jsonl
    state   "waiting", "running", "done", "failed" or "cancelled"
    frames  looked at so far
    count   of its frames, where that is known
    error   why it failed, or why it is not whole: in one word for programs, and in words
    fetched  whether its client has what came of it
    """

    id: str
    client: str
    served: Served
    name: str
    folder: Path
    top: int
    sure: float
    state: str = "waiting"
    frames: int = 0
    count: int | None = None
    error: tuple[str, str] | None = None
    ended: float | None = None
    fetched: bool = False
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def film(self) -> Path:
        return self.folder / "drawn.mp4"

    @property
    def lines(self) -> Path:
        return self.folder / "lines.jsonl"

    def move(self, state: str, error: tuple[str, str] | None = None) -> None:
        """It is so far; why first, then the state, then that it ended: who reads in between sees less, never wrong."""
        self.error, self.state = error, state
        if state not in ("waiting", "running"):
            self.ended = time.monotonic()


class Jobs:
    """All films, looked at one after the other in a thread."""

    def __init__(self, runner: Runner, decoders: Decoders, limits: Limits) -> None:
        self.runner, self.decoders, self.limits = runner, decoders, limits
        self._folder = Path(tempfile.mkdtemp(prefix="saccade-"))
        self._folder.chmod(0o700)
        self._jobs: dict[str, Job] = {}
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._open = True
        self._thread = threading.Thread(target=self._work, name="films", daemon=True)
        self._thread.start()

    def add(self, client: str, served: Served, name: str, film: BinaryIO, top: int, sure: float) -> Job:
        """Begin with a film, whose bytes are copied.

        Raises TooMany when the client, or all clients, have as many as they may.
        """
        with self._changed:
            self._forget()
            begun = [job for job in self._jobs.values() if job.ended is None]
            own = [job for job in begun if job.client == client]
            if len(own) >= self.limits.jobs or len(begun) >= self.limits.all_jobs or not self._open:
                raise TooMany
            id = secrets.token_urlsafe(16)
            job = Job(id, client, served, name, self._folder / id, top, sure)
            self._jobs[id] = job
        try:
            job.folder.mkdir(mode=0o700)
            with (job.folder / "film").open("wb") as file:
                shutil.copyfileobj(film, file)
            with self._changed:
                if not self._open:
                    raise TooMany
                self._waiting.append(job)
                self._changed.notify_all()
        except BaseException:
            with self._changed:
                self._jobs.pop(id, None)
            shutil.rmtree(job.folder, ignore_errors=True)
            raise
        return job

    def get(self, id: str, client: str) -> Job | None:
        """A job of this client; None where there is none."""
        with self._changed:
            self._forget()
            job = self._jobs.get(id)
        return job if job is not None and job.client == client else None

    def delete(self, job: Job) -> None:
        """Forget a job and all its files; one that is under way ends at its next frame, and takes them along."""
        job.stop.set()
        with self._changed:
            self._jobs.pop(job.id, None)
            if job in self._waiting:
                self._waiting.remove(job)
                job.move("cancelled")
        if job.ended is not None:
            shutil.rmtree(job.folder, ignore_errors=True)

    def counts(self) -> dict[str, int]:
        """How many are in each state."""
        with self._changed:
            states = [job.state for job in self._jobs.values()]
        return {state: states.count(state) for state in ("waiting", "running", "done", "failed", "cancelled")}

    @property
    def busy(self) -> bool:
        """Whether a film is looked at."""
        return self.counts()["running"] > 0

    def unfetched(self, since: float) -> bool:
        """Whether something was done since then that its client has not seen."""
        with self._changed:
            return any(
                job.state == "done" and not job.fetched and (job.ended or 0) > since for job in self._jobs.values()
            )

    def cancel_waiting(self) -> None:
        """Begin with no other film."""
        with self._changed:
            self._open = False
            while self._waiting:
                self._waiting.popleft().move("cancelled", ("ending", "the service ended before its turn came"))
            self._changed.notify_all()

    def close(self) -> None:
        """Stop, and forget everything."""
        self.cancel_waiting()
        for job in list(self._jobs.values()):
            job.stop.set()
        self._thread.join()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _forget(self) -> None:
        """What was kept for long enough, and of each client's and of all the oldest beyond as many as may be kept."""
        now, kept = time.monotonic(), dict[str, int]()
        newest_first = sorted((job for job in self._jobs.values() if job.ended), key=lambda job: -(job.ended or 0))
        for number, job in enumerate(newest_first):
            kept[job.client] = kept.get(job.client, 0) + 1
            too_many = kept[job.client] > self.limits.jobs or number >= self.limits.all_jobs
            if too_many or now - (job.ended or 0) > self.limits.keep_seconds:
                del self._jobs[job.id]
                shutil.rmtree(job.folder, ignore_errors=True)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or not self._open)
                if not self._waiting:
                    return
                job = self._waiting.popleft()
            job.move("running")
            try:
                self._look(job)
            except _Cancelled:
                job.move("cancelled", ("ending", "it was stopped"))
            except TooLarge as error:
                job.move("failed", ("too_large", error.reason))
            except DecodeError as error:
                job.move("failed", ("unreadable", error.reason))
            except SaccadeError as error:
                job.move("failed", ("unreadable", str(error)))
            except Exception:
                log.exception("film %s", job.id)
                job.move("failed", ("internal", "something went wrong in here; the log has the details"))
            finally:
                (job.folder / "film").unlink(missing_ok=True)
                if job.stop.is_set():
                    shutil.rmtree(job.folder, ignore_errors=True)

    def _look(self, job: Job) -> None:
        predictor = job.served.predictor

        def look(pixels: np.ndarray) -> Prediction:
            if job.stop.is_set():
                raise _Cancelled
            sample = prepare(ArrayPicture(pixels), predictor.card.preprocessing)
            return self.runner.say(job.served.warm, sample, FRAME_SECONDS).result()

        def tell(place: dict[str, Any]) -> None:
            job.frames = place["frame"] + 1

        with self.decoders.film(job.folder / "film") as film:
            job.count = film.count
            seen = draw_film(film, look, predictor.card, job.film, job.lines, job.top, job.sure, tell)
        if seen.error is None:
            job.move("done")
        else:
            code = "too_large" if isinstance(seen.error, TooLarge) else "unreadable"
            job.move("done", (code, f"it {seen.error.reason}; this is as far as was looked"))
