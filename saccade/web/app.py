"""The API: from a request to the service behind it, and back."""

import asyncio
import io
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, File, Form, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from starlette.exceptions import HTTPException

from saccade import __version__
from saccade.recipes.explain import CHOSEN, OF_PAIRS
from saccade.recipes.explain_methods import METHODS
from saccade.recipes.explain_question import Asked
from saccade.report.page import Tile
from saccade.web import answers
from saccade.web.examples import EXAMPLES, example, warm_up
from saccade.web.guard import LOCAL, Guard
from saccade.web.jobs import Job
from saccade.web.keys import Keys
from saccade.web.metrics import Metrics
from saccade.web.models import Served
from saccade.web.problems import Refusal, refusal_of
from saccade.web.service import Service, check_methods

PAGE = Path(__file__).parent / "page"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
HEARTBEAT = 15.0  # seconds after which a stream of events says that it is still there
FILMS = (b"ftyp", b"\x1aE\xdf\xa3", b"AVI ", b"\x00\x00\x01\xba", b"OggS")  # how films begin, within twelve bytes

Name = Annotated[str | None, Form(description="Which model; the first unless said.")]
Top = Annotated[int, Form(ge=1, le=1000, description="How many classes to name.")]
Score = Annotated[float, Form(ge=0, le=1, description="Detectors: leave out what is less sure than this.")]
Link = Annotated[str | None, Form(description="A link to it, where the service follows links.")]


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
    _add_models(app, service, metrics)
    _add_films(app, service)
    _add_state(app, service, metrics)
    _add_page(app)
    return app


def _add_models(app: FastAPI, service: Service, metrics: Metrics) -> None:
    @app.get("/v1/models", tags=["models"])
    async def models() -> answers.Models:
        """What is served, and how it may be asked."""
        methods = {name: METHODS[name].trust for name in METHODS if METHODS[name].asks}
        return answers.Models(
            models=[answers.Model(**answers.model_of(served)) for served in service.models],
            methods=methods,
            links=service.links,
            films=True,
            limits={name: float(value) for name, value in vars(service.limits).items()},
        )

    @app.post("/v1/predict", tags=["models"], response_model=answers.Predictions, response_model_exclude_none=True)
    async def predict(
        request: Request,
        files: Annotated[list[UploadFile] | None, File(description="Pictures.")] = None,
        links: Annotated[list[str] | None, Form(description="Links to pictures.")] = None,
        model: Name = None,
        top: Top = 5,
        score: Score = 0.5,
    ) -> Any:
        """What is on these pictures. Of one that cannot be answered that is said in its place, and the others are
        answered; where there is only one, its error is the answer."""
        served, files, links = _served(service, model), files or [], links or []
        count = len(files) + len(links)
        if not 1 <= count <= service.limits.files:
            raise Refusal(
                422,
                "no_meaning",
                f"1 to {service.limits.files} pictures are looked at, in fields called files or links, and got {count}",
            )
        room = asyncio.Semaphore(2 * service.decoders.count)

        async def one(file: UploadFile | str) -> dict[str, Any]:
            name = file if isinstance(file, str) else (file.filename or "")
            async with room:
                try:
                    sample = await service.decode(await _content(service, file), served)
                    said = await service.say(served, sample)
                except Exception as error:
                    refusal = refusal_of(error)
                    if refusal is None or count == 1:
                        raise
                    return {"name": name, "error": refusal.problem(request.state.request)}
            metrics.pictures.labels(served.name).inc()
            return {"name": name, "prediction": await asyncio.to_thread(answers.answer_of, said, served, top, score)}

        results = await asyncio.gather(*(one(file) for file in [*files, *links]))
        return JSONResponse({"model": served.name, "task": served.predictor.card.task, "results": list(results)})

    @app.post("/v1/fetch", tags=["models"], response_class=Response)
    async def fetch(link: Annotated[str, Form(description="A link to a picture.")]) -> Response:
        """The picture that a link points to, for the page to draw on."""
        content = await _content(service, link)
        await service.check(content)
        return Response(content, media_type="application/octet-stream")

    @app.post("/v1/explain", tags=["models"], response_model=answers.Explanations, response_model_exclude_none=True)
    async def explain(
        file: Annotated[UploadFile | None, File(description="A picture.")] = None,
        link: Link = None,
        model: Name = None,
        methods: Annotated[list[str] | None, Form(description="Names of methods; the usual ones unless said.")] = None,
        target: Annotated[str | None, Form(description="A class, by name or number; what the model says itself unless "
                                                       "said.")] = None,
        thing: Annotated[int, Form(ge=1, description="Detectors: the so-maniest thing, from 1, of the target.")] = 1,
        keypoint: Annotated[str | None, Form(description="Detectors: one of its keypoints, by name or number.")] = None,
        pixel: Annotated[str | None, Form(description="Segmenters: ROW,COLUMN of the picture.")] = None,
    ) -> Any:  # fmt: skip
        """Why a model says so: several methods about one class, box or pixel, and how far each can be trusted."""
        served = _served(service, model)
        check_methods(chosen := list(dict.fromkeys(methods or CHOSEN)))
        asked = Asked(target or None, thing=thing, keypoint=keypoint or None, pixel=_pixel(pixel))
        sample = await service.decode(await _content(service, _only(file, link)), served)
        question = await service.ask(served, sample, asked)
        shown, refused = await service.explain(question, chosen)
        near = await service.neighbours(served, sample)
        seen = Tile(question.marked(question.image), "")
        return await asyncio.to_thread(
            lambda: JSONResponse({
                "model": served.name,
                "words": question.words,
                "seen": answers.png(seen.image),
                "methods": [answers.explanation_of(one) for one in shown],
                "refused": refused,
                "neighbours": [
                    {"name": name, "label": label, "cosine": cosine, "image": answers.png(pixels)}
                    for name, label, cosine, pixels in near
                ],
                "neighbours_trust": OF_PAIRS["neighbours"] if near else "",
            })
        )  # fmt: skip


