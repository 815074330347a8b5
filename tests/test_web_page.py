"""The page in a real browser, on a real server: what it draws is what the API says."""

import base64
import csv
import json
import os
import re
import shutil
from collections.abc import Iterator
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from service import KINDS, Live, live, make_all, picture

import saccade
from saccade.data.formats.coco_found import encode
from saccade.geometry.masks import bitmap
from saccade.predict import load
from saccade.recipes.predict import surer
from saccade.report.palette import colour, contrast
from saccade.structures import Classification, Instances, LabelMap
from saccade.web.examples import example
from saccade.web.keys import Keys, add_key
from saccade.web.limits import Limits
from saccade.web.models import Run

CHROMIUM = shutil.which("chromium")
playwright = pytest.importorskip(
    "playwright.sync_api", reason="the page is tested by Playwright, which is not installed"
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="the page is tested in Chromium, which is not installed")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        flags = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        own = started.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield own
        own.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    make_all(folder)
    return folder


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Live]:
    with live([folder / kind for kind in KINDS]) as running:
        yield running


@pytest.fixture
def page(browser: Any, served: Live) -> Iterator[Any]:
    yield from opened(browser, served.url)


def opened(browser: Any, url: str, **options: Any) -> Iterator[Any]:
    """A page on the service; whatever the browser complains of fails the test."""
    context = browser.new_context(viewport={"width": 1200, "height": 900}, accept_downloads=True, **options)
    own = context.new_page()
    own.set_default_timeout(30_000)
    complaints: list[str] = []
    own.on("pageerror", lambda error: complaints.append(str(error)))
    own.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    elsewhere: list[str] = []
    own.on(
        "request",
        lambda asked: elsewhere.append(asked.url) if not asked.url.startswith((url, "blob:", "data:")) else None,
    )
    own.complaints = complaints
    own.goto(url)
    own.wait_for_selector("html[data-ready]")
    yield own
    context.close()
    assert complaints == [] and elsewhere == []


def choose(page: Any, *files: tuple[str, bytes], kind: str = "image/png") -> None:
    page.set_input_files("#choose", [{"name": name, "mimeType": kind, "buffer": content} for name, content in files])


def ask(page: Any, model: str, content: bytes, name: str = "a.png") -> Any:
    """Choose a model and a picture; the part of the page that shows what was said."""
    page.select_option("#model", model)
    choose(page, (name, content))
    result = page.locator(f".result[data-model='{model}']")
    result.locator(".panel").wait_for()
    return result


def numbers(element: Any, *names: str) -> list[float]:
    return [float(element.get_attribute(name)) for name in names]


def test_classes_are_shown_with_their_bars(page: Any, served: Live) -> None:
    result = ask(page, "digits", picture(1))
    said = served.said(picture(1), model="digits")
    rows = result.locator(".answers li").all()
    assert len(rows) == 5
    width = result.locator(".answer").first.bounding_box()["width"]
    for row, expected in zip(rows, said["top"], strict=True):
        assert row.locator(".name").inner_text() == expected["class"]
        assert float(row.locator(".score").get_attribute("data-score")) == pytest.approx(expected["score"], abs=1e-5)
        assert row.locator(".score").inner_text() == f"{100 * expected['score']:.1f} %"
        bar = row.locator(".bar-of").bounding_box()["width"]
        assert bar == pytest.approx((width - 2) * expected["score"], abs=2)
    assert page.get_by_role("status").inner_text() == f"a.png: {said['class']}"


