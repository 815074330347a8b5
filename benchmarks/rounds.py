"""Both sides of a claim, in turn, in one run: ours, peer, ours, peer ... because the machine is shared and noisy."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
OURS, PEERS = Path(sys.executable), ROOT / ".venv-bench" / "bin" / "python"


class BenchmarkError(Exception):
    """A measurement that could not be made."""


@dataclass(frozen=True)
class Measured:
    """The speeds of both sides, images a second, one of each a round."""

    ours: list[float]
    peer: list[float]
    about_ours: str
    about_peer: str

    @property
    def ratio(self) -> float:
        """How many times as fast as the peer: the ratio of the medians."""
        return median(self.ours) / median(self.peer)

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and highest ratio of any one round."""
        ratios = [ours / peer for ours, peer in zip(self.ours, self.peer, strict=True)]
        return min(ratios), max(ratios)


class Side:
    """A worker process, started and warm. See `benchmarks.worker`.

    python     whose environment it runs in
    command    module and arguments
    one_core   keep it, and every thread it starts, on one processor core
    """

    def __init__(self, python: Path, command: Sequence[str], one_core: bool) -> None:
        if not python.exists():
            raise BenchmarkError(f"{python} is missing; `make bench` sets up the environment that the peers run in")
        self.command = command
        # Without this, albumentations asks the network for a newer version of itself.
        environment = os.environ | {"NO_ALBUMENTATIONS_UPDATE": "1"}
        self.process = subprocess.Popen(
            [str(python), "-m", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment,
        )
        if one_core and hasattr(os, "sched_setaffinity"):
            # Before it has threads: what it starts from now on stays on the same core.
            os.sched_setaffinity(self.process.pid, {max(os.sched_getaffinity(0))})
        self.about: str = self._answer()["about"]

    def speed(self, round: str) -> float:
        """Images a second in one round of work."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{round}\n")
        self.process.stdin.flush()
        answer = self._answer()
        return answer["images"] / answer["seconds"]

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise BenchmarkError(f"{' '.join(self.command)} ended with code {self.process.wait()}; see above for why")
        return json.loads(line)

    def __enter__(self) -> "Side":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.process.kill()
        self.process.communicate()


def measure(ours: Sequence[str], peer: Sequence[str] | None, rounds: int, one_core: bool) -> Measured:
    """`rounds` rounds of each side, in turn.

    ours  module and arguments of our side
    peer  likewise; None where both sides live in our process
    """
    with ExitStack() as stack:
        mine = stack.enter_context(Side(OURS, ours, one_core))
        theirs = stack.enter_context(Side(PEERS, peer, one_core)) if peer else mine
        speeds = [(mine.speed("ours"), theirs.speed("peer")) for _ in range(rounds)]
        return Measured([a for a, _ in speeds], [b for _, b in speeds], mine.about, theirs.about)
