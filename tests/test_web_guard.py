"""What stands before every request: keys, hosts, limits; ending well, and models that are replaced."""

import hashlib
import http.client
import json
import re
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from ran import cli
from service import Live, live, make_run, picture

from saccade.errors import UsageError
from saccade.predict import load
from saccade.web.answers import answer_of
from saccade.web.guard import HEADERS
from saccade.web.keys import Keys, add_key
from saccade.web.limits import Limits, limits_of


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("served") / "digits", "digits")


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Keys, dict[str, str]]:
    file = tmp_path / "keys"
    own = {"laptop": add_key(file, "Büro"), "robot": add_key(file, "robot")}  # a name need not be ASCII
    return Keys(file), own


def code_of(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def held(running: Live) -> threading.Event:
    """Keep the thread that calls models busy until the event is set."""
    begun, end = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        end.wait(30)

    running.service.runner.call(wait, 30)
    assert begun.wait(10)
    return end


def test_every_answer_carries_the_headers_that_keep_a_browser_safe(run: Path) -> None:
    with live([run]) as running:
        answers = [running.client.get(path) for path in ("/", "/healthz", "/nothing", "/page/style.css", "/v1/models")]
        answers += [running.predict(picture()), running.predict(b"x"), running.client.get("/", headers={"Host": "x.y"})]
        numbers = set()
        for answer in answers:
            for name, value in HEADERS.items():
                assert answer.headers[name] == value
            assert re.fullmatch("[0-9a-f]{16}", answer.headers["x-request-id"])
            assert "server" not in answer.headers
            numbers.add(answer.headers["x-request-id"])
        assert len(numbers) == len(answers)
        assert "'unsafe" not in HEADERS["Content-Security-Policy"] and "*" not in HEADERS["Content-Security-Policy"]


def test_the_page_asks_for_nothing_from_elsewhere(run: Path) -> None:
    """Nothing in the files of the page names another place, but what a file of SVG is."""
    with live([run]) as running:
        text = running.client.get("/").text
        names = set(re.findall(r'"page/([\w.-]+)"', text))
        assert {"main.js", "style.css", "icon.svg"} <= names
        folder = Path(__file__).parents[1] / "saccade" / "web" / "page"
        for file in folder.iterdir():
            content = running.client.get(f"/page/{file.name}").text
            assert content == file.read_text(encoding="utf-8")
            assert set(re.findall(r"https?://[^\s\"'`]*", content)) <= {"http://www.w3.org/2000/svg", "https://…"}
            imported = re.findall(r'from "\./([\w.-]+)"', content)
            assert all((folder / name).is_file() for name in imported)
            assert "innerHTML" not in content and "eval(" not in content and "style=" not in content


def test_only_who_shows_a_key_is_answered(run: Path, keys: tuple[Keys, dict[str, str]]) -> None:
    known, own = keys
    with live([run], keys=known) as running:
        for given in ({}, {"Authorization": "Bearer wrong"}, {"X-API-Key": "é"}, {"Authorization": "Bearer"}):
            sent = {name: value.encode("utf-8") for name, value in given.items()}
            for path in ("/v1/models", "/metrics", "/v1/openapi.json", "/v1/examples"):
                answer = running.client.get(path, headers=sent)
                assert code_of(answer) == (401, "wrong_key") and answer.headers["www-authenticate"] == "Bearer"
            posted = running.client.post("/v1/predict", files={"files": picture()}, headers=sent)
            assert code_of(posted) == (401, "wrong_key")
        for given in ({"Authorization": f"Bearer {own['robot']}"}, {"X-API-Key": own["laptop"]}):
            assert running.client.get("/v1/models", headers=given).status_code == 200
            posted = running.client.post("/v1/predict", files={"files": picture()}, headers=given)
            assert posted.status_code == 200
        # Who has none can see whether it lives, and the page that asks for one.
        for path in ("/", "/page/main.js", "/healthz", "/readyz"):
            assert running.client.get(path).status_code == 200


def test_a_film_is_its_clients_alone(run: Path, keys: tuple[Keys, dict[str, str]], tmp_path: Path) -> None:
    from test_film import make

    known, own = keys
    film = make(tmp_path / "a.mp4").read_bytes()
    mine, others = ({"X-API-Key": own[name]} for name in ("laptop", "robot"))
    with live([run], keys=known) as running:
        id = running.client.post("/v1/jobs", files={"file": film}, headers=mine).json()["id"]
        for path in ("", "/lines", "/film", "/events"):
            assert running.client.get(f"/v1/jobs/{id}{path}", headers=others).status_code == 404
        assert running.client.delete(f"/v1/jobs/{id}", headers=others).status_code == 404
        assert running.client.get(f"/v1/jobs/{id}", headers=mine).status_code == 200


def test_keys_are_kept_as_hashes_alone(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    key = add_key(file, "my laptop")
    assert file.read_text() == f"my laptop {hashlib.sha256(key.encode()).hexdigest()}\n"
    assert file.stat().st_mode & 0o077 == 0 and len(key) > 40
    other = add_key(file, "robot")
    known = Keys(file)
    assert (known.name_of(key), known.name_of(other), known.name_of(key[:-1])) == ("my laptop", "robot", None)
    with pytest.raises(UsageError, match="already"):
        add_key(file, "robot")
    for name in ("", " ", "a\nb", "#x"):
        with pytest.raises(UsageError, match="needs a name"):
            add_key(file, name)


@pytest.mark.parametrize("content", ["", "# nothing\n", "laptop secret\n", "laptop " + "g" * 64, "0" * 64 + "\n"])
def test_a_file_that_is_none_of_keys_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "keys").write_text(content)
    with pytest.raises(UsageError):
        Keys(tmp_path / "keys")
    with pytest.raises(UsageError, match="cannot be read"):
        Keys(tmp_path / "none")


def test_the_command_makes_keys_and_refuses_what_has_no_meaning(tmp_path: Path, run: Path) -> None:
    made = cli("serve", "--api-keys", tmp_path / "keys", "--new-key", "phone")
    assert made.code == 0 and Keys(tmp_path / "keys").name_of(made.out.strip()) == "phone"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ran = cli("serve", run, "--port", taken.getsockname()[1])
        assert ran.code == 1 and "choose another --port" in ran.err
    for arguments, words in [
        ([], "nothing to serve"),
        (["--new-key", "x"], "--api-keys"),
        ([tmp_path], "not a run directory"),
        ([run, run], "Two of the runs are called 'digits'"),
        ([run, "--set", "bodi=3"], "did you mean 'body'"),
        ([run, "--set", "body=much"], "body is a number"),
        ([run, "--set", "queue=0"], "at least 1"),
        ([run, "--api-keys", tmp_path / "none"], "cannot be read"),
    ]:
        ran = cli("serve", *arguments)
        assert ran.code == 2 and words in ran.err, ran.err


def test_limits_are_read_as_what_they_are() -> None:
    assert limits_of(["queue=3", "seconds=2.5"]) == Limits(queue=3, seconds=2.5)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[::1", "localhost@evil.example"])
def test_other_names_that_lead_here_are_refused(run: Path, host: str) -> None:
    """So that a page on another site cannot ask by a name of its own that was made to mean this machine."""
    with live([run]) as running:
        assert code_of(running.client.get("/v1/models", headers={"Host": host})) == (403, "wrong_host")
        for own in (f"127.0.0.1:{running.port}", "localhost", "LOCALHOST:1", "[::1]:8000"):
            assert running.client.get("/v1/models", headers={"Host": own}).status_code == 200


def test_other_sites_pages_are_refused(run: Path) -> None:
    with live([run]) as running:
        for headers in (
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Origin": f"http://127.0.0.1:{running.port + 1}"},
        ):
            answer = running.client.post("/v1/predict", files={"files": picture()}, headers=headers)
            assert code_of(answer) == (403, "wrong_origin")
        own = {"Origin": running.url, "Sec-Fetch-Site": "same-origin"}
        assert running.client.post("/v1/predict", files={"files": picture()}, headers=own).status_code == 200


def test_too_large_a_request_is_refused_whether_it_says_so_or_not(run: Path) -> None:
    with live([run], Limits(body=50_000)) as running:
        assert code_of(running.predict(bytes(60_000))) == (413, "too_large")

        def parts() -> Iterator[bytes]:
            yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
            for _ in range(60):
                yield bytes(1000)
            yield b"\r\n--x--\r\n"

        head = {"Content-Type": "multipart/form-data; boundary=x"}
        assert code_of(running.client.post("/v1/predict", content=parts(), headers=head)) == (413, "too_large")
        assert running.predict(picture()).status_code == 200
    with live([run], Limits(files=2)) as running:
        assert running.predict(picture(), picture()).status_code == 200
        assert code_of(running.predict(picture(), picture(), picture())) == (422, "no_meaning")


def test_no_spelling_of_a_path_walks_around_the_limits(run: Path) -> None:
    with live([run], Limits(body=50_000)) as running:
        for path in ("/v1/predict%0A", "/v1/predict", "/v1/predict/", "/v1//predict"):
            answer = running.client.post(path, files={"files": bytes(60_000)})
            assert answer.status_code == 413, path


def test_text_is_taken_in_utf8_alone(run: Path) -> None:
    """Others' decoders may take minutes for a field, or give what no answer can hold."""
    with live([run]) as running:
        for charset in ("punycode", "unicode_escape", "idna", "utf-8x", '"utf-7"'):
            head = {"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"}
            assert code_of(running.client.post("/v1/predict", content=b"--x--", headers=head)) == (415, "unsupported")
        head = {"Content-Type": "multipart/form-data; boundary=x; charset=UTF-8"}
        assert running.client.post("/v1/predict", content=b"--x--", headers=head).status_code == 422


def test_a_film_that_cannot_be_kept_takes_no_place(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with live([run], Limits(jobs=1)) as running:
        monkeypatch.setattr("shutil.copyfileobj", lambda *arguments: (_ for _ in ()).throw(OSError(28, "full")))
        assert running.job(b"film").status_code == 500
        monkeypatch.undo()
        assert running.job(b"film").status_code == 202


def test_a_slow_upload_is_ended(run: Path) -> None:
    with live([run], Limits(seconds=1)) as running, socket.create_connection(("127.0.0.1", running.port)) as sock:
        sock.sendall(
            b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
        )
        begun = time.monotonic()
        answer = http.client.HTTPResponse(sock)
        answer.begin()
        assert answer.status == 408 and json.loads(answer.read())["error"]["code"] == "slow_upload"
        assert 0.9 < time.monotonic() - begun < 10


def test_more_than_the_queue_holds_is_told_to_come_back(run: Path) -> None:
    with live([run], Limits(queue=3)) as running, ThreadPoolExecutor(8) as pool:
        end = held(running)
        waiting = [pool.submit(running.predict, picture(n)) for n in range(3)]
        for _ in range(200):
            if running.service.runner.waiting == 3:
                break
            time.sleep(0.02)
        late = running.predict(picture())
        assert code_of(late) == (429, "too_many") and int(late.headers["retry-after"]) > 0
        # What is no work is answered all the same.
        assert running.client.get("/healthz").status_code == 200
        end.set()
        assert [one.result().status_code for one in waiting] == [200] * 3
        assert running.predict(picture()).status_code == 200


def test_what_takes_too_long_is_given_up_and_forgotten(run: Path) -> None:
    with live([run], Limits(seconds=1)) as running:
        end = held(running)
        assert code_of(running.predict(picture())) == (504, "late")
        end.set()
        assert running.predict(picture()).status_code == 200
        assert running.service.runner.waiting == 0


def test_no_client_has_more_films_here_than_it_may(run: Path, tmp_path: Path) -> None:
    from test_film import make

    film = make(tmp_path / "a.mp4").read_bytes()
    with live([run], Limits(jobs=2, keep_seconds=1)) as running:
        end = held(running)
        ids = [running.job(film).json()["id"] for _ in range(2)]
        refused = running.job(film)
        assert code_of(refused) == (429, "too_many_films") and "retry-after" in refused.headers
        assert running.client.delete(f"/v1/jobs/{ids[1]}").status_code == 204
        again = running.job(film)
        assert again.status_code == 202
        end.set()
        running.events(again.json()["id"])
        # What is done, or failed, stands in nobody's way; of it as many are kept, the newest.
        more = []
        for content, state in ((b"broken", "failed"), (film, "done"), (b"broken", "failed")):
            more.append(running.job(content).json()["id"])
            assert running.events(more[-1])[-1]["state"] == state
        running.client.get("/v1/jobs/none")
        kept = [id for id in [*ids, again.json()["id"], *more] if id in running.service.jobs._jobs]
        assert kept == more[1:]
        time.sleep(1.2)  # then what was done is forgotten by itself
        assert running.client.get(f"/v1/jobs/{more[1]}").status_code == 404
        assert list(running.service.jobs._folder.iterdir()) == []


def test_what_nobody_waits_for_is_not_gone_on_with(run: Path) -> None:
    with live([run]) as running:
        end = held(running)
        with pytest.raises(httpx.ReadTimeout):
            running.client.post("/v1/explain", files={"file": picture()}, timeout=1)
        for _ in range(100):
            if running.service.runner.waiting == 0:
                break
            time.sleep(0.05)
        assert running.service.runner.waiting == 0
        end.set()
        assert running.predict(picture()).status_code == 200
        assert "saccade_requests_under_way 0.0" in running.client.get("/metrics").text


def test_what_was_uploaded_is_closed(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above a megabyte it lies in a file, which no garbage collector should have to find."""
    files = []

    class Watched(tempfile.SpooledTemporaryFile):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            files.append(self)

    monkeypatch.setattr("starlette.formparsers.SpooledTemporaryFile", Watched)
    with live([run], Limits(decode_seconds=5)) as running:
        for content in (picture(size=(900, 1200), kind="BMP"), b"x" * 3_000_000, picture()):
            running.predict(content, content)
            running.explain(content, target="7")
            running.job(content)
    assert len(files) == 3 * 4 and all(file.closed for file in files)


def test_films_beyond_their_limits_are_refused(run: Path, tmp_path: Path) -> None:
    from test_film import make

    film = make(tmp_path / "a.mp4").read_bytes()
    transport = make(tmp_path / "a.ts", ((48, 64),) * 12, codec="mpeg2video").read_bytes()
    with live([run], Limits(frames=5)) as running:
        known = running.events(running.job(film).json()["id"])[-1]
        assert known["state"] == "failed" and known["error"]["code"] == "too_large"
        # One that does not say how many it has is ended there.
        counted = running.events(running.job(transport).json()["id"])[-1]
        assert "5" in counted["error"]["message"] and counted["error"]["code"] in ("too_large", "unreadable")
        assert counted["frames"] <= 5
    with live([run], Limits(pixels=2000)) as running:
        wide = running.events(running.job(film).json()["id"])[-1]
        assert wide["state"] == "failed" and wide["error"]["code"] == "too_large"


def of_a_million_frames(path: Path, form: str) -> Path:
    """One frame, a million times; matroska does not say how many there are."""
    import av

    with av.open(str(path), "w", format=form) as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 16
        stream.gop_size, stream.pix_fmt = 1, "yuv420p"
        packets = [*stream.encode(av.VideoFrame(16, 16, "yuv420p")), *stream.encode(None)]
        content, base = bytes(packets[0]), packets[0].time_base
        for number in range(1_000_000):
            packet = av.Packet(content)
            packet.stream, packet.time_base, packet.pts, packet.dts = stream, base, number, number
            packet.is_keyframe = True
            container.mux(packet)
    return path


@pytest.mark.parametrize("form", ["mp4", "matroska", "mpegts"])
def test_a_film_of_a_million_frames_is_refused_and_not_looked_at_to_its_end(
    run: Path, tmp_path: Path, form: str
) -> None:
    film = of_a_million_frames(tmp_path / "film", form).read_bytes()
    with live([run], Limits(frames=50, body=len(film) + 10_000)) as running:
        last = running.events(running.job(film).json()["id"])[-1]
        assert last["frames"] <= 50 and last["state"] == "failed" and last["error"]["code"] == "too_large", last
        assert running.said(picture())


def test_a_film_can_be_stopped(run: Path, tmp_path: Path) -> None:
    from test_film import make

    film = make(tmp_path / "a.mp4", ((48, 64),) * 400).read_bytes()
    with live([run]) as running:
        first, second = (running.job(film).json()["id"] for _ in range(2))
        assert running.client.get(f"/v1/jobs/{second}").json()["state"] == "waiting"
        assert running.client.get(f"/v1/jobs/{second}/film").json()["error"]["code"] == "not_done"
        assert running.client.delete(f"/v1/jobs/{second}").status_code == 204
        assert running.client.delete(f"/v1/jobs/{first}").status_code == 204
        for _ in range(200):
            if not list(running.service.jobs._folder.iterdir()):
                break
            time.sleep(0.05)
        assert list(running.service.jobs._folder.iterdir()) == []
        last = running.events(running.job(film[:-10]).json()["id"])[-1]
        assert last["state"] in ("done", "failed")


def test_ending_finishes_what_was_begun_and_begins_nothing(run: Path, tmp_path: Path) -> None:
    from test_film import make

    film = make(tmp_path / "a.mp4", ((48, 64),) * 100).read_bytes()
    with live([run]) as running, ThreadPoolExecutor(8) as pool:
        id, other = (running.job(film).json()["id"] for _ in range(2))
        end = held(running)
        waiting = pool.submit(running.predict, picture())
        while running.service.runner.waiting == 0:
            time.sleep(0.02)
        running.server.handle_exit(15, None)
        time.sleep(0.3)
        assert running.client.get("/readyz").status_code == 503 and running.client.get("/healthz").status_code == 200
        assert code_of(running.predict(picture())) == (503, "ending")
        end.set()
        assert waiting.result().status_code == 200
        assert running.events(other)[-1]["state"] == "cancelled"
        assert running.events(id)[-1]["state"] == "done"
        assert running.client.get(f"/v1/jobs/{id}/lines").text.count("\n") == 100
        for _ in range(200):
            if running.server.should_exit:
                break
            time.sleep(0.05)
        assert running.server.should_exit
    assert not running.service.jobs._folder.exists() and running.service.decoders.processes == []


def test_a_model_is_replaced_without_a_request_being_dropped(tmp_path: Path) -> None:
    run = make_run(tmp_path / "digits", "digits", seed=1)
    content = picture()
    with live([run]) as running, ThreadPoolExecutor(4) as pool:
        before = running.said(content)
        make_run(run, "digits", seed=2)
        stop = threading.Event()

        def keep_asking() -> list[Any]:
            answers = []
            while not stop.is_set():
                answers.append(running.said(content))
            return answers

        asking = [pool.submit(keep_asking) for _ in range(3)]
        assert running.service.models.reload() == {}
        stop.set()
        answers = [answer for one in asking for answer in one.result()]
        after = running.said(content)
        expected = load(run)(content)
        assert after == json.loads(json.dumps(answer_of(expected, running.service.models["digits"], 5, 0.5)))
        assert before != after and all(answer in (before, after) for answer in answers)
        # What cannot be loaded stays as it was.
        (run / "model.safetensors").write_bytes(b"damaged")
        assert "damaged" in running.service.models.reload()["digits"]
        assert running.said(content) == after


def test_what_goes_wrong_inside_is_logged_and_not_told(
    run: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with live([run]) as running:

        def fail(*arguments: Any) -> None:
            raise RuntimeError("the secret of /etc/passwd")

        monkeypatch.setattr(running.service, "say", fail)
        answer = running.predict(picture())
        assert code_of(answer) == (500, "internal")
        assert "secret" not in answer.text and "RuntimeError" not in answer.text
        assert "the secret" in caplog.text and answer.headers["x-request-id"] in caplog.text


def test_logs_have_a_number_and_nothing_of_the_picture(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="saccade.web")
    with live([run]) as running:
        answer = running.client.post("/v1/predict?secret=1", files={"files": ("my-secret-name.png", picture())})
        running.client.get("/v1/jobs/secret-number")
    lines = [line for line in caplog.messages if answer.headers["x-request-id"] in line]
    assert len(lines) == 1 and "POST /v1/predict 200" in lines[0]
    assert "secret" not in caplog.text


def test_what_is_counted_can_be_read_by_prometheus(run: Path) -> None:
    with live([run]) as running:
        for _ in range(3):
            running.predict(picture(), picture())
        running.predict(b"x")
        running.client.get("/anything/at/all")
        families = {one.name: one for one in text_string_to_metric_families(running.client.get("/metrics").text)}
    counts = {
        (s.labels["path"], s.labels["status"]): s.value
        for s in families["saccade_requests"].samples
        if s.name.endswith("_total")
    }
    assert counts["/v1/predict", "200"] == 3 and counts["/v1/predict", "415"] == 1 and counts["other", "404"] == 1
    pictures = [s for s in families["saccade_pictures"].samples if s.name.endswith("_total")]
    assert [(s.labels["model"], s.value) for s in pictures] == [("digits", 6)]
    assert families["saccade_requests_under_way"].samples[0].value == 0
    assert {s.labels["state"] for s in families["saccade_films"].samples} == {
        "waiting", "running", "done", "failed", "cancelled",
    }  # fmt: skip