def test_things_are_drawn_where_the_api_says_and_the_slider_answers_at_once(page: Any, served: Live) -> None:
    content = picture(3)
    result = ask(page, "boxes", content)
    things = served.said(content, model="boxes", score=0.05)["things"]
    groups = {int(g.get_attribute("data-n")): g for g in result.locator("svg .thing").all()}
    assert len(groups) == len(things) > 5
    frame = result.locator(".frame").bounding_box()
    for n, thing in enumerate(things):
        box = groups[n].locator("rect.box")
        assert numbers(box, "x", "y", "width", "height") == pytest.approx(thing["bbox"], abs=1e-5)
        ink = colour(KINDS["boxes"][2].index(thing["class"]))
        assert box.get_attribute("stroke") == f"rgb({ink[0]} {ink[1]} {ink[2]} / 1)"
        assert groups[n].get_attribute("aria-label") == f"{thing['class']}, {100 * thing['score']:.1f} %"
    asked: list[str] = []
    page.on("request", lambda one: asked.append(one.url))
    for score in (0.05, things[3]["score"], 0.9, 1.0):
        page.eval_on_selector(".threshold", f"e => {{ e.value = {score}; e.dispatchEvent(new Event('input')) }}")
        shown = float(page.eval_on_selector(".threshold", "e => e.value"))
        expected = [n for n, thing in enumerate(things) if thing["score"] >= shown]
        assert sorted(n for n in groups if groups[n].is_visible()) == expected
        assert result.locator(".answers li:visible").count() == len(expected)
        assert result.locator(".count").inner_text().startswith(f"{len(expected)} thing")
    assert [url for url in asked if "/v1/" in url] == []
    # On the screen a box lies where it lies in the picture.
    page.eval_on_selector(".threshold", "e => { e.value = 0.05; e.dispatchEvent(new Event('input')) }")
    seen = groups[0].locator("rect.box").bounding_box()
    x, y, w, h = things[0]["bbox"]
    scale = frame["width"] / 120
    assert seen["x"] - frame["x"] == pytest.approx(x * scale, abs=4) and seen["width"] == pytest.approx(
        w * scale, abs=6
    )
    assert seen["y"] - frame["y"] == pytest.approx(y * scale, abs=4) and seen["height"] == pytest.approx(
        h * scale, abs=6
    )


def test_a_thing_is_lit_on_the_picture_and_in_the_list(page: Any) -> None:
    result = ask(page, "boxes", picture(3))
    page.eval_on_selector(".threshold", "e => { e.value = 0.05; e.dispatchEvent(new Event('input')) }")
    row = result.locator(".answers li").nth(1)
    row.hover()
    assert "lit" in result.locator("svg .thing[data-n='1']").get_attribute("class")
    assert result.locator(".lit").count() == 2
    page.mouse.move(0, 0)
    assert result.locator(".lit").count() == 0
    row.locator("button").focus()
    assert "lit" in result.locator("svg .thing[data-n='1']").get_attribute("class")


def test_masks_are_the_pixels_that_the_network_marked(page: Any, folder: Path) -> None:
    content = picture(3)
    result = ask(page, "masks", content)
    found = load(folder / "masks")(content)
    assert isinstance(found, Instances) and found.masks is not None and found.scores is not None
    found = surer(found, 0.05)
    assert found.masks is not None
    checked = 0
    for n, mask in enumerate(found.masks[:8]):
        assert mask is not None
        expected = bitmap(mask, (90, 120))
        image = result.locator(f"svg .thing[data-n='{n}'] image")
        if not expected.any():
            continue
        left, top, width, height = (int(v) for v in numbers(image, "x", "y", "width", "height"))
        data = re.sub("^data:image/png;base64,", "", image.get_attribute("href"))
        alpha = np.asarray(Image.open(BytesIO(base64.b64decode(data))).convert("RGBA"))[..., 3] > 0
        drawn = np.zeros((90, 120), dtype=bool)
        drawn[top : top + height, left : left + width] = alpha
        assert (drawn == expected).all()
        checked += 1
    assert checked > 2


def test_keypoints_are_drawn_and_joined(page: Any, served: Live) -> None:
    content = picture(3)
    result = ask(page, "joints", content)
    thing = served.said(content, model="joints", score=0.05)["things"][0]
    group = result.locator("svg .thing[data-n='0']")
    points = [numbers(dot, "cx", "cy") for dot in group.locator(".keypoint").all()]
    assert points == [pytest.approx(thing["keypoints"][3 * n : 3 * n + 2], abs=1e-5) for n in range(3)]
    bones = [numbers(bone, "x1", "y1", "x2", "y2") for bone in group.locator(".bone").all()]
    assert bones == [points[0] + points[1], points[0] + points[2]]


