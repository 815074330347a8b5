"""One side of a measurement, in a process of its own: waits for a line, does a round of work, answers how long it took.

Standard library only, because the peers use it too, in their own environment.
"""

import json
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any


def versions(*packages: str) -> str:
    """What is installed here: "torch 2.12.1, pillow 13.0.0"."""
    return ", ".join(f"{package} {version(package)}" for package in packages)


def serve(rounds: dict[str, Callable[[], tuple[int, float]]], about: str) -> None:
    """Say that all is ready, then answer each line on stdin until there are no more.

    rounds  by the word that asks for it: a round of work, which gives how many images it did and in how many seconds
    about   what runs here, for the person who reads the result
    """
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever a library prints must not pass for an answer

    def answer(values: dict[str, Any]) -> None:
        print(json.dumps(values), file=answers, flush=True)

    answer({"about": about})
    for line in sys.stdin:
        images, seconds = rounds[line.strip()]()
        answer({"images": images, "seconds": seconds})
