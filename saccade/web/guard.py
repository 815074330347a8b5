"""What stands before every request: who asks, from where, how much, and for how long; and what every answer says."""

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from saccade.web.keys import Keys
from saccade.web.metrics import Metrics
from saccade.web.problems import Refusal, refusal_of
from saccade.web.service import Service

log = logging.getLogger("saccade.web")

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
LOCAL = ("127.0.0.1", "localhost", "::1")
# All else is work: only so much at a time, and none when the service is ending. By method, not by path: what a path
# means is for the application to say, which takes some that look otherwise.
WITHOUT_BODY = ("GET", "HEAD", "OPTIONS", "DELETE")
METHODS = ("POST", "PUT", "PATCH", *WITHOUT_BODY)
LOCKED = ("/v1/", "/metrics")  # these take a key, where there are keys


class Guard:
    """Wraps the application.

    hosts  the names under which the service may be called, so that no other site can pass itself off as this one by a
           name that leads here; None for all
    """

    def __init__(
        self, app: ASGIApp, service: Service, metrics: Metrics, keys: Keys | None, hosts: Collection[str] | None
    ) -> None:
        self.app, self.service, self.metrics, self.keys, self.hosts = app, service, metrics, keys, hosts
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        answer = _Answer(send, secrets.token_hex(8))
        scope.setdefault("state", {})["request"] = answer.request
        begun, client = time.perf_counter(), "-"
        try:
            client = self._let_in(scope)
            scope["state"]["client"] = client
            await self._pass(scope, receive, answer)
        except Exception as error:
            refusal = refusal_of(error)
            if refusal is None:
                log.exception("request %s", answer.request)
                words = f"something went wrong in here; the log has it under {answer.request}"
                refusal = Refusal(500, "internal", words)
            await answer.refuse(refusal, scope, receive)
        finally:
            seconds = time.perf_counter() - begun
            path, method = _template(scope), scope["method"] if scope["method"] in METHODS else "OTHER"
            self.metrics.requests.labels(method, path, str(answer.status)).inc()
            self.metrics.seconds.labels(path).observe(seconds)
            log.info("%s %s %s %s %d %.0f ms", answer.request, client, method, path, answer.status, 1000 * seconds)

    def _let_in(self, scope: Scope) -> str:
        """Who asks: the name of the key, else the address. Raises Refusal."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        host = _host(headers.get("host", ""))
        if self.hosts is not None and host not in self.hosts:
            raise Refusal(403, "wrong_host", "the service is not called by that name; --host names others")
        if scope["method"] not in ("GET", "HEAD", "OPTIONS") and _is_foreign(headers):
            raise Refusal(403, "wrong_origin", "another site's page may not ask this service")
        kind, _, parameters = headers.get("content-type", "").lower().partition(";")
        if "charset" in parameters and not re.search(r"charset\s*=\s*\"?utf-?8\"?\s*(;|$)", parameters):
            # Some decoders of text take time that grows with its square.
            raise Refusal(415, "unsupported", f"{kind.strip()[:80]} is taken in UTF-8 only")
        client = scope["client"][0] if scope.get("client") else "-"
        if self.keys is None or not scope["path"].startswith(LOCKED):
            return client
        given = headers.get("authorization", "").removeprefix("Bearer ") or headers.get("x-api-key", "")
        name = self.keys.name_of(given)
        if name is None:
            words = "a key is needed: Authorization: Bearer KEY" if not given else "nobody has that key"
            raise Refusal(401, "wrong_key", words)
        return name

    async def _pass(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        """On to the application; what is work only where there is room, and for so long."""
        if scope["method"] in WITHOUT_BODY:
            await self.app(scope, receive, answer.send)
            return
        limits = self.service.limits
        if self.service.draining:
            raise Refusal(503, "ending", "the service is ending; ask another, or come again")
        if self._under_way >= limits.queue:
            raise Refusal(429, "too_many", f"{limits.queue} requests are under way already; come again")
        seconds = limits.explain_seconds if scope["path"].startswith("/v1/explain") else limits.seconds
        body = _Body(scope, receive, limits.body)
        self._under_way += 1
        self.metrics.under_way.inc()
        answer.ended = self._end_one
        work = asyncio.ensure_future(self.app(scope, body.receive, answer.send))
        gone = asyncio.ensure_future(body.client_is_gone())
        try:
            async with asyncio.timeout(seconds):
                await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
                if answer.whole:
                    # The server says "gone" of a client that has all it waited for; what was uploaded is still to be
                    # closed.
                    await asyncio.wait((work,))
            if work.done():
                work.result()
        except TimeoutError:
            if not body.whole:
                raise Refusal(408, "slow_upload", f"the request did not arrive within {seconds:g} seconds") from None
            raise Refusal(504, "late", f"there was no answer within {seconds:g} seconds; send less at a time") from None
        finally:
            # What nobody waits for any more is not gone on with.
            for task in (work, gone):
                task.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)
            answer.end()

    def _end_one(self) -> None:
        self._under_way -= 1
        self.metrics.under_way.dec()


class _Body:
    """What comes in, counted."""

    def __init__(self, scope: Scope, receive: Receive, most: int) -> None:
        self._receive, self.most, self.count = receive, most, 0
        self._whole = asyncio.Event()
        announced = dict(scope["headers"]).get(b"content-length", b"")
        if announced.isdigit() and int(announced) > most:
            raise self._too_large()

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self.count += len(message.get("body", b""))
            if not message.get("more_body", False):
                self._whole.set()
            if self.count > self.most:
                refusal = self._too_large()
                # Of Starlette's kind, which reading a form lets through.
                raise HTTPException(refusal.status, refusal.message)
        return message

    @property
    def whole(self) -> bool:
        """Whether all of it came."""
        return self._whole.is_set()

    async def client_is_gone(self) -> None:
        """Return when the client does not wait for the answer any more."""
        await self._whole.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def _too_large(self) -> Refusal:
        return Refusal(413, "too_large", f"the request has more than {self.most:,} bytes; send less at a time")


class _Answer:
    """What goes out, with the headers that everything has.

    request  its number
    ended    is called once, before the last of it goes out: who has it may ask again at once
    status   of HTTP; 499 where the client went away before there was one
    whole    whether all of it went out
    """

    def __init__(self, send: Send, request: str) -> None:
        self._send, self.request, self.status = send, request, 499
        self.begun = self.whole = False
        self.ended: Callable[[], None] | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun, self.status = True, message["status"]
            own = {name.lower() for name, _ in message["headers"]}
            extra: Mapping[str, str] = {**HEADERS, "Cache-Control": "no-store", "X-Request-ID": self.request}
            message["headers"] = [
                *message["headers"],
                *((k.lower().encode(), v.encode()) for k, v in extra.items() if k.lower().encode() not in own),
            ]
        elif not message.get("more_body", False):
            self.whole = True
            self.end()
        await self._send(message)

    def end(self) -> None:
        """There is nothing more to wait for."""
        ended, self.ended = self.ended, None
        if ended is not None:
            ended()

    async def refuse(self, refusal: Refusal, scope: Scope, receive: Receive) -> None:
        """Say why there is no answer, unless one has begun: then it breaks off, and that is seen."""
        if self.begun:
            return
        await refusal.response(self.request)(scope, receive, self.send)


def _host(text: str) -> str:
    """The name in a Host header, without its port."""
    try:
        return urlsplit(f"//{text}").hostname or ""
    except ValueError:
        return ""


def _is_foreign(headers: Mapping[str, str]) -> bool:
    """Whether a browser says that another site's page asks."""
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return True
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != headers.get("host")


def _template(scope: Scope) -> str:
    """The path without what is one client's own: a job's number names nobody in a log."""
    route: Any = scope.get("route")
    return getattr(route, "path", None) or "other"
