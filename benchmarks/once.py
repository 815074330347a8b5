"""A round of work that wants a fresh process each time, because its memory is measured, or leaves a mark.

Standard library only, because the peers use it too, in their own environment.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable

from benchmarks.worker import serve


def serve_once(side: str, module: str, quantity: str, file: str, about: str) -> None:
    """Answer each round by running `module` FILE in a process of its own.

    quantity  what the speed is of: "seconds", or "megabytes" of memory at the peak, imports and all
    """

    def one_round() -> tuple[int, float]:
        command = [sys.executable, "-m", module, file]
        answer = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.splitlines()[-1])
        return answer["amount"], answer[quantity]

    serve({side: one_round}, about)


def do_once(work: Callable[[], int]) -> None:
    """Do it, and print how much it was, how long it took, and how much memory the process had at most. Linux only."""
    started = time.perf_counter()
    amount = work()
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"amount": amount, "seconds": seconds, "megabytes": peak / 1e6}))
