"""The service's API: what it answers is what Python and the command line say; and what it refuses, and how."""

import base64
import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from ran import cli
from service import KINDS, Live, live, make_all, picture

from saccade.data.film import Film
from saccade.predict import Predictor, load
from saccade.recipes.explain_methods import METHODS, answer
from saccade.recipes.explain_question import Asked, ask
from saccade.recipes.predict import as_dict
from saccade.recipes.predict_film import predict_film
from saccade.report.palette import colour
from saccade.structures import Classification, Instances, LabelMap
from saccade.web.examples import EXAMPLES


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    make_all(folder)
    return folder


@pytest.fixture(scope="module")
def served(folder: Path) -> Any:
    with live([folder / kind for kind in KINDS]) as running:
        yield running


def close(one: Any, other: Any, tolerance: float = 1e-5) -> None:
    """Equal, numbers within a tolerance."""
    assert type(one) is type(other) or {type(one), type(other)} <= {int, float}
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            close(one[key], other[key], tolerance)
    elif isinstance(one, list):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            close(a, b, tolerance)
    elif isinstance(one, float):
        assert one == pytest.approx(other, abs=tolerance, rel=tolerance)
    else:
        assert one == other


def plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["PNG", "JPEG", "turned"])
def test_api_python_and_command_line_say_the_same(
    served: Live, folder: Path, tmp_path: Path, kind: str, form: str
) -> None:
    options: dict[str, Any] = {}
    if form == "turned":
        exif = Image.Exif()
        exif[0x0112] = 6
        options = {"exif": exif}
    content = picture(3, kind="PNG" if form == "PNG" else "JPEG", **options)
    said = served.said(content, model=kind, top=3, score=0.02)
    pixels = {name: said.pop(name) for name in ("labels", "image") if name in said}
    predictor = load(folder / kind)
    prediction = predictor(content)
    close(said, plain(as_dict(prediction, predictor.card.classes, 3, 0.02)))
    if isinstance(prediction, LabelMap):
        assert (np.asarray(Image.open(BytesIO(base64.b64decode(pixels["labels"])))) == prediction.labels).all()
    if KINDS[kind][1] == "detect":
        assert said["things"], "the models were to find something, or nothing is compared"
    (tmp_path / "a.img").write_bytes(content)
    ran = cli("predict", folder / kind, tmp_path / "a.img", "--json", "--top", 3, "--score", 0.02)
    told = json.loads(ran.out)
    told.pop("path")
    close(said, told)


def test_pictures_are_answered_in_their_order_and_a_broken_one_in_its_place(served: Live) -> None:
    contents = [picture(seed) for seed in range(7)]
    contents[3] = b"no picture at all"
    contents[5] = picture(5)[:200]
    response = served.predict(*contents, model="digits")
    assert response.status_code == 200
    results = response.json()["results"]
    assert [one["name"] for one in results] == [f"{n}.png" for n in range(7)]
    for n in (0, 1, 2, 4, 6):
        assert results[n]["prediction"] == served.said(picture(n), model="digits")
    assert results[3]["error"]["code"] == "unsupported" and "not an image" in results[3]["error"]["message"]
    assert (
        results[5]["error"]["code"] == "unreadable"
        and results[5]["error"]["request"] == response.headers["x-request-id"]
    )


def test_what_is_served_is_told_with_everything_a_page_needs(served: Live) -> None:
    told = served.client.get("/v1/models").json()
    assert [one["name"] for one in told["models"]] == list(KINDS)
    for one in told["models"]:
        network, task, classes, _, _ = KINDS[one["name"]]
        assert (one["network"], one["task"], tuple(one["classes"])) == (network, task, classes)
        assert len(one["colours"]) == len(classes)
    by_name = {one["name"]: one for one in told["models"]}
    assert by_name["joints"]["skeleton"] == {"names": ["top", "left", "right"], "edges": [[0, 1], [0, 2]]}
    # A background has no colour of its own, and the first class after it the first.
    assert by_name["pixels"]["colours"][1] == list(colour(0)) == by_name["digits"]["colours"][0]
    assert told["links"] is False and told["limits"]["body"] == 100_000_000
    assert set(told["methods"]) == {name for name in METHODS if METHODS[name].asks} - {"faithfulness"}


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("digits", {"target": "7"}),
        ("digits", {}),
        ("masks", {"thing": 2}),
        ("joints", {"keypoint": "left"}),
        ("pixels", {"pixel": "40,32"}),
        ("pixels", {"target": "dog"}),
    ],
)
def test_explanations_are_those_of_the_recipe(served: Live, folder: Path, kind: str, fields: dict[str, Any]) -> None:
    methods = ["saliency", "grad_cam"]
    response = served.explain(picture(1), model=kind, methods=methods, **fields)
    assert response.status_code == 200, response.text
    told = response.json()
    pixel = fields.get("pixel")
    row_column = None if pixel is None else (int(pixel.split(",")[0]), int(pixel.split(",")[1]))
    asked = Asked(fields.get("target"), thing=fields.get("thing", 1), keypoint=fields.get("keypoint"), pixel=row_column)
    question = ask(load(folder / kind), picture(1), asked)
    assert told["words"] == question.words
    given = {one["method"]: one for one in told["methods"]}
    assert given and given.keys() | told["refused"].keys() == set(methods)
    for name, one in given.items():
        shown = answer(question, name, {})
        assert one["method"] == name and one["trust"] == shown.trust
        for picture_of, tile in zip(one["pictures"], shown.tiles, strict=True):
            pixels = np.asarray(Image.open(BytesIO(base64.b64decode(picture_of["image"]))).convert("RGB"))
            assert (pixels == np.broadcast_to(tile.image, pixels.shape)).all() and picture_of["title"] == tile.title


