"""How results are printed."""

import json
import math
import re
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from saccade.wording import finite

PERCENT = re.compile(r"(error|accuracy|iou|A[PR][0-9sml]*|mAP_voc)$")


@contextmanager
def told_when_interrupted(*written: Path | None) -> Iterator[None]:
    """Ctrl-C ends with 130, as ever, and says that none of these, which are written last, is there. So does SIGTERM,
    which would otherwise leave half a copy.
    """
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        names = " or ".join(str(path) for path in written if path is not None)
        print("interrupted" + (f"; nothing was written to {names}" if names else ""), file=sys.stderr)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def print_json(value: Any) -> None:
    """One line of JSON; what is not a number is null."""
    print(json.dumps(finite(value), ensure_ascii=False))


def print_metrics(metrics: dict[str, Any]) -> None:
    """One number a line, in words."""
    width = max(len(name) for name in metrics)
    for name, value in metrics.items():
        print(f"{name.replace('_', ' '):{width}}  {_worded(name, value)}")


def print_table(header: Sequence[str], rows: Iterable[Sequence[Any]], numbers: Iterable[int] = ()) -> None:
    """Columns, as wide as they need to be; numbers to the right.

    numbers  columns of numbers that are words already
    """
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    rows = [list(row) for row in rows]
    numbers = set(numbers)
    for column, name in enumerate(header):
        numeric = column in numbers or all(isinstance(row[column], (int, float)) for row in rows)
        last = column == len(header) - 1
        table.add_column(name, justify="right" if numeric else "left", overflow="fold", no_wrap=not last)
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    # A file or a pipe has no edge.
    width = None if sys.stdout.isatty() else 10_000
    Console(highlight=False, markup=False, soft_wrap=False, width=width).print(table)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _worded(name: str, value: Any) -> str:
    if isinstance(value, float) and math.isnan(value):
        return "-"
    if isinstance(value, float):
        return f"{value:.2f} %" if PERCENT.search(name) else f"{value:.4g}"
    return str(value)