def test_every_pixel_is_painted_in_its_classs_colour(page: Any, folder: Path) -> None:
    content = picture(2)
    result = ask(page, "pixels", content)
    said = load(folder / "pixels")(content)
    assert isinstance(said, LabelMap)
    canvas = result.locator("canvas.labels")
    page.wait_for_function("() => document.querySelector('canvas.labels').width === 120")
    read = canvas.evaluate("c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]")
    painted = np.array(read, dtype=np.uint8).reshape(90, 120, 4)
    for label in range(3):
        where = said.labels == label
        expected = (0, 0, 0, 0) if label == 0 else (*colour(label - 1), 255)
        assert (painted[where] == expected).all()
    rows = result.locator(".answers li").all()
    told = {row.locator(".name").inner_text(): int(row.locator(".score").get_attribute("data-pixels")) for row in rows}
    assert told == said.areas()
    page.eval_on_selector(".opacity", "e => { e.value = 0.25; e.dispatchEvent(new Event('input')) }")
    assert canvas.evaluate("c => getComputedStyle(c).opacity") == "0.25"
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 40.5 / 120, box["y"] + box["height"] * 30.5 / 90)
    name = KINDS["pixels"][2][said.labels[30, 40]]
    assert result.locator("output.count").inner_text() == f"{name} at row 30, column 40"


def test_what_is_made_of_a_picture_lies_over_it(page: Any, served: Live) -> None:
    result = ask(page, "colours", picture(2))
    said = served.said(picture(2), model="colours")
    assert result.locator("img.made").get_attribute("src") == f"data:image/png;base64,{said['image']}"
    page.eval_on_selector(".wipe", "e => { e.value = 25; e.dispatchEvent(new Event('input')) }")
    assert "25%" in result.locator("img.made").evaluate("e => e.style.clipPath")


@pytest.mark.parametrize(
    ("model", "click", "fields"),
    [
        ("digits", ".answers li:nth-child(2) button", {"target": "second"}),
        ("masks", "svg .thing[data-n='0']", {"thing": 1, "target": "first"}),
        ("pixels", "canvas.labels", {"pixel": "the middle"}),
    ],
)
def test_a_click_asks_why(page: Any, served: Live, model: str, click: str, fields: dict[str, Any]) -> None:
    content = picture(3)
    result = ask(page, model, content)
    if model == "masks":
        page.eval_on_selector(".threshold", "e => { e.value = 0.05; e.dispatchEvent(new Event('input')) }")
        result.locator(click).dispatch_event("click")
        fields["target"] = served.said(content, model=model, score=0.05)["things"][0]["class"]
    else:
        result.locator(click).click()
        if model == "digits":
            fields["target"] = served.said(content, model=model)["top"][1]["class"]
    page.wait_for_selector("#why .methods")
    if model == "pixels":  # the middle, or the pixel beside it
        row, column = map(int, re.findall(r"\d+", page.locator("#why h2").inner_text()))
        assert abs(row - 45) <= 1 and abs(column - 60) <= 1
        fields["pixel"] = f"{row},{column}"
    expected = served.explain(content, model=model, **fields).json()
    shown = {one.get_attribute("data-method"): one for one in page.locator("#why figure.method[data-method]").all()}
    assert list(shown) == [one["method"] for one in expected["methods"]]
    for one in expected["methods"]:
        first = shown[one["method"]].locator("> img").get_attribute("src")
        assert first == f"data:image/png;base64,{one['pictures'][0]['image']}"
        assert shown[one["method"]].locator(".trust").inner_text() == one["trust"]
    assert page.locator("#why figure.method .words").first.inner_text() == expected["words"]
    page.click("#why button:has-text('Close')")
    assert not page.locator("#why").is_visible()


def test_two_models_stand_side_by_side(page: Any, served: Live) -> None:
    page.select_option("#beside", "boxes")
    ask(page, "digits", picture(3))
    page.locator(".result[data-model='boxes'] .panel").wait_for()
    results = page.locator(".result").all()
    assert [one.get_attribute("data-model") for one in results] == ["digits", "boxes"]
    left, right = (one.bounding_box() for one in results)
    assert left["y"] == right["y"] and left["x"] + left["width"] <= right["x"]
    assert results[0].locator(".name").first.inner_text() == served.said(picture(3), model="digits")["class"]
    page.select_option("#beside", "digits")  # itself beside itself says nothing
    assert page.locator(".result").count() == 1


