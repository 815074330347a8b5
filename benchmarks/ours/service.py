"""A service under 64 clients, batching as its warm-up chose, and not batching at all, alternating.

python -m benchmarks.ours.service NETWORK: two services in processes of their own, of which one rests; clients in this
process, each of which sends the same picture again as soon as it is answered.
"""

import ctypes
import http.client
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.worker import serve, versions
from saccade import checkpoint
from saccade.checkpoint import Card
from saccade.models import create_model
from saccade.structures import Preprocessing

CLIENTS, SECONDS = 64, 10.0
NETWORKS = {
    "lenet": Preprocessing((28, 28), 28, "L", (0.5,), (0.5,)),
    "mobilenet_v2": Preprocessing(),
}


def make_run(folder: Path, name: str) -> None:
    """A run directory of a network that nobody trained: what it says does not matter here."""
    preprocessing = NETWORKS[name]
    model = create_model(name, 10, in_channels=preprocessing.channels)
    folder.mkdir()
    checkpoint.save_card(folder, Card(name, "classify", tuple("0123456789"), preprocessing))
    checkpoint.save_weights(folder, model.state_dict())


def start(run: Path, *settings: str) -> tuple[subprocess.Popen[str], int, str]:
    """A service, its port, and what it says of batches."""
    line = [sys.executable, "-m", "saccade", "serve", str(run), "--port", "0"]
    line += [part for setting in settings for part in ("--set", setting)]
    process = subprocess.Popen(
        line,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_end_too,  # noqa: PLW1509  (it takes no lock)
    )
    assert process.stderr is not None
    said = ""
    for text in process.stderr:
        said += text
        if found := re.search(r"http://127\.0\.0\.1:(\d+)", text):
            # Its log is read, so that it never waits for that.
            threading.Thread(target=process.stderr.read, daemon=True).start()
            return process, int(found[1]), said.split("classes, ")[1].splitlines()[0]
    raise RuntimeError(said)


def _end_too() -> None:
    """Linux: who began this process takes it along, even when killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def load(port: int, body: bytes, seconds: float) -> tuple[int, float]:
    """How many were answered, and in how many seconds."""
    counts, stop = [0] * CLIENTS, threading.Event()
    headers = {"Content-Type": "multipart/form-data; boundary=line"}

    def ask(n: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        while not stop.is_set():
            connection.request("POST", "/v1/predict", body, headers)
            response = connection.getresponse()
            content = response.read()
            if response.status != 200:
                raise RuntimeError(f"{response.status}: {content[:200]!r}")
            counts[n] += 1
        connection.close()

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(CLIENTS)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    return sum(counts), time.perf_counter() - begun


def main() -> None:
    """A round is ten seconds of each."""
    name = sys.argv[1]
    with tempfile.TemporaryDirectory() as folder:
        make_run(Path(folder) / name, name)
        pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8).repeat(10, 0).repeat(10, 1)
        Image.fromarray(pixels).save(Path(folder) / "a.jpg", quality=90)
        content = (Path(folder) / "a.jpg").read_bytes()
        body = (
            b'--line\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n%s\r\n--line--\r\n'
            % content
        )
        batching, port, said = start(Path(folder) / name)
        plain, other, _ = start(Path(folder) / name, "batch=1")
        try:
            for one in (port, other):
                load(one, body, 3)
            about = f"{versions('torch', 'uvicorn')}; {said}"
            sides = {"ours": lambda: load(port, body, SECONDS), "peer": lambda: load(other, body, SECONDS)}
            serve(sides, about)
        finally:
            for process in (batching, plain):
                process.kill()
                process.wait()


if __name__ == "__main__":
    main()
