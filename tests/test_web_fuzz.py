"""What strangers send in a thousand broken ways: never an error of its own, nothing left behind, and alive after it."""

import json
import os
import random
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from service import KINDS, Live, live, make_run, picture
from test_film import make

from saccade.web.limits import Limits

IMAGES = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
WORDS = [b"", b"\0", b"\r\n", b"--", b"9" * 300, b"-1", b"nan", b"\xff\xfe", b"../../etc/passwd", b"%00", b'"', b";",
         b"form-data", b"name=", b"filename=", b"\xf0\x9f\x92\xa3", b"x" * 9000, b": ", b"chunked"]  # fmt: skip


def damaged(content: bytes, rng: random.Random) -> bytes:
    """A few bytes otherwise, cut short, doubled, or with something else in between."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 5, 30))):
        if not changed:
            return b""
        place = rng.randrange(len(changed))
        match rng.randrange(6):
            case 0:
                changed[place] = rng.randrange(256)
            case 1:
                changed[place] ^= 1 << rng.randrange(8)
            case 2:
                changed[place:] = b""
            case 3:
                changed[place:place] = rng.choice(WORDS)
            case 4:
                changed[place : place + rng.randrange(1, 40)] = b""
            case _:
                changed[place:place] = changed[place : place + rng.randrange(1, 200)]
    return bytes(changed)


def form(rng: random.Random, name: str, content: bytes) -> tuple[bytes, bytes]:
    """A multipart body and its boundary."""
    fields = {b"model": rng.choice(list(KINDS)).encode(), b"top": b"3", b"score": b"0.5", b"thing": b"1"}
    body = b""
    for key, value in fields.items():
        body += b'--line\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (key, value)
    body += b'--line\r\nContent-Disposition: form-data; name="%s"; filename="a.png"\r\n' % name.encode()
    return body + b"Content-Type: image/png\r\n\r\n%s\r\n--line--\r\n" % content, b"line"


def sent(port: int, request: bytes) -> int:
    """The status of the answer to raw bytes; 0 where the connection was closed without one."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        received = b""
        try:
            sock.sendall(request)
            while True:
                try:
                    part = sock.recv(65536)
                except TimeoutError:
                    sock.shutdown(socket.SHUT_WR)  # it waits for more than there is
                    continue
                if not part:
                    break
                received += part
        except ConnectionError:
            pass  # it was refused before all of it was sent
    return int(received.split(b" ", 2)[1]) if received.startswith(b"HTTP/1.1 ") else 0


def head(path: str, length: int, boundary: bytes) -> bytes:
    return (
        b"POST %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n"
        b"Content-Type: multipart/form-data; boundary=%s\r\n\r\n" % (path.encode(), length, boundary)
    )


def state_of(running: Live) -> tuple[int, int]:
    """Open files of this process, and files of films."""
    files = sum(1 for _ in running.service.jobs._folder.rglob("*"))
    return len(os.listdir("/proc/self/fd")), files


def fuzz(running: Live, film: bytes, count: int, seed: int) -> dict[str, int]:
    rng, counts = random.Random(seed), dict[str, int]()
    images = [picture(n, (40, 50), kind) for n, kind in enumerate(IMAGES)]

    def image() -> int:
        content = damaged(rng.choice(images), rng)
        path, name = rng.choice((("/v1/predict", "files"), ("/v1/predict", "files"), ("/v1/explain", "file")))
        body, boundary = form(rng, name, content)
        return sent(running.port, head(path, len(body), boundary) + body)

    def movie() -> int:
        answer = running.job(damaged(film, rng), model="digits")
        if answer.status_code == 202:
            last = running.events(answer.json()["id"])[-1]
            assert last["state"] in ("done", "failed") and (last["error"] or {}).get("code") != "internal"
            running.client.delete(f"/v1/jobs/{last['id']}")
        return answer.status_code

    def body() -> int:
        whole, boundary = form(rng, "files", rng.choice(images))
        broken = damaged(whole, rng)
        length = len(broken) if rng.random() < 0.98 else rng.randrange(2 * len(broken) + 1)
        return sent(running.port, head("/v1/predict", length, boundary) + broken)

    def headers() -> int:
        whole, boundary = form(rng, "files", rng.choice(images))
        return sent(running.port, damaged(head("/v1/predict", len(whole), boundary), rng) + whole)

    kinds: dict[str, Callable[[], int]] = {"image": image, "body": body, "headers": headers, "film": movie}
    for n in range(count):
        kind = "film" if n % 20 == 19 else rng.choice(("image", "body", "headers"))
        status = kinds[kind]()
        assert status < 500, f"{kind} {n} of seed {seed}: {status}"
        counts[f"{kind} {status}"] = counts.get(f"{kind} {status}", 0) + 1
    return counts


