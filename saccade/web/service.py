"""What stands behind the API: models, the thread that calls them, processes that decode, films under way."""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from saccade.errors import unknown
from saccade.recipes.explain import explain_all
from saccade.recipes.explain_methods import METHODS
from saccade.recipes.explain_pictures import Explained
from saccade.recipes.explain_question import Asked, Question, ask
from saccade.structures import Prediction, Sample
from saccade.web import links
from saccade.web.decoders import Decoders
from saccade.web.jobs import Jobs
from saccade.web.limits import Limits
from saccade.web.models import Models, Run, Served
from saccade.web.runner import Runner

FETCHING = 8  # links at a time
NEIGHBOURS = 8  # training pictures that are shown
FETCHED = 10.0  # seconds that the last results wait to be fetched before the service ends


class Service:
    """All of it. Its methods that wait are coroutines; whatever they start is let go when they are cancelled.

    draining  whether it has been told to end: it finishes what it has begun, and begins nothing
    """

    def __init__(
        self,
        runs: Sequence[Run],
        limits: Limits,
        device: str | None = None,
        precision: str = "float32",
        neighbours: bool = False,
        links: bool = False,
    ) -> None:
        """Raises UsageError where a run is none, SaccadeError where one is damaged."""
        self.limits, self.links, self.draining = limits, links, False
        decoding = max(2, os.cpu_count() or 2)
        self.runner = Runner(limits)
        # They start while the models are loaded.
        self.decoders = Decoders(limits, decoding)
        try:
            self.models = Models(runs, self.runner, limits, device, precision, neighbours)
        except BaseException:
            self.decoders.close()
            self.runner.close()
            raise
        self.jobs = Jobs(self.runner, self.decoders, limits)
        self._decoding = ThreadPoolExecutor(decoding, "decoding")
        self._fetching = ThreadPoolExecutor(FETCHING, "fetching")

    async def fetch(self, link: str) -> bytes:
        """What a link points to. Raises LinkError."""
        return await self._in(self._fetching, lambda: links.fetch(link, self.limits))

    async def decode(self, content: bytes, served: Served) -> Sample:
        """A picture as a model looks at it. Raises DecodeError."""
        preprocessing = served.predictor.card.preprocessing
        return await self._in(self._decoding, lambda: self.decoders.sample(content, preprocessing))

    async def check(self, content: bytes) -> None:
        """Raise DecodeError where it is no picture."""
        await self._in(self._decoding, lambda: self.decoders.check(content))

    async def say(self, served: Served, sample: Sample) -> Prediction:
        """What a model says of it. Raises Late when there was no time."""
        return await asyncio.wrap_future(self.runner.say(served.warm, sample, self.limits.seconds))

    async def ask(self, served: Served, sample: Sample, asked: Asked) -> Question:
        """Look at a picture and find the number to be explained. Raises UsageError for a target that is not there."""
        return await self._call(lambda: ask(served.predictor, sample, asked))

    async def explain(self, question: Question, methods: Sequence[str]) -> tuple[list[Explained], dict[str, str]]:
        """Several methods; those that the network or the picture does not allow, with the reason.

        Others' calls come in between.
        """
        shown, refused = [], {}
        for method in methods:
            one, why_not = await self._call(lambda method=method: explain_all(question, [method]))
            shown += one
            refused |= why_not
        return shown, refused

    async def neighbours(self, served: Served, sample: Sample) -> list[tuple[str, str, float, Any]]:
        """The most alike of the pictures it was trained on: name, class, cosine, pixels."""
        near = served.neighbours
        if near is None:
            return []

        def look() -> list[tuple[str, str, float, Any]]:
            places, alike = near.nearest(sample.image, NEIGHBOURS)
            return [(*near.named(n), value, near.looked.picture(n)) for n, value in zip(places, alike, strict=True)]

        return await self._call(look)

    def drain(self) -> None:
        """Begin nothing more."""
        self.draining = True
        self.jobs.cancel_waiting()

    def wait_for_films(self) -> None:
        """Until what is under way is done, and has been fetched, or nobody comes for it."""
        begun = time.monotonic()
        until = begun + self.limits.drain_seconds
        while self.jobs.busy and time.monotonic() < until:
            time.sleep(0.05)
        until = min(until, time.monotonic() + FETCHED)
        while self.jobs.unfetched(begun) and time.monotonic() < until:
            time.sleep(0.05)

    def close(self) -> None:
        """End."""
        self.jobs.close()
        self._decoding.shutdown(cancel_futures=True)
        self._fetching.shutdown(wait=False, cancel_futures=True)
        self.runner.close()
        self.decoders.close()

    async def _call(self, call: Callable[[], Any]) -> Any:
        return await asyncio.wrap_future(self.runner.call(call, self.limits.explain_seconds))

    @staticmethod
    async def _in(pool: ThreadPoolExecutor, call: Callable[[], Any]) -> Any:
        return await asyncio.wrap_future(pool.submit(call))


# What answers a question about one picture by pictures; faithfulness gives a table and curves, for a report.
SHOWN = tuple(name for name, method in METHODS.items() if method.asks and name != "faithfulness")


def check_methods(methods: Sequence[str]) -> None:
    """Raise UsageError for a method that does not answer by pictures about one picture."""
    for method in methods:
        if method not in SHOWN:
            raise unknown("method", method, SHOWN)
