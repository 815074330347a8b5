"""The report: what it shows is what it was given, and it stands alone."""

import base64
import hashlib
import io
import math
import re
import warnings
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from saccade.report import plots
from saccade.report.page import (
    Code,
    Fact,
    Figure,
    Listing,
    Page,
    Pictures,
    Prose,
    Section,
    Table,
    Tile,
    render,
    shown,
)

HOSTILE = """<script>alert(1)</script> "quoted" 'single' & <img src=x onerror=alert(2)>"""
VOID = {"meta", "link", "img", "br", "hr", "input"}
LINES = [
    {"epoch": 0, "learning_rate": 0.1, "train/loss": 2.25, "val/loss": 2.0, "val/top1_error": 60.0},
    {"epoch": 1, "learning_rate": 0.05, "train/loss": 1.0, "val/loss": 0.75, "val/top1_error": 25.0},
    {"epoch": 2, "learning_rate": 0.0, "train/loss": 0.5, "val/loss": 0.5, "val/top1_error": 12.5},
]
BINS = [(0, 0.0, 0.0)] * 12 + [(2, 0.83, 0.5), (4, 0.9, 1.0), (30, 0.99, 0.97)]


class Reader(HTMLParser):
    """What a browser would find; fails on tags that are not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        self._path: list[str] = []
        self.feed(html)
        self.close()
        assert self._path == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"{tag} has an attribute twice"
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._path.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._path.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self._path[-1] if self._path else "", data))

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def text(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]


def page_of(*blocks, open: bool = True) -> Page:
    return Page(
        "Digits", "A test", [Fact("top-1 error", "1.11 %", "4 of 360 images")], [Section("One", list(blocks), open)]
    )


def full_page() -> Page:
    """Every kind of block, with a hostile name wherever a name can stand."""
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
    photo = np.random.default_rng(0).integers(0, 256, (300, 500, 3), dtype=np.uint8)
    matrix = np.array([[50, 3], [7, 41]])
    blocks = [
        Figure(plots.curves(LINES), HOSTILE),
        Figure(plots.confusion(matrix, (HOSTILE, "bees")), "one"),
        Figure(plots.confusion(matrix, (HOSTILE, "bees")), "the same again"),
        Figure(plots.calibration(BINS), "three"),
        Table((HOSTILE, "images"), [(HOSTILE, 3)], HOSTILE),
        Pictures([Tile(grey, HOSTILE, HOSTILE, False), Tile(photo, "", good=True)], HOSTILE),
        Listing([HOSTILE]),
        Code(HOSTILE),
        Prose(HOSTILE),
    ]
    facts = [Fact(HOSTILE, HOSTILE, HOSTILE)]
    return Page(HOSTILE, HOSTILE, facts, [Section(HOSTILE, blocks), Section(HOSTILE, [Prose("x")], open=False)])


def picture_of(source: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(source.split(",", 1)[1])))


def test_nothing_is_loaded_from_outside():
    html = render(full_page())
    reader = Reader(html)
    links = [
        value
        for _, attributes in reader.tags
        for name, value in attributes.items()
        if name in ("src", "href", "xlink:href", "srcset", "data", "action", "poster")
    ]
    assert len(links) > 10
    assert all(link.startswith(("data:", "#")) for link in links)
    assert set(re.findall(r"url\((.)", html)) == {"#"}
    assert "@import" not in html
    assert set(re.findall(r"https?://[^\"' <]*", html)) == {"http://www.w3.org/2000/svg"}


def test_hostile_names_are_text():
    html = render(full_page())
    reader = Reader(html)
    scripts = reader.text("script")
    assert len(reader.all("script")) == len(scripts) == 1
    assert "alert" not in scripts[0]
    assert not any(name.startswith("on") for _, attributes in reader.tags for name in attributes)
    assert len(reader.all("img")) == 2
    for tag in ("title", "h1", "h2", "dt", "dd", "figcaption", "button", "td", "p", "li", "code"):
        assert HOSTILE in [text.strip() for text in reader.text(tag)], tag


def test_only_our_script_may_run():
    reader = Reader(render(full_page()))
    digest = base64.b64encode(hashlib.sha256(reader.text("script")[0].encode()).digest()).decode()
    policy = [tag["content"] for tag in reader.all("meta") if tag.get("http-equiv") == "Content-Security-Policy"]
    assert policy == [f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"]


def test_screen_readers_find_their_way():
    reader = Reader(render(full_page()))
    assert all(image["alt"] for image in reader.all("img"))
    assert all(plot["role"] == "img" and plot["aria-label"] for plot in reader.all("svg"))
    assert reader.all("html") == [{"lang": "en"}]
    assert len(reader.all("h1")) == 1
    ids = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    named = [attributes["aria-labelledby"] for _, attributes in reader.tags if "aria-labelledby" in attributes]
    used = [
        value[1:]
        for _, attributes in reader.tags
        for name, value in attributes.items()
        if name == "href" and "#" in value
    ]
    clips = re.findall(r"url\(#(.*?)\)", str(reader.tags))
    assert named
    assert used
    assert clips
    assert set(named + used + clips) <= set(ids)


def test_facts_come_before_sections():
    html = render(page_of(Prose("body")))
    places = [
        html.index(text) for text in ("<h1>Digits", "top-1 error", "1.11 %", "4 of 360 images", ">One</h2>", "body</p>")
    ]
    assert places == sorted(places)


def test_a_closed_section_is_folded():
    reader = Reader(render(page_of(Code("epochs = 3"), open=False)))
    assert reader.all("details") == [{}]
    assert reader.text("code") == ["epochs = 3"]
    assert Reader(render(page_of())).all("details") == []


@pytest.mark.parametrize("channels", [1, 3])
def test_a_tiny_picture_is_kept_exactly(channels: int):
    image = np.random.default_rng(1).integers(0, 256, (32, 20, channels), dtype=np.uint8)
    (tag,) = Reader(render(page_of(Pictures([Tile(image, "7")], "")))).all("img")
    assert tag["class"] == "tiny"
    assert tag["src"].startswith("data:image/png;")
    np.testing.assert_array_equal(np.asarray(picture_of(tag["src"])).reshape(image.shape), image)


def test_a_photo_is_shrunk_and_looks_the_same():
    y, x = np.mgrid[0:600, 0:900].astype(float)
    image = np.stack([255 * x / 900, 255 * y / 600, 128 + 0 * x], axis=-1).astype(np.uint8)
    (tag,) = Reader(render(page_of(Pictures([Tile(image, "slope")], "")))).all("img")
    assert tag["src"].startswith("data:image/jpeg;")
    assert len(tag["src"]) < 20_000
    found = np.asarray(picture_of(tag["src"])).astype(float)
    assert found.shape == (171, 256, 3)
    rows, columns = (np.arange(171) + 0.5) / 171 * 600 - 0.5, (np.arange(256) + 0.5) / 256 * 900 - 0.5
    expected = np.stack(np.broadcast_arrays(255 * columns / 900, 255 * rows[:, None] / 600, 128.0), axis=-1)
    assert np.abs(found - expected).mean() < 2


def test_a_tile_says_right_or_wrong_in_words():
    image = np.zeros((4, 4, 1), dtype=np.uint8)
    tiles = [Tile(image, "a", good=True), Tile(image, "b", good=False), Tile(image, "c")]
    marks = [tag["aria-label"] for tag in Reader(render(page_of(Pictures(tiles, "")))).all("span")]
    assert marks == ["right", "wrong"]


@pytest.mark.parametrize("image", [np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 2), np.uint8)])
def test_a_tile_of_another_shape_is_refused(image: np.ndarray):
    with pytest.raises(ValueError, match=r"must be uint8 \[H, W, 1 or 3\] but got"):
        Tile(image, "a")


def test_a_table_keeps_values_and_order():
    rows = [("b", 12, 97.5), ("a", 3, math.nan), ("c", np.int64(7), np.float64(0.00123))]
    reader = Reader(render(page_of(Table(("class", "images", "recall"), rows))))
    assert reader.text("button") == ["class", "images", "recall"]
    assert reader.text("td") == ["b", "12", "97.50", "a", "3", "–", "c", "7", "0.0012"]
    assert [cell.get("data-value") for cell in reader.all("td")] == [
        *(None, "12", "97.5"),
        *(None, "3", "nan"),
        *(None, "7", "0.00123"),
    ]
    assert [head.get("class") for head in reader.all("th")] == [None, "number", "number"]


def test_a_table_with_a_short_row_is_refused():
    with pytest.raises(ValueError, match="row 1 of the table must have 2 cells but has 1"):
        Table(("a", "b"), [(1, 2), (3,)])


@pytest.mark.parametrize(
    ("cell", "text"),
    [(3, "3"), (-0.5, "−0.50"), (0.0, "0.00"), (1234.5, "1234.50"), (math.inf, "∞"), ("x", "x"), (True, "True")],
)
def test_cells_are_written_for_people(cell, text: str):
    assert shown(cell) == text


def test_a_name_that_is_not_unicode_can_be_written():
    html = render(page_of(Listing(["bad\udcff.jpg"])))
    assert "bad?.jpg" in html.encode("utf-8").decode("utf-8")


def texts_of(svg: str) -> list[str]:
    return Reader(svg).text("text")


def test_confusion_shows_every_count_in_its_row():
    matrix = np.array([[101, 12, 0], [5, 202, 17], [0, 33, 303]])
    texts = texts_of(plots.confusion(matrix, ("ants", "bees", "wasps")))
    assert [int(text) for text in texts if text.isdigit()] == matrix.ravel().tolist()
    assert [text for text in texts if text.isalpha()] == [
        *("ants", "bees", "wasps", "prediction"),
        *("ants", "bees", "wasps", "truth"),
    ]


def test_confusion_colours_are_shares_of_the_row():
    matrix = np.array([[10, 30], [0, 5]])
    (image,) = Reader(plots.confusion(matrix, ("a", "b"))).all("image")
    cells = np.asarray(picture_of(image["href"])).astype(int)
    assert cells.shape == (2, 2, 4)
    assert cells[0, 0, :3].tolist() == cells[1, 1, :3].tolist() == [0x00, 0x72, 0xB2]
    assert cells[0, 1, :3].tolist() == [0xD5, 0x5E, 0x00]
    assert cells[1, 0, 3] == 0 < cells[0, 0, 3] < cells[0, 1, 3] < cells[1, 1, 3]


def test_confusion_of_many_classes_has_no_numbers_and_few_names():
    texts = texts_of(plots.confusion(np.eye(120, dtype=np.int64), tuple(f"class {k}" for k in range(120))))
    expected = [f"class {k}" for k in range(0, 120, 6)]
    assert texts == [*expected, "prediction", *expected, "truth"]


def test_names_of_any_script_and_length_are_written_without_a_warning():
    long = "abcdefghijklmnopqrstuvwxyz"
    names = ("蚂蚁", "النحلة", "пчела", "🐝", "$x^2$ #010203", long)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        svg = plots.confusion(np.eye(6, dtype=np.int64), names)
    assert caught == []
    texts = texts_of(svg)
    assert all(texts.count(name) == 2 for name in names[:-1])
    assert texts.count("abcdefghijklmnopq…") == 2
    assert Reader(svg).text("title") == [long, long]


def test_confusion_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"matrix must be \[3, 3\] but got shape \[2, 2\]"):
        plots.confusion(np.eye(2, dtype=np.int64), ("a", "b", "c"))


def panels_of(svg: str) -> list[str]:
    return re.findall(r"<svg.*?</svg>", svg, flags=re.DOTALL)


def labels_of(svg: str) -> list[str]:
    return [plot["aria-label"] for plot in Reader(svg).all("svg")]


def points_of(svg: str, colour: str) -> list[tuple[float, float]]:
    """Where the lines of a colour go, (x, y) in points."""
    drawn = re.findall(
        rf'<path d="([^"]*)" clip-path="[^"]*" style="fill: none; stroke: {colour}; stroke-width: 1.8', svg
    )
    return [(float(x), float(y)) for path in drawn for x, y in re.findall(r"[ML] ([\d.]+) ([\d.]+)", path)]


def test_curves_go_where_the_numbers_go():
    loss, error, rate = panels_of(plots.curves(LINES))
    for svg, colour, values in [
        (loss, plots.BLUE, [2.25, 1.0, 0.5]),
        (error, plots.VERMILION, [60.0, 25.0, 12.5]),
        (rate, "currentColor", [0.1, 0.05, 0.0]),
    ]:
        (x0, y0), (x1, y1), (x2, y2) = points_of(svg, colour)
        assert x1 - x0 == pytest.approx(x2 - x1, abs=1e-3)
        assert (y1 - y0) / (y2 - y1) == pytest.approx((values[1] - values[0]) / (values[2] - values[1]), abs=1e-3)
        assert y1 > y0
    assert {"training", "validation", "epoch", "1", "2", "3"} <= set(texts_of(loss))


def test_curves_of_one_epoch_have_points():
    svg = plots.curves(LINES[:1])
    assert labels_of(svg) == ["Loss by epoch", "Validation error, % by epoch", "Learning rate by epoch"]
    markers = [tag for tag in Reader(svg).all("use") if plots.BLUE in tag["style"]]
    assert len(markers) == 2  # one on the curve, one in the legend
    for panel in panels_of(svg):
        assert texts_of(panel)[:2] == ["1", "epoch"]


def test_curves_without_validation_have_no_panel_of_errors():
    lines = [{"epoch": e, "learning_rate": 0.0, "train/loss": math.nan if e == 1 else 1.0} for e in range(40)]
    svg = plots.curves(lines)
    assert labels_of(svg) == ["Loss by epoch", "Learning rate by epoch"]
    assert len(points_of(panels_of(svg)[0], plots.BLUE)) == 39


def test_curves_of_nothing_are_refused():
    with pytest.raises(ValueError, match="at least one line"):
        plots.curves([])


def test_calibration_draws_a_point_for_each_full_bin():
    svg = plots.calibration(BINS)
    drawn = [(float(use["x"]), float(use["y"])) for use in Reader(svg).all("use") if plots.BLUE in use["style"]]
    assert len(drawn) == 4  # and one in the legend
    xs, ys = zip(*drawn[:3], strict=True)
    assert (xs[1] - xs[0]) / (xs[2] - xs[1]) == pytest.approx((0.9 - 0.83) / (0.99 - 0.9), abs=1e-3)
    assert (ys[1] - ys[0]) / (ys[2] - ys[1]) == pytest.approx((1.0 - 0.5) / (0.97 - 1.0), abs=1e-3)


def test_calibration_of_nothing_is_empty():
    assert "images" in texts_of(plots.calibration([(0, 0.0, 0.0)] * 15))


def test_the_same_input_gives_the_same_bytes():
    assert render(full_page()) == render(full_page())


def test_plots_leave_matplotlib_as_it_was():
    import matplotlib

    before = dict(matplotlib.rcParams)
    plots.curves(LINES)
    assert dict(matplotlib.rcParams) == before
