"""The API's part for films: a job each, with its progress, its result, and an end."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import FastAPI, File, Request, UploadFile
from fastapi.responses import FileResponse, StreamingResponse

from saccade.web import answers
from saccade.web.jobs import Job
from saccade.web.pictures import Link, Name, Score, Top, followed, only_one, served_by
from saccade.web.problems import Refusal
from saccade.web.service import Service

HEARTBEAT = 15.0  # seconds after which a stream of events says that it is still there


def add_films(app: FastAPI, service: Service) -> None:
    """Films, each a job."""

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
        served, given = served_by(service, model), only_one(file, link)
        client: str = request.state.client
        if service.draining:
            raise Refusal(503, "ending", "the service is ending; ask another, or come again")
        if isinstance(given, str):
            film, name = io.BytesIO(await followed(service, given)), given
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