def resident() -> int:
    """Kilobytes of memory that this process holds."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


# Of an upload that breaks off, the framework leaves closing the file to the collector, which does it at once.
@pytest.mark.filterwarnings("ignore:.*SpooledTemporaryFile:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("count", [150, pytest.param(2000, marks=pytest.mark.slow)])
def test_nothing_that_is_sent_breaks_it(tmp_path: Path, count: int, caplog: pytest.LogCaptureFixture) -> None:
    film = make(tmp_path / "a.mp4").read_bytes()
    runs = [make_run(tmp_path / kind, kind) for kind in KINDS]
    with live(runs, Limits(seconds=30, batch=1)) as running:
        expected = running.said(picture(), model="digits")
        fuzz(running, film, 60, 0)
        before, memory = state_of(running), resident()
        counts = fuzz(running, film, count, 1)
        answered = {name.split()[0] for name in counts}
        assert answered == {"image", "body", "headers", "film"} and any(name.endswith(" 200") for name in counts)
        files, left = state_of(running)
        assert left == before[1] == 0 and files <= before[0] + 8
        assert resident() < memory + 300_000, "memory grew by more than 300 MB"
        assert running.said(picture(), model="digits") == expected
        assert len(running.service.decoders.processes) == running.service.decoders.count
    assert not [record for record in caplog.records if record.exc_info], "an error was logged as the service's own"


NAMES = [
    "../../etc/passwd",
    "/etc/passwd",
    "a\\b.png",
    "C:\\x.png",
    "..",
    "",
    "a" * 5000,
    "nul\u0000.png",
    "\u202egnp.exe",
    "<b>.png",
]


@pytest.mark.parametrize("name", NAMES)
def test_no_name_from_outside_becomes_a_file(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is opened for writing has a name of our own."""
    run = make_run(tmp_path / "digits", "digits")
    film = make(tmp_path / "a.mp4").read_bytes()
    with live([run]) as running:
        body, boundary = form(random.Random(0), "file", film)
        body = body.replace(b"a.png", name.encode()).replace(b"\r\n\r\n" + b"boxes", b"\r\n\r\ndigits")
        for kind in KINDS:
            body = body.replace(b"\r\n\r\n%s\r\n" % kind.encode(), b"\r\n\r\ndigits\r\n")
        response = running.client.post(
            "/v1/jobs", content=body, headers={"Content-Type": f"multipart/form-data; boundary={boundary.decode()}"}
        )
        if response.status_code != 202:
            assert response.status_code in (400, 422)
            return
        id = response.json()["id"]
        running.events(id)
        folder = running.service.jobs._folder
        assert {str(path.relative_to(folder)) for path in folder.rglob("*")} == {
            id,
            f"{id}/drawn.mp4",
            f"{id}/lines.jsonl",
        }
        assert running.client.get(f"/v1/jobs/{id}").json()["name"] == response.json()["name"]


def test_the_description_of_the_api_is_what_it_does(tmp_path: Path) -> None:
    """By schemathesis: from the OpenAPI it makes requests, meant and mad, and holds every answer against it."""
    import schemathesis

    runs = [make_run(tmp_path / kind, kind) for kind in ("digits", "boxes")]
    with live(runs, Limits(explain_seconds=60)) as running:
        schema: Any = schemathesis.openapi.from_dict(running.client.get("/v1/openapi.json").json())
        operations = [one.ok() for one in schema.get_all_operations()]
        assert len(operations) >= 14
        tried = sum(conforms(running, operation) for operation in operations)
        assert tried > 100
        assert running.predict(picture()).status_code == 200


def conforms(running: Live, operation: Any) -> int:
    """Hold the answers to a few requests against an operation's description; how many there were."""
    cases = []

    @settings(
        max_examples=15, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.data())
    def check(data: Any) -> None:
        case = data.draw(operation.as_strategy())
        cases.append(case)
        response = case.call(base_url=running.url)
        what = f"{case.method} {case.path}: {response.status_code}"
        assert response.status_code < 500, what
        assert str(response.status_code) in operation.definition.raw["responses"], f"{what} is not in its description"
        if "json" in str(response.headers.get("content-type")) and response.status_code >= 400:
            assert set(json.loads(response.text)["error"]) == {"code", "message", "request"}

    check()
    return len(cases)
