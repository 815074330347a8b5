"""Runs `fit` again and again in a child that is killed, until one lives to the end. Run as a program by test_resume.

    python tests/kills.py OUT KILLS SEED '{"data": ..., "model": ..., ...}'

Forks instead of starting Python anew, so that the kills fall into training and saving, not into imports.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

# Imported before the fork, and nothing of torch is run before it: its threads would not survive.
import saccade.recipes.fit


def live(out: str, arguments: dict) -> None:
    """One life of the run, in this process."""
    options = dict(arguments)
    try:
        saccade.recipes.fit.fit(options.pop("data"), out=out, resume=True, **options)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


def main() -> None:
    out, kills, seed, arguments = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4])
    rng, killed, while_saving = random.Random(seed), 0, 0
    while True:
        child = os.fork()
        if child == 0:
            live(out, arguments)
        if killed < kills:
            # Half of the kills wait for a file that is just being written.
            deadline, saving = time.monotonic() + rng.uniform(0.3, 1.5), rng.random() < 0.5
            while time.monotonic() < deadline:
                if os.waitpid(child, os.WNOHANG) != (0, 0):
                    sys.exit("the run ended before it could be killed: make it longer")
                time.sleep(0.001)
            while saving and not list(Path(out).glob("*.part")) and time.monotonic() < deadline + 2:
                time.sleep(0.0002)
            while_saving += bool(list(Path(out).glob("*.part")))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            killed += 1
            continue
        _, status = os.waitpid(child, 0)
        print(json.dumps({"kills": killed, "while_saving": while_saving}))
        sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
