"""One call of a model at a time on a device, in the order asked; pictures that wait together go through it together
where that is faster on this machine."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from saccade.data.decode import ArrayPicture, prepare
from saccade.predict import Predictor
from saccade.structures import Prediction, Sample
from saccade.web.limits import Limits

GAIN = 1.15  # so much faster a picture must be in a batch for anyone to wait for it
TRIES = 5  # of each size of batch, of which the fastest counts


class Late(Exception):
    """There was no time left before the call could begin."""


@dataclass(eq=False)
class _Call:
    """What waits: a call of anything, or of a predictor with a picture."""

    deadline: float
    call: Callable[[], Any] | None = None
    model: "Warm | None" = None
    sample: Sample | None = None
    future: "Future[Any]" = field(default_factory=Future)

    def joins(self, other: "_Call") -> bool:
        """Whether both pictures can go through one model together, and be answered as each alone would be."""
        if self.sample is None or other.sample is None or self.model is not other.model:
            return False
        return self.sample.image.shape == other.sample.image.shape


@dataclass(frozen=True, eq=False)
class Warm:
    """A predictor that was called before anybody waited for it.

    batch  how many pictures it looks at together: 1 where more would be no faster
    rates  pictures a second for each size of batch that was tried
    """

    predictor: Predictor
    batch: int = 1
    rates: dict[int, float] = field(default_factory=dict)


class Runner:
    """A thread that calls models. Whoever asks gets a future, and may cancel it."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._waiting: deque[_Call] = deque()
        self._changed = threading.Condition()
        self._open = True
        self._thread = threading.Thread(target=self._work, name="models", daemon=True)
        self._thread.start()

    def call(self, call: Callable[[], Any], seconds: float) -> "Future[Any]":
        """Anything that uses a model.

        seconds  until it must have begun
        """
        return self._put(_Call(time.monotonic() + seconds, call))

    def say(self, model: Warm, sample: Sample, seconds: float) -> "Future[Prediction]":
        """What a model says of a picture."""
        return self._put(_Call(time.monotonic() + seconds, None, model, sample))

    @property
    def waiting(self) -> int:
        """How many calls have not begun."""
        return len(self._waiting)

    def close(self) -> None:
        """Finish what is asked already, and end."""
        with self._changed:
            self._open = False
            self._changed.notify_all()
        self._thread.join()

    def _put(self, call: _Call) -> "Future[Any]":
        with self._changed:
            if not self._open:
                raise RuntimeError("the service is ending")
            self._waiting.append(call)
            self._changed.notify_all()
        call.future.add_done_callback(lambda future: self._drop(call) if future.cancelled() else None)
        return call.future

    def _drop(self, call: _Call) -> None:
        """Let go of what nobody waits for, and of its picture."""
        with self._changed, suppress(ValueError):
            self._waiting.remove(call)

    def _work(self) -> None:
        while calls := self._next():
            calls = [one for one in calls if one.future.set_running_or_notify_cancel()]
            late = [one for one in calls if time.monotonic() > one.deadline]
            for one in late:
                one.future.set_exception(Late())
            if now := [one for one in calls if one not in late]:
                _run(now)

    def _next(self) -> list[_Call]:
        """What is to be done next; nothing when it is time to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or not self._open)
            if not self._waiting:
                return []
            first = self._waiting.popleft()
            if first.model is None or first.model.batch == 1:
                return [first]
            calls, until = [first], time.monotonic() + self.limits.batch_wait
            while True:
                for one in [one for one in self._waiting if first.joins(one)][: first.model.batch - len(calls)]:
                    self._waiting.remove(one)
                    calls.append(one)
                left = until - time.monotonic()
                if len(calls) == first.model.batch or left <= 0 or not self._changed.wait(left):
                    return calls


def _run(calls: Sequence[_Call]) -> None:
    try:
        model = calls[0].model
        if model is None:
            assert calls[0].call is not None
            answers = [calls[0].call()]
        else:
            answers = model.predictor.say([one.sample for one in calls if one.sample is not None])
    except BaseException as error:
        for one in calls:
            one.future.set_exception(error)
    else:
        for one, answer in zip(calls, answers, strict=True):
            one.future.set_result(answer)


def warm_up(predictor: Predictor, limits: Limits) -> Warm:
    """Call a predictor until it is warm, and find out whether pictures are answered faster several at a time.

    Twice as many are tried as long as that is faster by `GAIN`, up to `limits.batch`.
    """
    preprocessing = predictor.card.preprocessing
    side = preprocessing.side or min(preprocessing.size)
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    sample = prepare(ArrayPicture(noise), preprocessing)
    predictor.say([sample])
    rates = {1: _rate(predictor, sample, 1)}
    best = count = 1
    while (count := 2 * count) <= limits.batch:
        rates[count] = _rate(predictor, sample, count)
        if rates[count] < GAIN * rates[best]:
            break
        best = count
    return Warm(predictor, best, rates)


def _rate(predictor: Predictor, sample: Sample, count: int) -> float:
    """Pictures a second, of the fastest try."""
    times = []
    for _ in range(TRIES):
        begun = time.perf_counter()
        predictor.say([sample] * count)
        times.append(time.perf_counter() - begun)
    return count / min(times)
