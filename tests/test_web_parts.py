"""Processes that decode and the thread that calls models: what they do when something dies, is late or too much."""

import os
import signal
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from service import KINDS, live, make_run, picture

from saccade.checkpoint import Card
from saccade.data.decode import ArrayPicture, DecodeError, FilePicture, TooLarge, UnknownKind, prepare
from saccade.models import create_model
from saccade.predict import Predictor, load
from saccade.structures import Classification, Preprocessing
from saccade.web.decoders import Decoder, Decoders
from saccade.web.limits import Limits
from saccade.web.runner import Late, Runner, Warm, warm_up

SMALL = Preprocessing((32, 32), 36)


@pytest.fixture
def decoders() -> Iterator[Decoders]:
    own = Decoders(Limits(), 2)
    yield own
    own.close()
    assert own.processes == []


@pytest.mark.parametrize("preprocessing", [SMALL, Preprocessing.whole(64, 96), Preprocessing.windows(64)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_picture_decoded_elsewhere_is_the_same(decoders: Decoders, preprocessing: Preprocessing, kind: str) -> None:
    content = picture(4, (75, 110), kind)
    expected = prepare(FilePicture(content), preprocessing)
    sample = decoders.sample(content, preprocessing)
    assert (sample.image == expected.image).all() and sample.view == expected.view


def bomb(side: int) -> bytes:
    """A PNG of a few kilobytes that unpacks to `side` x `side` pixels."""
    rows = zlib.compress(bytes(side + 1), 9)

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_what_would_unpack_to_too_much_is_refused_before_it_does(decoders: Decoders) -> None:
    processes = decoders.processes
    with pytest.raises(TooLarge, match=r"far more pixels than the limit of 100,000,000$"):
        decoders.sample(bomb(40_000), SMALL)
    with pytest.raises(TooLarge, match=r"11000 x 11000 pixels, the limit is 100,000,000$"):
        decoders.sample(bomb(11_000), SMALL)
    with pytest.raises(TooLarge):
        decoders.sample(bomb(2**31 - 1), SMALL)
    assert decoders.processes == processes


def test_a_process_may_hold_so_much_memory_and_no_more() -> None:
    own = Decoders(Limits(decode_memory=600_000_000, pixels=10**9), 1)
    try:
        with pytest.raises(TooLarge, match="more memory"):
            own.sample(bomb(15_000), SMALL)
        # Those after it are answered.
        assert own.sample(picture(), SMALL).image.shape == (32, 32, 3)
    finally:
        own.close()


def test_broken_files_and_unknown_ones_are_told_apart(decoders: Decoders) -> None:
    with pytest.raises(UnknownKind, match="not an image"):
        decoders.sample(b"hello", SMALL)
    with pytest.raises(DecodeError, match="empty"):
        decoders.sample(b"", SMALL)
    with pytest.raises(DecodeError, match="damaged"):
        decoders.sample(picture()[:150], SMALL)
    decoders.check(picture())
    with pytest.raises(UnknownKind):
        decoders.check(b"GIF8?")


def test_a_process_killed_at_work_is_replaced_and_the_picture_asked_again() -> None:
    own = Decoders(Limits(), 1)
    try:
        own.sample(picture(), SMALL)
        (first,) = own.processes
        os.kill(first, signal.SIGSTOP)
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(own.sample, picture(5), SMALL)
            time.sleep(0.3)
            assert not asked.done()
            os.kill(first, signal.SIGKILL)
            assert (asked.result(60).image == prepare(FilePicture(picture(5)), SMALL).image).all()
        assert own.died == 1 and len(own.processes) == 1 and own.processes != [first]
    finally:
        own.close()


def test_what_kills_two_processes_is_refused(decoders: Decoders, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a file would that made the decoder crash."""
    asked: list[int] = []
    exchange = Decoder._exchange

    def crash(self: Decoder, question: Any, content: bytes, seconds: float) -> Any:
        if question is not None and content == b"deadly":
            asked.append(self.process.pid)
            self.process.kill()
        return exchange(self, question, content, seconds)

    monkeypatch.setattr(Decoder, "_exchange", crash)
    with pytest.raises(DecodeError, match="breaks the process"):
        decoders.sample(b"deadly", SMALL)
    assert len(set(asked)) == 2 and decoders.died == 2
    for _ in range(4):
        decoders.sample(picture(), SMALL)
    assert len(decoders.processes) == 2


def test_a_place_is_kept_when_no_process_can_be_started(decoders: Decoders, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(limits: Limits) -> Decoder:
        raise OSError(24, "too many open files")

    monkeypatch.setattr("saccade.web.decoders.Decoder", fail)
    for process in decoders.processes:
        os.kill(process, signal.SIGKILL)
    for _ in range(4):
        with pytest.raises((OSError, DecodeError)):
            decoders.sample(picture(), SMALL)
    monkeypatch.undo()
    for n in range(4):
        assert decoders.sample(picture(n), SMALL).image.shape == (32, 32, 3)


def test_a_picture_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Decoders(Limits(decode_seconds=1), 1)
    try:
        own.sample(picture(), SMALL)
        os.kill(own.processes[0], signal.SIGSTOP)
        begun = time.monotonic()
        with pytest.raises(TooLarge, match="longer than 1 seconds"):
            own.sample(picture(), SMALL)
        assert 0.9 < time.monotonic() - begun < 10
        assert own.sample(picture(), SMALL).image.shape == (32, 32, 3)
    finally:
        own.close()


def test_the_service_stays_up_when_a_process_is_killed_in_mid_request(tmp_path: Path) -> None:
    run = make_run(tmp_path / "digits", "digits")
    with live([run]) as running, ThreadPoolExecutor(1) as pool:
        expected = running.said(picture())
        stop = threading.Event()

        def kill() -> int:
            killed = 0
            while not stop.wait(0.05):
                for process in running.service.decoders.processes[:1]:
                    os.kill(process, signal.SIGKILL)
                    killed += 1
            return killed

        killing = pool.submit(kill)
        until, answers = time.monotonic() + 5, []
        while time.monotonic() < until:
            answers.append(running.predict(picture()))
        stop.set()
        assert killing.result() > 3 and running.service.decoders.died > 0
        for answer in answers:
            if answer.status_code == 200:
                assert answer.json()["results"][0]["prediction"] == expected
            else:
                assert answer.json()["error"]["code"] == "unreadable" and "breaks" in answer.text
        assert any(answer.status_code == 200 for answer in answers)
        assert running.said(picture()) == expected


def predictor() -> Predictor:
    torch.manual_seed(0)
    name, task, classes, preprocessing, _ = KINDS["digits"]
    return Predictor(create_model(name, 10, in_channels=1), Card(name, task, classes, preprocessing))


@pytest.fixture
def runner() -> Iterator[Runner]:
    own = Runner(Limits(batch_wait=0.05))
    yield own
    own.close()


def test_calls_run_one_at_a_time_in_the_order_asked(runner: Runner) -> None:
    order: list[int] = []
    inside = threading.Lock()

    def call(n: int) -> int:
        assert inside.acquire(blocking=False), "two calls at a time"
        time.sleep(0.002)
        order.append(n)
        inside.release()
        return n

    futures = [runner.call(lambda n=n: call(n), 10) for n in range(30)]
    assert [one.result() for one in futures] == order == list(range(30))


def test_pictures_looked_at_together_are_answered_each_as_alone(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = predictor()
    preprocessing = model.card.preprocessing
    samples = [prepare(FilePicture(picture(n)), preprocessing) for n in range(10)]
    alone = [model.say([sample])[0] for sample in samples]
    sizes: list[int] = []
    say = model.say

    def counted(given: Any) -> Any:
        sizes.append(len(given))
        return say(given)

    monkeypatch.setattr(model, "say", counted)
    hold = threading.Event()
    runner.call(lambda: hold.wait(10), 10)
    warm = Warm(model, 4)
    futures = [runner.say(warm, sample, 10) for sample in samples]
    hold.set()
    for expected, future in zip(alone, futures, strict=True):
        found = future.result()
        assert isinstance(found, Classification) and isinstance(expected, Classification)
        assert np.abs(found.probabilities - expected.probabilities).max() < 1e-5
    assert sizes == [4, 4, 2]
    sizes.clear()
    plain = Warm(model, 1)
    [one.result() for one in [runner.say(plain, sample, 10) for sample in samples[:3]]]
    assert sizes == [1, 1, 1]


def test_only_pictures_of_one_shape_and_one_model_are_looked_at_together(runner: Runner) -> None:
    sizes: list[list[tuple[int, ...]]] = []

    class Counting:
        def say(self, given: Any) -> list[int]:
            sizes.append([one.image.shape for one in given])
            return [one.image.shape[1] for one in given]

    preprocessing = Preprocessing.whole(32, 64)
    samples = [
        prepare(ArrayPicture(np.zeros((32, width, 3), np.uint8)), preprocessing) for width in (32, 48, 32, 48, 32)
    ]
    one, other = (Warm(Counting(), 8) for _ in range(2))  # type: ignore[arg-type]
    hold = threading.Event()
    runner.call(lambda: hold.wait(10), 10)
    futures = [runner.say(one, sample, 10) for sample in samples] + [runner.say(other, samples[0], 10)]
    hold.set()
    assert [future.result() for future in futures] == [32, 48, 32, 48, 32, 32]
    assert sorted(len(shapes) for shapes in sizes) == [1, 2, 3]
    assert all(len(set(shapes)) == 1 for shapes in sizes)


def test_what_was_given_up_or_is_late_is_not_begun(runner: Runner) -> None:
    hold, begun = threading.Event(), []
    runner.call(lambda: hold.wait(10), 10)
    given_up = runner.call(lambda: begun.append("given up"), 10)
    late = runner.call(lambda: begun.append("late"), 0.05)
    failing = runner.call(lambda: 1 / 0, 10)
    given_up.cancel()
    time.sleep(0.1)
    hold.set()
    with pytest.raises(Late):
        late.result()
    with pytest.raises(ZeroDivisionError):
        failing.result()
    assert runner.call(lambda: 5, 10).result() == 5 and begun == []


def test_ending_finishes_what_was_asked() -> None:
    own = Runner(Limits())
    futures = [own.call(lambda n=n: (time.sleep(0.01), n)[1], 10) for n in range(5)]
    own.close()
    assert [one.result() for one in futures] == list(range(5))
    with pytest.raises(RuntimeError, match="ending"):
        own.call(lambda: 1, 10)


@pytest.mark.parametrize("kind", KINDS)
def test_warming_up_finds_how_many_pictures_to_look_at(tmp_path: Path, kind: str) -> None:
    warm = warm_up(load(make_run(tmp_path / kind, kind)), Limits(batch=4))
    assert warm.batch in warm.rates and warm.batch <= 4 and set(warm.rates) <= {1, 2, 4}
    # No size was taken that was not faster than all smaller ones.
    assert all(warm.rates[warm.batch] > warm.rates[size] for size in warm.rates if size < warm.batch)