def test_the_nearest_of_what_it_was_trained_on_is_itself(tmp_path: Path) -> None:
    ran = cli("fit", "digits", "--model", "lenet", "--epochs", 1, "--out", tmp_path / "digits")
    assert ran.code == 0, ran.err
    with live([tmp_path / "digits"], neighbours=True) as running:
        near = running.service.models["digits"].neighbours
        assert near is not None
        assert (tmp_path / "digits" / "neighbours" / "index.json").is_file()
        file = BytesIO()
        Image.fromarray(near.looked.split.open(17).pixels("L")[0][..., 0]).save(file, "PNG")
        told = running.explain(file.getvalue(), methods="saliency").json()["neighbours"]
        assert told[0]["name"] == near.looked.split.ids[17] and told[0]["cosine"] == pytest.approx(1, abs=1e-5)
        assert [one["cosine"] for one in told] == sorted((one["cosine"] for one in told), reverse=True)
    # Nothing is looked through again: the run has them.
    with live([tmp_path / "digits"]) as running:
        assert running.client.get("/v1/models").json()["models"][0]["neighbours"] == len(near.looked)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    from test_film import make

    return make(tmp_path_factory.mktemp("film") / "a.mp4").read_bytes()


@pytest.mark.parametrize("kind", ["digits", "boxes", "pixels", "colours"])
def test_a_film_becomes_what_the_recipe_makes_of_it(
    served: Live, folder: Path, film: bytes, tmp_path: Path, kind: str
) -> None:
    begun = served.job(film, model=kind, score=0.02, top=2)
    assert begun.status_code == 202
    id = begun.json()["id"]
    events = served.events(id)
    assert events[-1]["state"] == "done" and events[-1]["frames"] == 12 and events[-1]["error"] is None
    frames = [event["frames"] for event in events]
    assert frames == sorted(frames)
    lines = served.client.get(f"/v1/jobs/{id}/lines")
    (tmp_path / "a.mp4").write_bytes(film)
    seen = predict_film(load(folder / kind), tmp_path / "a.mp4", tmp_path, 2, 0.02)
    for one, other in zip(lines.text.splitlines(), seen.lines.read_text().splitlines(), strict=True):
        close(json.loads(one), json.loads(other))
    drawn = served.client.get(f"/v1/jobs/{id}/film")
    assert drawn.headers["content-type"] == "video/mp4"
    (tmp_path / "drawn.mp4").write_bytes(drawn.content)
    for one, other in zip(Film(tmp_path / "drawn.mp4"), Film(seen.film), strict=True):
        # Of colours the last bit may differ, and the codec makes two of it. Where two classes are as good as equal at
        # a pixel, the last bit paints it otherwise; all unpainted would be 35 away.
        assert np.abs(one.pixels.astype(int) - other.pixels).mean() < (1.0 if kind == "pixels" else 0.2)
    part = served.client.get(f"/v1/jobs/{id}/film", headers={"Range": "bytes=10-19"})
    assert part.status_code == 206 and part.content == drawn.content[10:20]
    folder_of_job = served.service.jobs._folder / id
    assert folder_of_job.is_dir() and not (folder_of_job / "film").exists()
    assert served.client.delete(f"/v1/jobs/{id}").status_code == 204
    assert not folder_of_job.exists() and served.client.get(f"/v1/jobs/{id}").status_code == 404