NAMES = ["b.png", "a.png", '=1+"x",\n.png', "<img src=x onerror=alert(1)>.png"]


def test_many_pictures_make_a_table_that_sorts_and_files_that_hold_it(page: Any, served: Live, folder: Path) -> None:
    page.select_option("#model", "boxes")
    contents = [picture(n) for n in range(4)]
    choose(page, *zip(NAMES, contents, strict=True))
    page.wait_for_function(
        "() => [...document.querySelectorAll('#table tbody td.number')].filter(e => e.textContent).length === 4"
    )
    page.eval_on_selector(".threshold", "e => { e.value = 0.3; e.dispatchEvent(new Event('input')) }")
    said = {
        name: served.said(content, model="boxes", score=0.3)["things"]
        for name, content in zip(NAMES, contents, strict=True)
    }

    def column(n: int) -> list[str]:
        return [one.inner_text() for one in page.locator(f"#table tbody td:nth-child({n})").all()]

    assert page.locator("#table tbody tr").count() == 4
    by_name = sorted(NAMES, key=str.lower)
    assert [row.get_attribute("data-name") for row in page.locator("#table tbody tr").all()] == by_name
    assert column(4) == [str(len(said[name])) for name in by_name]
    page.click("#table th:nth-child(4) button")
    assert page.locator("#table th:nth-child(4)").get_attribute("aria-sort") == "descending"
    counts = [int(one) for one in column(4)]
    assert counts == sorted(counts, reverse=True)
    with page.expect_download() as waiting:
        page.click("#csv")
    rows = list(csv.DictReader(StringIO(Path(waiting.value.path()).read_bytes().decode())))
    assert len(rows) == sum(map(len, said.values()))
    for name, things in said.items():
        own = [row for row in rows if row["name"] in (name, f"'{name}")]
        assert [float(row["score"]) for row in own] == pytest.approx([thing["score"] for thing in things])
        # A spreadsheet would take a name that begins so for a formula.
        assert all(not row["class"].startswith("=") and not row["name"].startswith("=") for row in own)
        assert [row["class"].lstrip("'") for row in own] == [thing["class"] for thing in things]
    with page.expect_download() as waiting:
        page.click("#coco")
    told = json.loads(Path(waiting.value.path()).read_text())
    predictor = load(folder / "boxes")
    found = []
    for name, content in zip(NAMES, contents, strict=True):
        one = predictor(content)
        assert isinstance(one, Instances)
        found.append((name, surer(one, 0.3)))
    expected = json.loads(encode(found, predictor.card.classes))
    assert told["categories"] == expected["categories"] and told["images"] == expected["images"]
    assert len(told["annotations"]) == len(expected["annotations"])
    for one, other in zip(told["annotations"], expected["annotations"], strict=True):
        assert one.keys() == other.keys()
        assert one["bbox"] == pytest.approx(other["bbox"], abs=0.02) and one["category_id"] == other["category_id"]
    page.click("#table tbody tr:nth-child(2) .thumb")
    assert "open" in page.locator("#table tbody tr:nth-child(2)").get_attribute("class")
    page.click("#clear")
    assert page.locator(".result").count() == 0 and not page.locator("#many").is_visible()


