"""The application: the API of `pictures.py` and `films.py`, its state, and the page."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from saccade import __version__
from saccade.web import answers
from saccade.web.examples import EXAMPLES, example, warm_up
from saccade.web.films import add_films
from saccade.web.guard import LOCAL, Guard
from saccade.web.keys import Keys
from saccade.web.metrics import Metrics
from saccade.web.pictures import add_pictures, add_why
from saccade.web.problems import Refusal
from saccade.web.service import Service

PAGE = Path(__file__).parent / "page"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def create_app(service: Service, keys: Keys | None = None, hosts: tuple[str, ...] | None = LOCAL) -> FastAPI:
    """The application of a service, which it closes when it ends.

    keys   who may ask; None for everybody
    hosts  the names under which the service may be called; None for all
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        ending = threading.Event()
        warming = threading.Thread(target=warm_up, args=(ending,), name="examples")
        warming.start()
        yield
        ending.set()
        await asyncio.to_thread(warming.join)
        await asyncio.to_thread(service.close)

    failures: dict[int | str, dict[str, Any]] = {
        status: {"model": answers.Failure} for status in (400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 503, 504)
    }
    app = FastAPI(
        title="saccade",
        version=__version__,
        description="What is on this picture or film, and why a model says so.",
        openapi_url="/v1/openapi.json",
        docs_url=None,  # its page would be loaded from elsewhere
        redoc_url=None,
        lifespan=lifespan,
        responses=failures,
    )
    metrics = Metrics(service)
    app.add_middleware(Guard, service=service, metrics=metrics, keys=keys, hosts=hosts)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    add_pictures(app, service, metrics)
    add_why(app, service)
    add_films(app, service)
    _add_state(app, service, metrics)
    _add_page(app)
    return app


def _add_state(app: FastAPI, service: Service, metrics: Metrics) -> None:
    @app.get("/healthz", tags=["state"])
    async def healthz() -> dict[str, str]:
        """Whether it lives."""
        return {"status": "alive"}

    @app.get("/readyz", tags=["state"])
    async def readyz() -> dict[str, str]:
        """Whether it takes requests."""
        if service.draining:
            raise Refusal(503, "ending", "the service is ending")
        return {"status": "ready"}

    @app.get("/metrics", tags=["state"])
    async def counted() -> Response:
        """What it counts, for Prometheus."""
        return Response(await asyncio.to_thread(metrics.text), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_page(app: FastAPI) -> None:
    files = {path.name: path.read_bytes() for path in PAGE.iterdir() if path.suffix in TYPES}

    @app.get("/", include_in_schema=False)
    @app.get("/page/{name}", include_in_schema=False)
    async def page(name: str = "index.html") -> Response:
        if name not in files:
            raise Refusal(404, "nothing_there", "there is nothing of that name")
        headers = {"Cache-Control": "no-cache"}
        return Response(files[name], media_type=TYPES[Path(name).suffix], headers=headers)

    @app.get("/v1/examples", tags=["examples"])
    async def examples() -> list[str]:
        """Pictures and a film for those who have none."""
        return list(EXAMPLES)

    @app.get("/v1/examples/{name}", tags=["examples"], response_class=Response)
    async def one(name: str) -> Response:
        """One of them."""
        if name not in EXAMPLES:
            raise Refusal(404, "nothing_there", f"the examples are {', '.join(EXAMPLES)}")
        return Response(await asyncio.to_thread(example, name), media_type=EXAMPLES[name])


async def _http(request: Request, error: Exception) -> Response:
    """Errors of the framework's in our words."""
    assert isinstance(error, HTTPException)
    codes = {404: "nothing_there", 405: "wrong_method", 413: "too_large"}
    words = {404: "there is nothing of that name", 405: "that is not done here"}
    refusal = Refusal(
        error.status_code,
        codes.get(error.status_code, "bad_request"),
        words.get(error.status_code) or str(error.detail),
    )
    response = refusal.response(request.state.request)
    response.headers.update(error.headers or {})
    return response


async def _invalid(request: Request, error: Exception) -> Response:
    """A field that is missing or wrong."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:]) or "the request"
    return Refusal(422, "no_meaning", f"{place}: {first['msg']}").response(request.state.request)