def test_a_film_that_breaks_off_is_looked_at_as_far_as_it_goes(served: Live, tmp_path: Path) -> None:
    from test_film import make

    content = make(tmp_path / "a.ts", ((240, 320),) * 60, codec="mpeg2video").read_bytes()
    matroska = make(tmp_path / "b.mkv", ((240, 320),) * 60).read_bytes()
    whole = served.events(served.job(content, model="digits").json()["id"])[-1]
    assert whole["state"] == "done" and whole["error"] is None
    cut = served.events(served.job(matroska[: len(matroska) // 2], model="digits").json()["id"])[-1]
    assert cut["state"] == "done" and 0 < cut["frames"] < 60
    assert cut["error"]["code"] == "unreadable" and "breaks off" in cut["error"]["message"]
    none = served.events(served.job(b"no film", model="digits").json()["id"])[-1]
    assert none["state"] == "failed" and none["error"]["code"] == "unreadable"
    assert "/tmp" not in json.dumps(none)
    for id in [one["id"] for one in (whole, cut, none)]:
        served.client.delete(f"/v1/jobs/{id}")


BROKEN = [
    ({"files": b"no picture"}, {}, 415, "unsupported"),
    ({"files": b""}, {}, 422, "unreadable"),
    ({"files": picture()[:150]}, {}, 422, "unreadable"),
    ({"files": b"\0\0\0\x20ftypisom" + bytes(50)}, {}, 415, "unsupported"),
    ({"files": picture()}, {"model": "dogits"}, 422, "no_meaning"),
    ({"files": picture()}, {"top": 0}, 422, "no_meaning"),
    ({"files": picture()}, {"score": "much"}, 422, "no_meaning"),
    ({"files": picture()}, {"score": "nan"}, 422, "no_meaning"),
    ({}, {}, 422, "no_meaning"),
    ({}, {"links": "http://example.com/a.png"}, 403, "links_off"),
]


@pytest.mark.parametrize(("files", "fields", "status", "code"), BROKEN)
def test_what_cannot_be_predicted_is_refused_in_words(
    served: Live, files: dict[str, bytes], fields: dict[str, Any], status: int, code: str
) -> None:
    response = served.client.post("/v1/predict", files=files, data=fields)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert response.json()["error"]["request"] == response.headers["x-request-id"]
    assert "Traceback" not in response.text and "/work" not in response.text and "/tmp" not in response.text


@pytest.mark.parametrize(
    ("kind", "fields", "words"),
    [
        ("digits", {"methods": "gradcam"}, "did you mean 'grad_cam'"),
        ("digits", {"target": "cat"}, "cat"),
        ("digits", {"target": "12"}, "12"),
        ("digits", {"pixel": "1,2"}, "no pixel"),
        ("pixels", {"pixel": "1"}, "ROW,COLUMN"),
        ("pixels", {"pixel": "900,2"}, "rows"),
        ("masks", {"thing": 500}, "numbers 1 to 100, and got 500"),
        ("joints", {"keypoint": "ear"}, "ear"),
    ],
)
def test_what_cannot_be_explained_is_refused_in_words(
    served: Live, kind: str, fields: dict[str, Any], words: str
) -> None:
    response = served.explain(picture(1), model=kind, **fields)
    assert response.status_code == 422 and words in response.json()["error"]["message"]


def test_unknown_paths_and_methods_are_answered_like_all_else(served: Live) -> None:
    assert served.client.get("/nothing").json()["error"]["code"] == "nothing_there"
    assert served.client.get("/page/../app.py").status_code == 404
    assert served.client.get("/page/%2e%2e%2fapp.py").status_code == 404
    wrong = served.client.put("/v1/predict")
    assert wrong.status_code == 405 and wrong.json()["error"]["code"] == "wrong_method"
    assert served.client.get("/v1/jobs/none").json()["error"]["code"] == "no_such_job"
    assert served.client.get("/v1/examples/none.png").status_code == 404


def test_the_examples_can_be_asked_about(served: Live) -> None:
    assert served.client.get("/v1/examples").json() == list(EXAMPLES)
    for name, kind in EXAMPLES.items():
        response = served.client.get(f"/v1/examples/{name}")
        assert response.headers["content-type"] == kind
        if kind.startswith("image"):
            assert served.said(response.content, model="digits")["top"]
        else:
            last = served.events(served.job(response.content, model="digits").json()["id"])[-1]
            assert last["state"] == "done" and last["frames"] == 48


def test_a_picture_the_network_was_not_made_for_is_answered_as_python_does(served: Live, folder: Path) -> None:
    """One pixel, a thin strip, grey, transparent: whatever opens is answered."""
    for size in ((1, 1), (1, 300), (300, 2)):
        content = picture(0, size)
        for kind in ("digits", "boxes", "pixels"):
            predictor: Predictor = load(folder / kind)
            expected = predictor(content)
            told = served.said(content, model=kind, score=0.02)
            if isinstance(expected, Classification):
                assert told["score"] == pytest.approx(expected.score, abs=1e-5)
            elif isinstance(expected, Instances):
                assert (told["height"], told["width"]) == size
            else:
                assert isinstance(expected, LabelMap) and told["pixels"] == expected.areas()
