"""The API's part for pictures: what is on them, and why a model says so."""

import asyncio
from typing import Annotated, Any

from fastapi import FastAPI, File, Form, Request, Response, UploadFile
from fastapi.responses import JSONResponse

from saccade.recipes.explain import CHOSEN, OF_PAIRS
from saccade.recipes.explain_methods import METHODS
from saccade.recipes.explain_question import Asked
from saccade.report.page import Tile
from saccade.web import answers
from saccade.web.metrics import Metrics
from saccade.web.models import Served
from saccade.web.problems import Refusal, refusal_of
from saccade.web.service import SHOWN, Service, check_methods

FILMS = (b"ftyp", b"\x1aE\xdf\xa3", b"AVI ", b"\x00\x00\x01\xba", b"OggS")  # how films begin, within twelve bytes

Name = Annotated[str | None, Form(description="Which model; the first unless said.")]
Top = Annotated[int, Form(ge=1, le=1000, description="How many classes to name.")]
Score = Annotated[float, Form(ge=0, le=1, description="Detectors: leave out what is less sure than this.")]
Link = Annotated[str | None, Form(description="A link to it, where the service follows links.")]


def add_pictures(app: FastAPI, service: Service, metrics: Metrics) -> None:
    """What is served; what is on pictures."""

    @app.get("/v1/models", tags=["models"])
    async def models() -> answers.Models:
        """What is served, and how it may be asked."""
        methods = {name: METHODS[name].trust for name in SHOWN}
        return answers.Models(
            models=[answers.Model(**answers.model_of(served)) for served in service.models],
            methods=methods,
            links=service.links,
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
        served, files, links = served_by(service, model), files or [], links or []
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
                    sample = await service.decode(await content_of(service, file), served)
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
        content = await content_of(service, link)
        await service.check(content)
        return Response(content, media_type="application/octet-stream")


def add_why(app: FastAPI, service: Service) -> None:
    """Why a model says so."""

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
        served = served_by(service, model)
        check_methods(chosen := list(dict.fromkeys(methods or CHOSEN)))
        asked = Asked(target or None, thing=thing, keypoint=keypoint or None, pixel=_pixel(pixel))
        sample = await service.decode(await content_of(service, only_one(file, link)), served)
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


def served_by(service: Service, name: str | None) -> Served:
    """A model by its name; the first where none is said."""
    return service.models[name or None]


def only_one(file: UploadFile | None, link: str | None) -> UploadFile | str:
    """The file or the link, of which there must be one."""
    given = [one for one in (file, link) if one]
    if len(given) != 1:
        raise Refusal(422, "no_meaning", f"a file or a link is looked at, and got {len(given)} of them")
    return given[0]


async def followed(service: Service, link: str) -> bytes:
    """What a link points to, where links are followed."""
    if not service.links:
        raise Refusal(403, "links_off", "this service follows no links; send the file itself")
    return await service.fetch(link)


async def content_of(service: Service, given: UploadFile | str) -> bytes:
    """The bytes of an upload, or of what a link points to."""
    content = await followed(service, given) if isinstance(given, str) else await given.read()
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
