"""Links: where they may lead, and every way to lead them elsewhere; no test goes to the internet."""

import http.server
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from service import live, make_run, picture

from saccade.web import links
from saccade.web.limits import Limits
from saccade.web.links import LinkError, fetch, is_public, resolve

LIMITS = Limits(link_body=100_000, link_seconds=1)
HERE = ("127.0.0.1",)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True), ("8.8.8.8", True), ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("::ffff:8.8.8.8", True), ("64:ff9b::808:808", True),
        ("127.0.0.1", False), ("127.255.255.254", False), ("0.0.0.0", False), ("10.1.2.3", False),
        ("172.16.0.1", False), ("192.168.1.1", False), ("169.254.169.254", False), ("100.64.0.1", False),
        ("192.0.2.1", False), ("198.18.0.1", False), ("224.0.0.1", False), ("240.0.0.1", False),
        ("255.255.255.255", False), ("::", False), ("::1", False), ("fe80::1", False), ("fe80::1%eth0", False),
        ("fc00::1", False), ("fd00:ec2::254", False), ("ff02::1", False), ("::ffff:127.0.0.1", False),
        ("::ffff:10.0.0.1", False), ("64:ff9b::7f00:1", False), ("2002:7f00:1::", False), ("2001:0:1::", False),
        ("::127.0.0.1", False), ("fec0::1", False), ("3fff::1", False), ("192.88.99.1", False),
        ("168.63.129.16", False), ("64:ff9b:1::7f00:1", False), ("nonsense", False),
    ],
)  # fmt: skip
def test_which_addresses_are_public(address: str, public: bool) -> None:
    """By hand, from the registries of special addresses (RFC 6890 and its successors)."""
    assert is_public(address) is public


# Every spelling that resolvers take for this machine or for the clouds' metadata.
TRICKS = [
    "http://127.0.0.1/", "http://127.1/", "http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/",
    "http://0x7f.1/", "http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://[0:0:0:0:0:ffff:7f00:1]/",
    "http://localhost/", "http://LOCALHOST/", "http://169.254.169.254/latest/meta-data/", "http://2852039166/",
    "http://0xa9fea9fe/", "http://0/", "http://0.0.0.0/", "http://[::]/", "http://[fe80::1]/", "http://192.168.0.1/",
    "http://127.0.0.1:443/", "https://127.0.0.1/", "http://[fd00:ec2::254]/",
]  # fmt: skip


@pytest.mark.parametrize("link", TRICKS)
def test_no_spelling_of_this_machine_is_gone_to(link: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*arguments: Any, **options: Any) -> Any:
        raise AssertionError(f"connected to {arguments[0]}")

    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(LinkError, match=r"not on the public internet|there is no"):
        fetch(link, LIMITS)


@pytest.mark.parametrize(
    "link",
    [
        "", "a.png", "file:///etc/passwd", "ftp://example.com/a", "gopher://example.com/", "javascript:alert(1)",
        "data:image/png;base64,AAAA", "http://", "http:///a", "http://user@example.com/", "http://a:b@example.com/",
        "http://example.com:22/", "http://example.com:8080/", "http://example.com:99999/", "http://[::1/",
        "http://exa mple.com/", "http://example.com/\r\nHost: x", "http://example.com/\u00e9", "http://" + "a" * 3000,
    ],
)  # fmt: skip
def test_what_is_no_link_to_the_web_is_refused_before_anything_is_looked_up(link: str) -> None:
    def look_up(host: str, port: int) -> list[str]:
        raise AssertionError(f"looked up {host}")

    with pytest.raises(LinkError):
        fetch(link, LIMITS, look_up)


def test_a_name_with_one_private_address_among_public_ones_is_a_trick() -> None:
    with pytest.raises(LinkError, match="not on the public internet"):
        fetch("http://example.com/", LIMITS, lambda host, port: ["8.8.8.8", "10.0.0.1"])