def test_a_film_has_a_timeline_and_plays(page: Any, tmp_path: Path) -> None:
    from test_film import make

    film = make(tmp_path / "a.mp4", ((48, 64),) * 24).read_bytes()
    page.select_option("#model", "digits")
    choose(page, ("clip.mp4", film), kind="video/mp4")
    page.wait_for_selector(".timeline .row")
    result = page.locator(".result.film")
    assert result.locator(".count").inner_text() == "24 frames"
    with page.expect_download() as waiting:
        page.click("button:has-text('A line of JSON a frame')")
    frames = [json.loads(line) for line in Path(waiting.value.path()).read_text().splitlines()]
    assert [frame["frame"] for frame in frames] == list(range(24))
    for row in page.locator(".timeline .row").all():
        name = row.get_attribute("data-class")
        drawn = {
            int(float(cell.get_attribute("x"))): float(cell.get_attribute("fill-opacity"))
            for cell in row.locator("rect").all()
        }
        expected = {f["frame"]: top["score"] for f in frames for top in f["top"] if top["class"] == name}
        assert drawn == pytest.approx(expected, abs=6e-4)
    page.wait_for_function("() => document.querySelector('video').readyState >= 1")
    duration = page.eval_on_selector("video", "v => v.duration")
    assert duration == pytest.approx(2.4, abs=0.2)
    name = page.locator(".timeline .row").first.get_attribute("data-class")
    page.locator(".timeline .row button").first.click()
    best = max(frames, key=lambda f: next((top["score"] for top in f["top"] if top["class"] == name), 0))
    assert page.eval_on_selector("video", "v => v.currentTime") == pytest.approx(best["seconds"], abs=0.01)
    with page.expect_download() as waiting:
        page.click("button:has-text('The film')")
    assert waiting.value.suggested_filename == "clip-predicted.mp4"


def test_examples_can_be_clicked(page: Any) -> None:
    page.select_option("#model", "digits")
    page.click("[aria-label='Example: digit-1.png']")
    page.locator(".result .panel").wait_for()
    assert page.locator(".result").get_attribute("aria-label") == "digit-1.png, seen by digits"


def test_pictures_can_be_dropped_and_pasted(page: Any) -> None:
    page.select_option("#model", "digits")
    for kind in ("drop", "paste"):
        page.evaluate(
            """async ([kind, content]) => {
                const bytes = Uint8Array.from(atob(content), c => c.charCodeAt(0));
                const carried = new DataTransfer();
                carried.items.add(new File([bytes], kind + '.png', { type: 'image/png' }));
                const event = kind === 'drop'
                    ? new DragEvent('drop', { dataTransfer: carried, bubbles: true, cancelable: true })
                    : new ClipboardEvent('paste', { clipboardData: carried, bubbles: true });
                document.body.dispatchEvent(event);
            }""",
            [kind, base64.b64encode(picture(1)).decode()],
        )
        page.locator(f".result[aria-label='{kind}.png, seen by digits'] .panel").wait_for()


def test_a_photograph_can_be_taken(page: Any) -> None:
    page.select_option("#model", "digits")
    page.click("#photograph")
    page.wait_for_function("() => document.querySelector('#finder').videoWidth > 0")
    page.click("#shoot")
    page.locator(".result[aria-label='photograph.jpg, seen by digits'] .panel").wait_for()
    assert not page.locator("#camera").is_visible()
    assert page.evaluate("() => document.querySelector('#finder').srcObject") is None


def test_failures_are_said_in_words(page: Any, served: Live) -> None:
    page.select_option("#model", "digits")
    choose(page, ("broken.png", b"no picture"))
    alert = page.locator("#alerts .alert")
    alert.wait_for()
    assert alert.inner_text().startswith("broken.png: the file is not an image")
    assert page.locator(".result .wrong").inner_text().startswith("the file is not an image")
    page.click("#alerts button")
    assert page.locator("#alerts .alert").count() == 0
    # A browser logs that a request was refused; that is the point here.
    page.complaints.clear()


def test_a_film_that_failed_can_be_tried_again(page: Any) -> None:
    page.select_option("#model", "digits")
    choose(page, ("broken.mp4", b"no film"), kind="video/mp4")
    again = page.locator(".result.film button:has-text('Again')")
    again.wait_for()
    assert "cannot be read as a film" in page.locator(".result.film .count").inner_text()
    with page.expect_request("**/v1/jobs"):
        again.click()
    page.locator(".result.film button:has-text('Again')").wait_for()


