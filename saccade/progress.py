"""A progress bar on the terminal for whatever takes over a second; silent when nobody is looking."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import TypeVar

Item = TypeVar("Item")

_SILENT: ContextVar[bool] = ContextVar("_SILENT", default=False)


@contextmanager
def silent() -> Iterator[None]:
    """No bar that begins in here is drawn: whoever does many things shows one bar for all of them."""
    token = _SILENT.set(True)
    try:
        yield
    finally:
        _SILENT.reset(token)


class Progress:
    """`with Progress("reading", total) as progress: progress.advance()`. Draws on stderr, and only on a terminal.

    total  how many there are to come; None when nobody knows
    unit   "images", or "bytes" to show sizes and speed
    """

    def __init__(self, what: str, total: int | None, unit: str = "images") -> None:
        self.what, self.total, self.unit = what, total, unit
        self._bar = None

    def __enter__(self) -> "Progress":
        if sys.stderr.isatty() and not _SILENT.get():
            from rich import progress
            from rich.console import Console

            amount = (progress.DownloadColumn(), progress.TransferSpeedColumn())
            count = (progress.MofNCompleteColumn(), progress.TextColumn(self.unit))
            self._bar = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                *(amount if self.unit == "bytes" else count),
                progress.TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(self.what, total=self.total)
        return self

    def advance(self, amount: int = 1) -> None:
        """So much more is done."""
        if self._bar:
            self._bar.advance(self._task, amount)

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()


def track(items: Iterable[Item], what: str, total: int, unit: str = "images") -> Iterator[Item]:
    """The items one by one, with a bar."""
    with Progress(what, total, unit) as progress:
        for item in items:
            yield item
            progress.advance()