class Site(http.server.BaseHTTPRequestHandler):
    """A small site; what it was asked for is kept."""

    asked: ClassVar[list[tuple[str, str]]] = []
    content = picture()

    def do_GET(self) -> None:
        self.asked.append((self.headers["Host"], self.path))
        getattr(self, f"at_{self.path.strip('/').split('?')[0].replace('-', '_')}")()

    def answer(self, content: bytes, length: int | None = None, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        self.wfile.write(content)

    def at_picture(self) -> None:
        self.answer(self.content)

    def at_chunked(self) -> None:
        self.protocol_version = "HTTP/1.1"
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for start in range(0, len(self.content), 100):
            part = self.content[start : start + 100]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True

    def at_missing(self) -> None:
        self.answer(b"", status=404)

    def at_announced(self) -> None:
        self.answer(b"", length=10**9)

    def at_endless(self) -> None:
        self.send_response(200)
        self.end_headers()
        with_part = bytes(10_000)
        try:
            for _ in range(100):
                self.wfile.write(with_part)
        except OSError:
            pass

    def at_short(self) -> None:
        self.answer(self.content[:50], length=len(self.content))

    def at_dripping(self) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            for _ in range(100):
                self.wfile.write(b"x")
                time.sleep(0.1)
        except OSError:
            pass

    def at_silent(self) -> None:
        time.sleep(2)

    def at_dripping_head(self) -> None:
        try:
            for _ in range(40):
                self.wfile.write(b"H")
                time.sleep(0.1)
        except OSError:
            pass

    def redirect(self, where: str) -> None:
        self.send_response(302)
        self.send_header("Location", where)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def at_once(self) -> None:
        self.redirect("/picture")

    def at_round(self) -> None:
        self.redirect("/round")

    def at_inside(self) -> None:
        self.redirect("http://inside.example/secret")

    def at_to_file(self) -> None:
        self.redirect("file:///etc/passwd")

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Its address as a link; its port may be gone to."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    server.daemon_threads = True
    port = server.server_address[1]
    monkeypatch.setattr(links, "ALLOWED", (80, 443, port))
    Site.asked = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://public.example:{port}"
    server.shutdown()
    server.server_close()
    thread.join()


def public(host: str, port: int) -> list[str]:
    """A resolver by which one name is this machine and public, and another private."""
    return {"public.example": ["127.0.0.1"], "inside.example": ["10.0.0.1"]}[host]


def get(link: str, limits: Limits = LIMITS, resolve: Callable[[str, int], list[str]] = public) -> bytes:
    return fetch(link, limits, resolve, lambda address: address in HERE)


def test_what_a_link_points_to_is_fetched(site: str) -> None:
    assert get(f"{site}/picture?size=1#there") == Site.content
    assert Site.asked == [(site.removeprefix("http://"), "/picture?size=1")]
    assert get(f"{site}/once") == Site.content
    assert get(f"{site}/chunked") == Site.content


@pytest.mark.parametrize(
    ("path", "words", "late", "large"),
    [
        ("missing", "answers 404", False, False),
        ("announced", "more than 100,000 bytes", False, True),
        ("endless", "more than 100,000 bytes", False, True),
        ("short", "could not be fetched|sent 50 of", False, False),
        ("dripping", "longer than 1 seconds", True, False),
        ("silent", "longer than 1 seconds", True, False),
        ("dripping-head", "longer than 1 seconds", True, False),
        ("round", "more than 5 times", False, False),
        ("inside", "inside.example is not on the public internet", False, False),
        ("to-file", "begins with http", False, False),
    ],
)
def test_what_goes_wrong_on_the_way_is_said(site: str, path: str, words: str, late: bool, large: bool) -> None:
    begun = time.monotonic()
    with pytest.raises(LinkError, match=words) as caught:
        get(f"{site}/{path}")
    assert (caught.value.late, caught.value.large) == (late, large)
    assert time.monotonic() - begun < 10


def test_a_name_that_changes_its_meaning_gains_nothing(site: str) -> None:
    """Each step looks a name up once, and goes to what it looked at: rebinding finds no second look."""
    looks: list[str] = []

    def changing(host: str, port: int) -> list[str]:
        looks.append(host)
        return ["127.0.0.1"] if len(looks) == 1 else ["10.0.0.1"]

    assert get(f"{site}/picture", resolve=changing) == Site.content
    assert looks == ["public.example"]
    looks.clear()
    with pytest.raises(LinkError, match="not on the public internet"):
        get(f"{site}/once", resolve=changing)


def test_nobody_there_and_no_such_name(site: str) -> None:
    with pytest.raises(LinkError, match=r"there is no name\.invalid"):
        fetch("http://name.invalid/", LIMITS)
    with pytest.raises(LinkError, match="could not be fetched"):
        get(site.replace("http:", "https:") + "/picture")  # it does not speak TLS
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        links.ALLOWED = (taken.getsockname()[1],)
        with pytest.raises(LinkError, match="could not be fetched"):
            get(f"http://public.example:{taken.getsockname()[1]}/")


def test_the_environments_proxies_are_not_used(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert get(f"{site}/picture") == Site.content


def test_resolving_gives_every_address_once() -> None:
    assert resolve("127.0.0.1", 80) == ["127.0.0.1"] and resolve("2130706433", 80) == ["127.0.0.1"]


def test_the_service_follows_links_where_it_is_allowed_to(
    site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "digits", "digits")
    with live([tmp_path / "digits"], LIMITS, links=True) as running:
        refused = running.client.post("/v1/predict", data={"links": TRICKS[0]})
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "link_refused")
        monkeypatch.setattr(links, "resolve", public)
        monkeypatch.setattr(links.fetch, "__defaults__", (public, lambda address: address in HERE))
        link = f"{site}/picture"
        told = running.client.post("/v1/predict", data={"links": link}).json()["results"][0]
        assert told["name"] == link and told["prediction"] == running.said(Site.content)
        fetched = running.client.post("/v1/fetch", data={"link": link})
        assert fetched.content == Site.content and fetched.headers["content-type"] == "application/octet-stream"
        assert running.client.post("/v1/explain", data={"link": link, "methods": "saliency"}).status_code == 200
        for path, status, code in [
            ("silent", 504, "link_late"),
            ("announced", 413, "too_large"),
            ("inside", 422, "link_refused"),
            ("dripping", 504, "link_late"),
        ]:
            answered = running.client.post("/v1/predict", data={"links": f"{site}/{path}"})
            assert (answered.status_code, answered.json()["error"]["code"]) == (status, code)
        assert running.client.post("/v1/fetch", data={"link": f"{site}/endless"}).status_code == 413
        both = {"links": link}
        two = running.client.post("/v1/predict", data=both, files={"files": ("a.png", Site.content)})
        assert [one["prediction"] for one in two.json()["results"]] == [told["prediction"]] * 2
    with live([tmp_path / "digits"]) as running:
        for path, fields in (("predict", "links"), ("explain", "link"), ("jobs", "link"), ("fetch", "link")):
            answered = running.client.post(f"/v1/{path}", data={fields: f"{site}/picture"})
            assert (answered.status_code, answered.json()["error"]["code"]) == (403, "links_off")