def test_a_page_that_goes_takes_its_film_along(page: Any, served: Live, tmp_path: Path) -> None:
    from test_film import make

    film = make(tmp_path / "a.mp4", ((48, 64),) * 3000).read_bytes()
    page.select_option("#model", "digits")
    choose(page, ("long.mp4", film), kind="video/mp4")
    page.wait_for_function("() => /frames/.test(document.querySelector('.result.film .count').textContent)")
    assert served.service.jobs.counts()["running"] == 1
    page.reload()
    for _ in range(200):
        if not served.service.jobs.busy:
            break
        page.wait_for_timeout(50)
    assert sum(served.service.jobs.counts().values()) == 0


def test_clearing_ends_what_is_on_its_way(page: Any) -> None:
    page.select_option("#model", "digits")
    choose(page, *((f"{n}.png", picture(n)) for n in range(40)), ("notes.txt", b"no picture"))
    page.click("#clear")
    page.wait_for_timeout(1500)
    assert page.locator("#alerts .alert").count() == 0 and page.locator(".result").count() == 0
    assert page.evaluate("() => document.activeElement.id") == "choose"
    # And the next picture is answered.
    ask(page, "digits", picture(1))


def test_two_files_of_one_name_are_told_apart(page: Any) -> None:
    page.select_option("#model", "digits")
    choose(page, ("x.jpg", picture(1)), ("x.jpg", picture(2)), ("x", picture(3)), ("x", picture(4)))
    names = [row.get_attribute("data-name") for row in page.locator("#table tbody tr").all()]
    assert sorted(names) == ["x", "x (2)", "x (2).jpg", "x.jpg"]


def test_escape_puts_why_away_and_gives_the_focus_back(page: Any) -> None:
    page.select_option("#model", "digits")
    result = ask(page, "digits", picture(1))
    result.locator(".answer").first.click()
    page.wait_for_selector("#why .methods")
    page.keyboard.press("Escape")
    assert not page.locator("#why").is_visible()
    assert page.evaluate("() => document.activeElement.className") == "answer"


def test_keyboard_alone_is_enough(page: Any) -> None:
    result = ask(page, "boxes", picture(3))
    page.eval_on_selector(".threshold", "e => { e.value = 0.05; e.dispatchEvent(new Event('input')) }")
    result.locator("svg .thing[data-n='0']").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#why .methods")
    page.keyboard.press("Tab")
    focused = page.evaluate("() => document.activeElement.textContent")
    assert focused == "Close"
    page.keyboard.press("Enter")
    assert not page.locator("#why").is_visible()


def test_everything_that_can_be_used_has_a_name(page: Any) -> None:
    """By the browser's own accessibility tree: no button, slider, list or picture without one."""
    ask(page, "boxes", picture(3))
    client = page.context.new_cdp_session(page)
    nodes = client.send("Accessibility.getFullAXTree")["nodes"]
    roles = ("button", "slider", "combobox", "textbox", "link", "image", "progressbar", "checkbox", "img")
    used = [node for node in nodes if node.get("role", {}).get("value") in roles and not node.get("ignored")]
    assert len(used) > 12
    nameless = [node for node in used if not node.get("name", {}).get("value")]
    assert nameless == []


TONES = ("ground", "card", "text", "quiet", "accent", "on-accent", "wash", "wrong", "wrong-wash")

PAIRS = [
    ("text", "ground"), ("text", "card"), ("text", "wash"), ("quiet", "ground"), ("quiet", "card"), ("quiet", "wash"),
    ("on-accent", "accent"), ("accent", "ground"), ("wrong", "wrong-wash"), ("wrong", "card"),
]  # fmt: skip


def hexadecimal(text: str) -> tuple[int, int, int]:
    """Red, green and blue of #rgb or #rrggbb."""
    digits = text.lstrip("#")
    wide = digits if len(digits) == 6 else "".join(2 * digit for digit in digits)
    return int(wide[:2], 16), int(wide[2:4], 16), int(wide[4:], 16)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark(browser: Any, served: Live, scheme: str) -> None:
    """WCAG 2.2: a contrast of at least 4.5 for every colour of text on every ground that it stands on."""
    for page in opened(browser, served.url, color_scheme=scheme):
        root = "getComputedStyle(document.documentElement)"
        tone = {name: hexadecimal(page.evaluate(f"() => {root}.getPropertyValue('--{name}').trim()")) for name in TONES}
        for ink, ground in PAIRS:
            assert contrast(tone[ink], tone[ground]) >= 4.5, f"{ink} on {ground}"
        ground = page.evaluate("() => getComputedStyle(document.documentElement).backgroundColor")
        assert ground == f"rgb({', '.join(map(str, tone['ground']))})"