def _add_films(app: FastAPI, service: Service) -> None:
    def found(request: Request, id: str) -> Job:
        job = service.jobs.get(id, request.state.client)
        if job is None:
            raise Refusal(404, "no_such_job", "there is no such film here; perhaps it was kept for long enough")
        return job

    def done(job: Job) -> Job:
        if job.state != "done":
            raise Refusal(409, "not_done", f"the film is {job.state}; there is no result of it")
        job.fetched = True
        return job

    @app.post("/v1/jobs", tags=["films"], status_code=202)
    async def begin(
        request: Request,
        file: Annotated[UploadFile | None, File(description="A film.")] = None,
        link: Link = None,
        model: Name = None,
        top: Top = 5,
        score: Score = 0.5,
    ) -> answers.Job:
        """Look at a film, frame by frame, after those that came before."""
        served, given = _served(service, model), _only(file, link)
        client: str = request.state.client
        if service.draining:
            raise Refusal(503, "ending", "the service is ending; ask another, or come again")
        if isinstance(given, str):
            film, name = io.BytesIO(await _followed(service, given)), given
        else:
            film, name = given.file, given.filename or ""
        job = await asyncio.to_thread(service.jobs.add, client, served, name, film, top, score)
        return _told(job, request)

    @app.get("/v1/jobs/{id}", tags=["films"])
    async def state(request: Request, id: str) -> answers.Job:
        """How far it is."""
        return _told(found(request, id), request)

    @app.get("/v1/jobs/{id}/events", tags=["films"], response_class=StreamingResponse)
    async def events(request: Request, id: str) -> StreamingResponse:
        """How far it is, whenever that changes, as server-sent events of type `progress`; after the last one the
        stream ends."""
        return StreamingResponse(_events(found(request, id), request), media_type="text/event-stream")

    @app.get("/v1/jobs/{id}/lines", tags=["films"], response_class=FileResponse)
    async def lines(request: Request, id: str) -> FileResponse:
        """What was said of each frame: a line of JSON each."""
        return FileResponse(done(found(request, id)).lines, media_type="application/jsonl")

    @app.get("/v1/jobs/{id}/film", tags=["films"], response_class=FileResponse)
    async def film(request: Request, id: str) -> FileResponse:
        """The film with what was said drawn on it, as MP4."""
        return FileResponse(done(found(request, id)).film, media_type="video/mp4")

    @app.delete("/v1/jobs/{id}", tags=["films"], status_code=204)
    async def forget(request: Request, id: str) -> None:
        """Stop it, if it is under way, and delete all that came of it."""
        await asyncio.to_thread(service.jobs.delete, found(request, id))


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


def _served(service: Service, name: str | None) -> Served:
    return service.models[name or None]


def _only(file: UploadFile | None, link: str | None) -> UploadFile | str:
    given = [one for one in (file, link) if one]
    if len(given) != 1:
        raise Refusal(422, "no_meaning", f"a file or a link is looked at, and got {len(given)} of them")
    return given[0]


async def _followed(service: Service, link: str) -> bytes:
    """What a link points to, where links are followed."""
    if not service.links:
        raise Refusal(403, "links_off", "this service follows no links; send the file itself")
    return await service.fetch(link)


async def _content(service: Service, given: UploadFile | str) -> bytes:
    """The bytes of an upload, or of what a link points to."""
    content = await _followed(service, given) if isinstance(given, str) else await given.read()
    if any(mark in content[:12] for mark in FILMS):
        raise Refusal(415, "unsupported", "the file is a film, and a picture was expected; films go to /v1/jobs")
    return content


def _pixel(text: str | None) -> tuple[int, int] | None:
    if not text:
        return None
    try:
        row, column = (int(part) for part in text.split(","))
    except ValueError:
        raise Refusal(422, "no_meaning", f"a pixel is ROW,COLUMN, such as 40,32; got {text[:40]!r}") from None
    return row, column


def _told(job: Job, request: Request) -> answers.Job:
    error = None
    if job.error is not None:
        error = answers.Problem(code=job.error[0], message=job.error[1], request=request.state.request)
    told = {name: getattr(job, name) for name in ("id", "state", "name", "frames", "count")}
    return answers.Job(**told, model=job.served.name, error=error)


async def _events(job: Job, request: Request) -> AsyncIterator[str]:
    """An event now, and one whenever something changed; at most some ten a second."""
    last, quiet = "", 0.0
    while True:
        ended = job.ended is not None
        told = _told(job, request).model_dump()
        if (text := json.dumps(told)) != last:
            last, quiet = text, 0.0
            yield f"event: progress\ndata: {text}\n\n"
        elif quiet > HEARTBEAT:
            quiet = 0.0
            yield ": still here\n\n"
        if ended:
            return
        await asyncio.sleep(0.1)
        quiet += 0.1


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
