"""What the API says, as programs read it: the schemas, and how predictions and explanations become them."""

import base64
import io
from typing import Any, Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, Field

from saccade.recipes.explain_pictures import Explained
from saccade.recipes.predict import as_dict
from saccade.report.palette import colour
from saccade.structures import ColourMap, LabelMap, Prediction
from saccade.web.models import Served


class Problem(BaseModel):
    """Why there is no answer."""

    code: str = Field(description="One word for programs, such as too_large.", examples=["too_large"])
    message: str = Field(description="What came, what was expected and what to do.")
    request: str = Field(description="The request's number, as the log has it.")


class Failure(BaseModel):
    """The body of every answer that is none."""

    error: Problem


class Skeleton(BaseModel):
    names: list[str]
    edges: list[tuple[int, int]] = Field(description="Pairs of keypoints, from 0, that are drawn joined.")


class Model(BaseModel):
    """What a model is and what can be asked of it."""

    name: str
    network: str
    task: Literal["classify", "detect", "segment", "image_to_image"]
    classes: list[str]
    colours: list[tuple[int, int, int]] = Field(description="Red, green and blue, one a class.")
    skeleton: Skeleton | None = None
    input: str = Field(description="What it looks at of a picture.")
    batch: int = Field(description="Pictures that are looked at together; 1 where more would be no faster here.")
    neighbours: int | None = Field(None, description="How many training pictures can be searched.")


class Models(BaseModel):
    models: list[Model]
    methods: dict[str, str] = Field(description="Explanations, with how far each can be trusted.")
    links: bool = Field(description="Whether links are fetched.")
    limits: dict[str, float]


class Guess(BaseModel):
    name: str = Field(alias="class")
    score: float


class Tags(BaseModel):
    """A classifier's answer: the most probable class, and the best few."""

    name: str = Field(alias="class")
    score: float
    top: list[Guess]


class Thing(BaseModel):
    """One thing that was found, in pixels of the picture, as COCO writes it."""

    name: str = Field(alias="class")
    bbox: list[float] = Field(description="x, y, width, height")
    area: float
    iscrowd: int
    score: float | None = None
    segmentation: Any = Field(None, description="Its mask: COCO's compressed run lengths.")
    keypoints: list[float] | None = Field(None, description="x, y and 2, for each keypoint")
    num_keypoints: int | None = None
    keypoint_scores: list[float] | None = None


class Things(BaseModel):
    """A detector's answer, best first."""

    height: int
    width: int
    things: list[Thing]


class Pixels(BaseModel):
    """A segmenter's answer."""

    height: int
    width: int
    pixels: dict[str, int] = Field(description="How many pixels each class has.")
    labels: str = Field(description="A grey PNG, base64: the value of a pixel is its class, from 0; 255 is none.")


class Picture(BaseModel):
    """An answer that is a picture."""

    height: int
    width: int
    image: str = Field(description="A PNG, base64.")


Answer = Tags | Things | Pixels | Picture


class Result(BaseModel):
    """The answer to one picture, or why there is none."""

    name: str = Field(description="What the picture was called.")
    prediction: Answer | None = None
    error: Problem | None = None


class Predictions(BaseModel):
    model: str
    task: str
    results: list[Result] = Field(description="In the order of the pictures, those from links last.")


class Shown(BaseModel):
    """One picture of an explanation."""

    title: str
    detail: str
    image: str = Field(description="A PNG, base64.")


class Explanation(BaseModel):
    method: str
    words: str = Field(description="What was explained.")
    trust: str = Field(description="How far it can be trusted.")
    pictures: list[Shown]


class Neighbour(BaseModel):
    name: str
    label: str = Field(description="Its class, where every picture has one.")
    cosine: float
    image: str = Field(description="A PNG, base64.")


class Explanations(BaseModel):
    model: str
    words: str = Field(description="What is explained.")
    seen: str = Field(description="What the network sees, what is asked about framed: a PNG, base64.")
    methods: list[Explanation]
    refused: dict[str, str] = Field(description="Methods that this network does not allow, with the reason.")
    neighbours: list[Neighbour] | None = Field(None, description="The most alike of what it was trained on.")
    neighbours_trust: str = ""


class Job(BaseModel):
    """A film that is looked at."""

    id: str
    state: Literal["waiting", "running", "done", "failed", "cancelled"]
    name: str
    model: str
    frames: int = Field(description="Looked at so far.")
    count: int | None = Field(None, description="Of its frames, where that is known.")
    error: Problem | None = Field(None, description="Why it failed, or why it is not whole.")


def answer_of(prediction: Prediction, served: Served, top: int, sure: float) -> dict[str, Any]:
    """A prediction as `saccade predict --json` has it; maps of labels and of colours with their pixels."""
    told = as_dict(prediction, served.predictor.card.classes, top, sure)
    if isinstance(prediction, LabelMap):
        told["labels"] = png(prediction.labels)
    if isinstance(prediction, ColourMap):
        told["image"] = png(prediction.pixels)
    return told


def explanation_of(shown: Explained) -> dict[str, Any]:
    """What a method shows."""
    pictures = [{"title": tile.title, "detail": tile.detail, "image": png(tile.image)} for tile in shown.tiles]
    return {"method": shown.method, "words": shown.words, "trust": shown.trust, "pictures": pictures}


def model_of(served: Served) -> dict[str, Any]:
    """What a model is."""
    card = served.predictor.card
    preprocessing = card.preprocessing
    words = {
        "crop": f"the centre, {preprocessing.size[0]} x {preprocessing.size[1]} pixels",
        "stretched": f"all of it, stretched to {preprocessing.size[0]} x {preprocessing.size[1]} pixels",
        "whole": f"all of it, its shorter side {preprocessing.resize} pixels",
        "windows": "all of it, pixel for pixel" if not preprocessing.resize else f"all of it at {preprocessing.resize}",
    }
    # The first class of maps of labels may be a background, which has no colour of its own.
    first = 1 if card.task == "segment" and card.classes[0].casefold() == "background" else 0
    skeleton = None
    if card.skeleton is not None:
        skeleton = {"names": list(card.skeleton.names), "edges": list(card.skeleton.edges)}
    return {
        "name": served.name,
        "network": card.model,
        "task": card.task,
        "classes": list(card.classes),
        "colours": [colour(label - first) if label >= first else (0, 0, 0) for label in range(len(card.classes))],
        "skeleton": skeleton,
        "input": words[preprocessing.frame],
        "batch": served.warm.batch,
        "neighbours": None if served.neighbours is None else len(served.neighbours.looked),
    }


def png(pixels: np.ndarray) -> str:
    """[H, W], [H, W, 1] or [H, W, 3] uint8 as a PNG, base64."""
    file = io.BytesIO()
    grey = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    Image.fromarray(grey).save(file, "PNG", compress_level=3)
    return base64.b64encode(file.getvalue()).decode()