def test_it_fits_on_a_phone(browser: Any, served: Live) -> None:
    for page in opened(browser, served.url, has_touch=True):
        page.set_viewport_size({"width": 375, "height": 700})
        ask(page, "boxes", picture(3))
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 375


def test_a_key_is_asked_for_where_one_is_needed(browser: Any, folder: Path, tmp_path: Path) -> None:
    key = add_key(tmp_path / "keys", "me")
    with live([folder / "digits"], keys=Keys(tmp_path / "keys")) as running:
        context = browser.new_context()
        page = context.new_page()
        page.goto(running.url)
        page.locator("#key-dialog").wait_for()
        page.fill("#key", "wrong")
        page.keyboard.press("Enter")
        page.locator("#key-words:has-text('nobody has that key')").wait_for()
        page.fill("#key", key)
        page.keyboard.press("Enter")
        page.wait_for_selector("html[data-ready]")
        ask(page, "digits", picture(1))
        context.close()


def test_what_is_too_large_is_said_before_it_is_sent(browser: Any, folder: Path) -> None:
    with live([folder / "digits"], Limits(body=20_000)) as running:
        for page in opened(browser, running.url):
            choose(page, ("large.png", bytes(30_000)))
            page.locator("#alerts .alert").wait_for()
            assert "large.png has 0.0 MB" in page.locator("#alerts .alert").inner_text()
            assert page.locator(".result").count() == 0


@pytest.mark.slow
def test_trained_runs_and_published_weights(browser: Any, shared: Path, tmp_path: Path) -> None:
    """Digits, scenes and SqueezeNet with ImageNet's weights: the page shows what Python says of its own examples."""
    os.environ["SACCADE_WEIGHTS"] = str(shared / "weights")
    saccade.fit("digits", model="lenet", adapt="scratch", epochs=10, out=tmp_path / "digits", quiet=True)
    saccade.fit("scenes-64", model="aligned_nano", size=64, epochs=2, out=tmp_path / "scenes", quiet=True)
    runs = [Run(str(tmp_path / "digits")), Run(str(tmp_path / "scenes")), Run("squeezenet1_0", "imagenet")]
    predictors = [load(tmp_path / "digits"), load(tmp_path / "scenes"), load("squeezenet1_0", weights="imagenet")]
    with live(runs, neighbours=True) as running:
        for page in opened(browser, running.url):
            for name in ("digit-1.png", "scene-1.png", "temple.jpg"):
                content = example(name)
                for run, predictor in zip(runs, predictors, strict=True):
                    page.reload()
                    page.wait_for_selector("html[data-ready]")
                    page.select_option("#model", run.name)
                    page.click(f"[aria-label='Example: {name}']")
                    result = page.locator(f".result[data-model='{run.name}'][aria-label^='{name}']")
                    result.locator(".panel").wait_for()
                    said = predictor(content)
                    scores = [float(one.get_attribute("data-score")) for one in result.locator(".score").all()]
                    if isinstance(said, Classification):
                        names = [one.inner_text() for one in result.locator(".name").all()]
                        assert names == [name for name, _ in said.top(5)]
                        assert scores == pytest.approx([score for _, score in said.top(5)], abs=1e-5)
                    else:
                        assert isinstance(said, Instances) and said.scores is not None
                        assert scores == pytest.approx(surer(said, 0.05).scores, abs=1e-5)
            page.reload()
            page.wait_for_selector("html[data-ready]")
            page.click("[aria-label='Example: digit-1.png']")
            page.locator(".result[data-model='digits'][aria-label^='digit-1.png'] .answer").first.click()
            page.wait_for_selector("#why .neighbours")
            # The example is one of the pictures that it was trained on.
            assert page.locator("#why .neighbours figcaption").first.inner_text().startswith("2 1.000")
