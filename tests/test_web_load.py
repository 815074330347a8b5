"""64 clients at once for a minute: no error below the queue's limit, a clear one above it, and memory that stays."""

import http.client
import json
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from service import make_run, picture
from test_web_serve import Command

CLIENTS = 64


def resident(process: int) -> float:
    """Megabytes of memory that a process and those it began hold."""
    children = Path(f"/proc/{process}/task").glob("*/children")
    family = [process, *(int(child) for file in children for child in file.read_text().split())]
    total = 0
    for one in family:
        lines = Path(f"/proc/{one}/status").read_text().splitlines()
        total += int(next(line for line in lines if line.startswith("VmRSS")).split()[1])
    return total / 1000


def load(command: Command, seconds: float) -> tuple[Counter[str], list[float]]:
    """How often each status was answered, with each code; and the memory, every second."""
    port = int(command.url.rpartition(":")[2])
    counts, lock, stop = Counter[str](), threading.Lock(), threading.Event()
    contents = [picture(n, (90, 120), kind) for n, kind in enumerate(("PNG", "JPEG", "WEBP", "GIF"))]
    bodies = [
        b'--line\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n%s\r\n--line--\r\n' % content
        for content in contents
    ]

    def ask(n: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        while not stop.is_set():
            headers = {"Content-Type": "multipart/form-data; boundary=line"}
            connection.request("POST", "/v1/predict", bodies[n % len(bodies)], headers)
            response = connection.getresponse()
            content = json.loads(response.read())
            code = content["error"]["code"] if response.status != 200 else "answered"
            with lock:
                counts[f"{response.status} {code}"] += 1
        connection.close()

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    memory, until = [], time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(1)
        memory.append(resident(command.process.pid))
    stop.set()
    for thread in threads:
        thread.join()
    return counts, memory


@pytest.mark.slow
def test_a_minute_of_64_clients(tmp_path: Path) -> None:
    make_run(tmp_path / "digits", "digits")
    command = Command(tmp_path, "digits")
    try:
        load(command, 10)
        counts, memory = load(command, 60)
        print(counts, f"{memory[0]:.0f} to {memory[-1]:.0f} MB")
        assert set(counts) == {"200 answered"} and counts["200 answered"] > 1000
        assert max(memory[-10:]) < 1.05 * max(memory[:10]) + 10
        assert command.end() == 0
    finally:
        command.process.kill()
        command.process.wait()


@pytest.mark.slow
def test_above_the_queues_limit_clients_are_told_to_come_back(tmp_path: Path) -> None:
    make_run(tmp_path / "digits", "digits")
    command = Command(tmp_path, "digits", "--set", "queue=8")
    try:
        counts, _ = load(command, 15)
        print(counts)
        assert set(counts) == {"200 answered", "429 too_many"} and counts["200 answered"] > 100
        assert command.end() == 0
    finally:
        command.process.kill()
        command.process.wait()
