"""The service as a person runs it: the command, what the document tells to type, signals, and the client."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from service import make_run, picture
from test_film import make

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


class Command:
    """`saccade serve` in a process of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        line = [sys.executable, "-m", "saccade", "serve", *arguments, "--port", "0"]
        self.log = folder / "serve.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(line, cwd=folder, env=ENVIRONMENT, stderr=log)
        for _ in range(1200):
            if found := re.search(r"http://127\.0\.0\.1:\d+", self.log.read_text()):
                self.url = found[0]
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        self.process.kill()
        self.process.wait()
        raise AssertionError(self.log.read_text())

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the document takes for granted."""
    folder = tmp_path_factory.mktemp("desk")
    make_run(folder / "runs" / "digits", "digits")
    make_run(folder / "runs" / "cells", "boxes")
    (folder / "digit.png").write_bytes(picture(1))
    for name in ("a.jpg", "b.jpg"):
        (folder / name).write_bytes(picture(2, kind="JPEG"))
    make(folder / "clip.mp4")
    return folder


@pytest.fixture(scope="module")
def command(desk: Path) -> Iterator[Command]:
    own = Command(desk, "runs/digits", "runs/cells")
    yield own
    own.process.kill()
    own.process.wait()


@pytest.mark.skipif(shutil.which("curl") is None, reason="the document speaks of curl, which is not installed")
def test_what_the_document_tells_to_type_works_in_order(command: Command, desk: Path) -> None:
    typed = [line[2:].partition("  #")[0].rstrip() for line in re.findall(r"^\$ curl .*$", PAGE, re.MULTILINE)]
    assert len(typed) >= 8
    job = ""
    for line in typed:
        own = line.replace("http://127.0.0.1:8000", command.url).replace("EvH3N0…", job)
        done = subprocess.run(f"{own} -w '\\n%{{http_code}}'", shell=True, cwd=desk, capture_output=True, text=True)
        body, _, status = done.stdout.rpartition("\n")
        assert status.startswith("2"), f"{line}: {done.stdout[:300]}"
        if "/jobs" in line and "file=@" in line:
            job = json.loads(body)["id"]
        if "digit.png" in line and "predict" in line:
            answer = json.loads(body)
            shown = json.loads(PAGE.split(line + "\n", 1)[1].split("\n")[0])
            assert shape(answer) == shape(shown)
    assert (desk / "drawn.mp4").stat().st_size > 1000 and (desk / "lines.jsonl").read_text().count("\n") == 12


def shape(value: Any) -> Any:
    """The value without its numbers and words: names and kinds only."""
    if isinstance(value, dict):
        return {name: shape(own) for name, own in value.items()}
    return [shape(own) for own in value] if isinstance(value, list) else type(value).__name__


def test_the_document_names_every_limit_with_its_default() -> None:
    from saccade.web.limits import Limits

    text = PAGE.split("- **Limits**")[1].split("\n- **")[0]
    for name, value in vars(Limits()).items():
        assert f"`{name}`" in text, name
        if name not in ("link_body", "link_seconds"):
            own = text.split(f"`{name}`")[1].split("`")[0]
            assert f"{value:,}" in own or f"{value:g}" in own, name


def test_the_client_answers_as_the_service_does(command: Command, desk: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "service" / "client.py", command.url, "digit.png", "clip.mp4"],
        cwd=desk, env=ENVIRONMENT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[0])
    with (desk / "digit.png").open("rb") as file:
        answer = httpx.post(f"{command.url}/v1/predict", files={"files": ("digit.png", file)}, timeout=120).json()
    assert told == answer["results"][0]
    assert (desk / "clip-predicted.mp4").is_file()
    assert (desk / "clip-predicted.jsonl").read_text().count("\n") == 12
    # All of it was deleted there.
    assert httpx.get(f"{command.url}/metrics").text.count('saccade_films{state="done"} 0.0') == 1
    wrong = subprocess.run(
        [sys.executable, ROOT / "examples" / "service" / "client.py", command.url, "clip.mp4", "--model", "none"],
        cwd=desk, env=ENVIRONMENT, capture_output=True, text=True,
    )  # fmt: skip
    assert wrong.returncode == 1 and "422 no_meaning" in wrong.stderr


def test_a_signal_loads_the_runs_anew_and_another_ends_it(tmp_path: Path) -> None:
    run = make_run(tmp_path / "digits", "digits", seed=1)
    own = Command(tmp_path, "digits")
    try:

        def said() -> Any:
            answer = httpx.post(f"{own.url}/v1/predict", files={"files": picture()}, timeout=120)
            return answer.json()["results"][0]["prediction"]

        before = said()
        make_run(run, "digits", seed=2)
        own.process.send_signal(signal.SIGHUP)
        for _ in range(600):
            if said() != before:
                break
            time.sleep(0.05)
        assert said() != before and "the models are loaded" in own.log.read_text()
        children = subprocess.run(["pgrep", "-P", str(own.process.pid)], capture_output=True, text=True).stdout.split()
        assert len(children) >= 2
        assert own.end() == 0
        assert all(not Path(f"/proc/{child}").exists() for child in children)
        assert "Traceback" not in own.log.read_text()
    finally:
        own.process.kill()
        own.process.wait()


def test_a_killed_service_leaves_no_process_behind(tmp_path: Path) -> None:
    make_run(tmp_path / "digits", "digits")
    own = Command(tmp_path, "digits")
    children = subprocess.run(["pgrep", "-P", str(own.process.pid)], capture_output=True, text=True).stdout.split()
    own.process.kill()
    own.process.wait()
    for _ in range(200):
        alive = [child for child in children if running(child)]
        if not alive:
            return
        time.sleep(0.05)
    raise AssertionError(f"{alive} go on")


def running(process: str) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
