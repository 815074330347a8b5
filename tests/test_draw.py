"""What is drawn is where it belongs, can be told apart, and can be read; and the contact sheet shows all of it."""

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from saccade.cli.main import app
from saccade.data.label_maps import LabelMaps
from saccade.data.objects import Objects, PackedMasks
from saccade.data.source import Source, Split, read
from saccade.errors import UsageError
from saccade.geometry.masks import Polygon, bitmap, polygon_from_bitmap, runs_from_bitmap
from saccade.recipes.contact_sheet import choose, make_contact_sheet
from saccade.report import lettering, palette
from saccade.report.draw import FILL, PAINT, draw, enlargement
from saccade.structures import VOID, Instances, LabelMap, Skeleton

NAMES = ("ant", "bee", "wasp")
SKELETON = Skeleton(("one", "two", "three"), ((0, 1), (1, 2)), (0, 2, 1), (0.1, 0.1, 0.1))


def things(size: tuple[int, int], boxes: list[list[float]], labels: list[int], **more) -> Instances:
    return Instances(size, np.array(boxes, dtype=float).reshape(-1, 4), np.array(labels, dtype=np.int64), **more)


def grey(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 90, dtype=np.uint8)


def is_colour(picture: np.ndarray, colour: tuple[int, int, int], tolerance: int = 12) -> np.ndarray:
    return (np.abs(picture.astype(int) - colour) <= tolerance).all(axis=-1)


# --- colours


def lab(colours: np.ndarray) -> np.ndarray:
    """CIELAB (D65) of linear sRGB, by the CIE's formulas: another space than the palette is made in."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = ((colours @ to_xyz.T) / (0.9505, 1.0, 1.089)).T
    f = [np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29) for t in (x, y, z)]
    return np.stack([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])], axis=1)


# Machado, Oliveira and Fernandes (2009), severity 1.
SIGHT = {
    "full": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize(("count", "least"), [(8, 10), (16, 9), (32, 4)])
def test_colours_stay_apart_for_every_kind_of_sight(sight: str, count: int, least: float) -> None:
    """A difference of 2.3 is just noticed."""
    colours = np.array([palette.colour(k) for k in range(count)]) / 255
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    seen = lab((linear @ np.array(SIGHT[sight]).T).clip(0, 1))
    apart = np.linalg.norm(seen[:, None] - seen, axis=2)[np.triu_indices(count, 1)]
    assert apart.min() > least


def test_the_first_colours_are_those_of_okabe_and_ito() -> None:
    published = {"#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#000000"}
    first = {"#" + bytes(palette.colour(k)).hex().upper() for k in range(8)}
    assert first == published


def test_colours_do_not_run_out() -> None:
    colours = [palette.colour(k) for k in range(200)]
    assert len(set(colours)) == 200
    assert palette.colour(100_000) in {palette.colour(k) for k in range(1000)}


def test_contrast_is_that_of_wcag() -> None:
    """Known values: the extremes, and the greys just above and below the limit of 4.5 on white."""
    assert palette.contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert palette.contrast((40, 90, 7), (40, 90, 7)) == 1
    assert palette.contrast((0x76,) * 3, (255, 255, 255)) == pytest.approx(4.54, abs=0.005)
    assert palette.contrast((255, 255, 255), (0x77,) * 3) == pytest.approx(4.48, abs=0.005)
    assert palette.contrast((255, 0, 0), (255, 255, 255)) == pytest.approx(4.00, abs=0.005)


@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_text_can_be_read_on_any_colour(ground: tuple[int, int, int]) -> None:
    assert palette.contrast(palette.text_colour(ground), ground) >= 4.5


# --- words


def plate(text: str, spare: str = "#7", widest: int = 400, size: int = 16) -> np.ndarray:
    tag = lettering.plate(text, spare, (0, 114, 178), size, widest)
    assert tag is not None
    return tag


def test_plates_show_words_in_many_scripts() -> None:
    """Different words look different, also of letters that the first font lacks; without any font, the spare stands."""
    words = ["ant", "ant 87 %", "цветок", "дерево", "Blüte", "Blute", "λουλούδι", "très"]
    assert len({plate(word).tobytes() for word in words}) == len(words)
    assert plate("花").tobytes() == plate("#7").tobytes()
    assert plate("").tobytes() == plate("#7").tobytes()
    assert plate("two\nlines").tobytes() == plate("two lines").tobytes()


def test_letters_of_a_plate_have_contrast() -> None:
    tag = plate("mmmm", size=30)
    assert is_colour(tag, (0, 114, 178), 0).mean() > 0.3
    assert is_colour(tag, palette.text_colour((0, 114, 178)), 0).mean() > 0.05


@given(st.text(max_size=60), st.integers(1, 300), st.integers(8, 40))
@settings(max_examples=60, deadline=None)
def test_plates_are_never_wider_than_they_may(text: str, widest: int, size: int) -> None:
    tag = lettering.plate(text, "#1", (0, 0, 0), size, widest)
    assert tag is None or (tag.shape[1] <= widest and tag.dtype == np.uint8)


def test_long_words_are_cut_with_dots() -> None:
    long = plate("a very long name of a class indeed", widest=120)
    assert long.shape[1] <= 120
    assert plate("a very long name of another class", widest=120).tobytes() == long.tobytes()
    assert plate("a very").shape[1] < long.shape[1]
    # The dots stand at the foot of the line: at the right end nothing is higher.
    ink = is_colour(long, (255, 255, 255), 60)[:, -14:]
    assert ink.any()
    assert np.flatnonzero(ink.any(axis=1)).min() > long.shape[0] // 2


@given(
    st.integers(5, 80), st.integers(5, 80), st.lists(st.tuples(*[st.integers(-50, 120)] * 2), min_size=1, max_size=4)
)
def test_plates_lie_inside_the_image_on_the_freest_place(height: int, width: int, corners) -> None:
    image, tag = np.zeros((60, 70, 3), dtype=np.uint8), np.full((height, width, 3), 200, dtype=np.uint8)
    taken = [(0, 0, 40, 60)]
    lettering.place(image, tag, corners, taken)
    if height > 60 or width > 70:
        assert not image.any()
        return
    left, top, right, bottom = taken[-1]
    assert (image[top:bottom, left:right] == 200).all()
    assert np.count_nonzero(image) == 3 * height * width
    lefts = [min(max(0, x), 70 - width) for x, _ in corners]
    assert max(0, min(right, 40) - left) == min(max(0, min(x + width, 40) - x) for x in lefts)


# --- things


def test_a_box_is_drawn_where_it_is() -> None:
    image = grey(400, 400)
    picture = draw(image, things((400, 400), [[100, 120, 300, 260]], [1]), NAMES)
    assert picture.shape == (400, 400, 3)
    assert (image == 90).all(), "the image itself stays as it is"
    blue = is_colour(picture, palette.colour(1))
    for y, x in ((200, 100), (200, 300), (260, 200)):
        assert blue[y - 1 : y + 1, x - 1 : x + 1].any()
    assert blue[120, 250:280].all()
    changed = np.argwhere((picture != 90).any(axis=2))
    assert (changed.min(axis=0) >= (95, 95)).all()
    assert (changed.max(axis=0) <= (264, 304)).all()
    assert (picture[145:255, 105:295] == 90).all(), "nothing inside, below the name"


def test_a_mask_is_blended_and_outlined() -> None:
    covered = np.zeros((400, 400), dtype=bool)
    covered[100:200, 50:150] = True
    covered[140:160, 80:100] = False
    for mask in (runs_from_bitmap(covered), Polygon((np.array([[50, 100], [150, 100], [150, 200], [50, 200.0]]),))):
        picture = draw(grey(400, 400), things((400, 400), [[50, 100, 150, 200]], [0], masks=(mask,)), NAMES)
        expected = np.rint((1 - FILL) * 90 + FILL * np.array(palette.colour(0)))
        assert (picture[170:190, 60:140] == expected).all()
        hole = picture[146:154, 86:94]
        assert (hole == (90 if not isinstance(mask, Polygon) else expected)).all()
        assert (picture[:90, 200:] == 90).all()
        outline = is_colour(picture, palette.colour(0))
        assert outline[150, 78:82].any() == (not isinstance(mask, Polygon)), "the hole has an outline too"


def share_drawn(picture: np.ndarray, colour: tuple[int, int, int]) -> float:
    """How much of a box's upper edge has the colour; the box is [40, 200, 360, 360] of 400."""
    return float(is_colour(picture, colour, 60)[200, 100:350].mean())


def test_patterns_tell_what_is_not_plain_truth() -> None:
    box, size, ink = [[40, 200, 360, 360]], (400, 400), palette.colour(1)
    yes, no = np.array([True]), np.array([False])
    plain = draw(grey(*size), things(size, box, [1], crowd=no, difficult=no), NAMES)
    dashed = draw(grey(*size), things(size, box, [1]), NAMES, dashed=True)
    dotted = draw(grey(*size), things(size, box, [1], difficult=yes), NAMES)
    hatched = draw(grey(*size), things(size, box, [1], crowd=yes), NAMES)
    assert share_drawn(plain, ink) == 1
    assert 0.45 < share_drawn(dashed, ink) < 0.75
    assert 0.2 < share_drawn(dotted, ink) < 0.65
    edge = is_colour(dotted, ink, 60)[200, 100:350]
    assert np.count_nonzero(np.diff(edge.astype(int)) == 1) > 25, "dots are many"
    inside = (hatched[250:330, 60:340] != 90).any(axis=2)
    assert 0.3 < inside.mean() < 0.5
    assert not (plain[250:330, 60:340] != 90).any()


def test_scores_are_shown_in_percent() -> None:
    size, box = (400, 400), [[100, 120, 300, 260]]
    truth = draw(grey(*size), things(size, box, [2]), NAMES)
    sure = draw(grey(*size), things(size, box, [2], scores=np.array([0.874])), NAMES)
    tag = lettering.plate("wasp 87 %", "", palette.colour(2), round(400 / 28), 400)
    assert tag is not None
    found = np.lib.stride_tricks.sliding_window_view(sure, tag.shape)[:, :, 0]
    assert (found == tag).all(axis=(2, 3, 4)).sum() == 1
    assert (truth != sure).any()


def test_keypoints_are_filled_hollow_or_absent() -> None:
    size, ink = (400, 400), palette.colour(0)
    points = np.array([[[100, 100, 2], [300, 100, 1], [200, 300, 0]]], dtype=np.float32)
    picture = draw(grey(*size), things(size, [[60, 60, 340, 340]], [0], keypoints=points), NAMES, SKELETON)
    assert is_colour(picture[99:101, 99:101], ink).all(), "seen: filled"
    assert is_colour(picture[99:101, 299:301], palette.text_colour(ink)).all(), "hidden: hollow"
    assert is_colour(picture, ink)[95:106, 290:310].any()
    assert (picture[290:310, 190:210] == 90).all(), "not marked: nothing"
    assert is_colour(picture, ink)[100, 150:250].all(), "the two are joined"
    assert (picture[150:250, 200:300] == 90).all(), "the edge to what is not marked is not drawn"
    unjoined = draw(grey(*size), things(size, [[60, 60, 340, 340]], [0], keypoints=points), NAMES)
    assert not is_colour(unjoined, ink)[100, 150:250].any()


def test_things_of_one_class_differ_in_colour() -> None:
    size, boxes = (400, 400), [[20, 60, 150, 180], [220, 60, 350, 180]]
    one = draw(grey(*size), things(size, boxes, [0, 0]), ("person",))
    assert is_colour(one[120, 18:23], palette.colour(0)).any()
    assert is_colour(one[120, 218:223], palette.colour(1)).any()
    several = draw(grey(*size), things(size, boxes, [0, 0]), NAMES)
    assert is_colour(several[120, 218:223], palette.colour(0)).any()


@given(
    st.integers(1, 90),
    st.integers(1, 700),
    st.lists(st.tuples(*[st.floats(-1e300, 1e300) | st.floats(-20, 120)] * 4), max_size=5),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_nothing_is_too_small_or_too_far_away(height: int, width: int, boxes, dashed: bool) -> None:
    """Any image and any box give a picture of the promised size."""
    instances = things((height, width), [list(box) for box in boxes], [n % 3 for n in range(len(boxes))])
    picture = draw(grey(height, width), instances, NAMES, dashed=dashed)
    factor = enlargement((height, width))
    assert picture.shape == (factor * height, factor * width, 3)
    assert max(picture.shape[:2]) >= 320
    assert min(picture.shape[:2]) >= 40


def test_small_images_are_enlarged_by_a_whole_factor() -> None:
    image = np.random.default_rng(0).integers(0, 256, (28, 28, 3), dtype=np.uint8)
    picture = draw(image, things((28, 28), [], []), NAMES)
    assert picture.shape == (336, 336, 3)
    assert (picture == np.kron(image, np.ones((12, 12, 1), dtype=np.uint8))).all()
    assert [enlargement(size) for size in ((319, 200), (320, 200), (4000, 39), (4000, 40))] == [2, 1, 2, 1]


def test_lines_and_letters_grow_with_the_image() -> None:
    thickness, heights = [], []
    for side in (400, 1600):
        box = [[0.2 * side, 0.2 * side, 0.8 * side, 0.8 * side]]
        picture = draw(grey(side, side), things((side, side), box, [1]), NAMES)
        blue = is_colour(picture, palette.colour(1), 40)
        thickness.append(np.count_nonzero(blue[side // 2, : side // 2]))
        heights.append(np.count_nonzero(blue[: int(0.19 * side), int(0.2 * side)]))
    assert 3 < thickness[1] / thickness[0] < 5
    assert 3 < heights[1] / heights[0] < 5


# --- label maps


def test_label_maps_are_blended_and_listed() -> None:
    labels = np.zeros((400, 400), dtype=np.uint8)
    labels[100:200], labels[200:300], labels[300:] = 1, 3, VOID
    classes = ("background", *NAMES)
    picture = draw(grey(400, 400), LabelMap(labels, classes), classes)
    assert (picture[:100] == 90).all(), "the background is left clear"
    for rows, colour in ((slice(100, 200), palette.colour(0)), (slice(200, 300), palette.colour(2))):
        assert (picture[rows] == np.rint((1 - PAINT) * 90 + PAINT * np.array(colour))).all()
    hatched = (picture[300:400] != 90).any(axis=2)
    assert 0.3 < hatched.mean() < 0.5
    assert np.ptp(picture[300:400].astype(int), axis=2).max() == 0, "grey"
    legend = picture[400:]
    assert legend.shape[0] > 15
    for present, colour in ((True, palette.colour(0)), (False, palette.colour(1)), (True, palette.colour(2))):
        assert is_colour(legend, colour, 2).any() == present
    assert is_colour(legend, palette.GREY, 2).any()


def test_a_first_class_that_is_no_background_is_painted() -> None:
    picture = draw(grey(400, 400), LabelMap(np.zeros((400, 400), np.uint8), ("sky",)), ("sky",))
    assert (picture[:400] != 90).any(axis=2).all()


def test_long_legends_take_several_rows_and_empty_ones_none() -> None:
    classes = tuple(f"a class with the number {k}" for k in range(12))
    labels = np.repeat(np.arange(12, dtype=np.uint8), 40)[:, None].repeat(360, axis=1)
    picture = draw(grey(480, 360), LabelMap(labels, classes), classes)
    assert picture.shape[1] == 360
    assert picture.shape[0] > 480 + 6 * 15
    assert all(is_colour(picture[480:], palette.colour(k), 2).any() for k in range(12))
    empty = draw(grey(400, 400), LabelMap(np.zeros((400, 400), np.uint8), ("background",)), ("background",))
    assert (empty == 90).all()
    assert empty.shape == (400, 400, 3)


# --- what is refused


@pytest.mark.parametrize(
    ("image", "shown", "reason"),
    [
        (np.zeros((9, 9, 3)), things((9, 9), [], []), r"uint8 \[H, W, 3\] but got float64 \[9, 9, 3\]"),
        (np.zeros((9, 9), np.uint8), things((9, 9), [], []), r"but got uint8 \[9, 9\]"),
        (np.zeros((0, 9, 3), np.uint8), things((0, 9), [], []), r"but got uint8 \[0, 9, 3\]"),
        (grey(9, 8), things((8, 9), [], []), r"\(9, 8\) got what was marked on one of \(8, 9\)"),
        (grey(9, 8), LabelMap(np.zeros((8, 9), np.uint8), NAMES), r"\(9, 8\) got .* \(8, 9\)"),
        (grey(9, 9), things((9, 9), [[1, 1, 2, 2]], [3]), "3 classes but labels from 3 to 3"),
        (grey(9, 9), LabelMap(np.full((9, 9), 7, np.uint8), NAMES), "3 classes but labels from 7 to 7"),
        (grey(9, 9), things((9, 9), [[1, 1, np.nan, 2]], [0]), "must be finite to be drawn but got nan"),
    ],
)
def test_what_does_not_fit_is_refused(image: np.ndarray, shown: Instances | LabelMap, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        draw(image, shown, NAMES)


# --- the contact sheet


@pytest.fixture(scope="module")
def scenes() -> Source:
    return read("scenes-64")


def test_the_choice_has_every_class_and_images_without_any(scenes: Source) -> None:
    split = scenes.splits["test"]
    assert split.objects is not None
    bare = split.objects.only(split.objects.images % 10 != 0)  # every tenth image has nothing on it now
    emptied = Split(split.images, split.ids, objects=bare)
    chosen = choose(emptied, scenes, 11, None, "test")
    assert len(chosen) == len(set(chosen)) == 11
    assert chosen == sorted(chosen) == choose(emptied, scenes, 11, None, "test")
    assert chosen != choose(emptied, scenes, 11, None, "train")
    on = [set(bare.labels[bare.starts[i] : bare.starts[i + 1]].tolist()) for i in chosen]
    assert set().union(*on) == set(range(10))
    assert set() in on
    assert choose(emptied, scenes, 10_000, None, "test") == list(range(500))


def test_the_choice_is_even_over_classes() -> None:
    digits = read("digits")
    split = digits.splits["all"]
    assert split.labels is not None
    assert np.bincount(split.labels[choose(split, digits, 30, None, "all")]).tolist() == [3] * 10
    only = choose(split, digits, 5, "7", "all")
    assert split.labels[only].tolist() == [7] * 5
    with pytest.raises(UsageError, match="There is no class '77'; did you mean '7'"):
        choose(split, digits, 5, "77", "all")


def test_the_choice_among_label_maps() -> None:
    maps = [np.full((8, 8), k % 3, dtype=np.uint8) for k in range(12)]
    known = LabelMaps(maps, ("road", "sky", "tree"), {0: 0, 1: 1, 2: 2})
    split = Split(np.zeros((12, 8, 8, 3), np.uint8), [str(k) for k in range(12)], label_maps=known)
    source = Source("maps", "test", known.classes, {"all": split})
    assert choose(split, source, 9, "sky", "all") == [1, 4, 7, 10]
    assert len(choose(split, source, 2, "sky", "all")) == 2
    assert len(choose(split, source, 5, None, "all")) == 5


def embedded(page: str) -> list[str]:
    return re.findall(r'<img src="(data:[^"]+)"', page)


def test_a_page_shows_things_and_label_maps(tmp_path: Path) -> None:
    sheet = make_contact_sheet("scenes-64", tmp_path / "sheet.html", count=4)
    page = (tmp_path / "sheet.html").read_text()
    assert len(embedded(page)) == 8
    assert "pixel by pixel" in page
    assert [one.split for one in sheet.shown] == ["train"] * 2 + ["test"] * 2
    for one in sheet.shown:
        assert one.id in page
        assert one.title in page
        things, labels = one.pictures
        assert things.shape == (320, 320, 3)
        assert labels.shape[0] > 320
    assert not re.search(r'(src|href)="(?!data:|#)', page)


def test_a_picture_shows_the_same(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["show", "digits", "--out", str(tmp_path / "s.png"), "--count", "9", "--class", "3", "--json"]
    )
    assert result.exit_code == 0, result.output
    told = json.loads(result.output)
    assert told["data"] == "digits"
    assert [image["classes"] for image in told["images"]] == [{"3": 1}] * 9
    picture = np.asarray(Image.open(tmp_path / "s.png"))
    assert picture.shape[1] == 3 * 480
    first = read("digits").splits["all"].images[int(told["images"][0]["id"].removeprefix("digit "))]
    tile = picture[15 : 15 + 450, 15 : 15 + 450, 0]
    assert isinstance(first, np.ndarray)
    assert (tile[28::57, 28::57] == first).all(), "every pixel a square, the first tile in the corner"


def test_class_folders_and_broken_images(class_folders, tmp_path: Path) -> None:
    """A broken image does not stop the others; it is named on the page and on the terminal."""
    root = class_folders(
        tmp_path / "photos", {"train/cats": 3, "train/dogs": 3, "val/cats": 2, "val/dogs": 2}, (90, 120)
    )
    (root / "train" / "dogs" / "1.png").write_bytes(b"no picture")
    result = CliRunner().invoke(app, ["show", str(root), "--out", str(tmp_path / "sheet.html"), "--count", "20"])
    assert result.exit_code == 0, result.output
    assert "10 images drawn into" in result.output
    assert re.search(r"train/.*dogs/1.png: cannot be read: ", result.output)
    page = (tmp_path / "sheet.html").read_text()
    assert len(embedded(page)) == 10
    assert page.count("cannot be read") == 1


def test_marks_of_another_size_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = read("scenes-64").splits["test"].objects
    assert objects is not None
    split = Split(np.zeros((500, 32, 48, 3), np.uint8), [str(k) for k in range(500)], objects=objects)
    source = Source("odd", "test", tuple("0123456789"), {"all": split})
    monkeypatch.setattr("saccade.recipes.contact_sheet.read", lambda *_: source)
    sheet = make_contact_sheet("odd", tmp_path / "sheet.png", count=2)
    assert [one.problem for one in sheet.shown] == [
        "marked on an image of 64 x 64 pixels (height x width), not (32, 48)"
    ] * 2


def test_large_images_are_drawn_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Boxes, masks and keypoints move with the image."""
    one = read("scenes").splits["test"].take([3])
    objects, image = one.objects, one.images[0]
    assert objects is not None
    assert isinstance(image, np.ndarray)
    large = image.repeat(4, axis=0).repeat(4, axis=1)
    scaled = enlarged_objects(objects, 4)
    split = Split(large[None], ["0"], objects=scaled)
    source = Source("large", "test", tuple("0123456789"), {"all": split})
    monkeypatch.setattr("saccade.recipes.contact_sheet.read", lambda *_: source)
    shown = make_contact_sheet("large", tmp_path / "sheet.png", count=1).shown[0].pictures[0]
    monkeypatch.undo()
    expected = draw(image, objects[0], source.classes, objects.skeleton)
    assert shown.shape == expected.shape == (512, 512, 3)
    assert (np.abs(shown.astype(int) - expected).max(axis=2) > 3).mean() < 0.004


def enlarged_objects(objects: Objects, factor: int) -> Objects:
    """The same objects on an image so many times as large, their masks as polygons around the runs."""
    instances = objects[0]
    masks = [polygon_from_bitmap(bitmap(mask, instances.size)) for mask in instances.masks or () if mask]
    assert objects.keypoints is not None
    points = objects.keypoints.copy()
    points[..., :2] *= factor
    return replace(
        objects,
        sizes=objects.sizes * factor,
        boxes=objects.boxes * factor,
        areas=objects.areas * factor**2,
        masks=PackedMasks.pack([Polygon(tuple(ring * factor for ring in mask.rings)) for mask in masks]),
        keypoints=points,
    )


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["digits", "--out", "sheet.pdf"], ".html or .png, but --out is sheet.pdf"),
        (["digits", "--count", "0"], "1 image or more but --count is 0"),
        (["digits", "--split", "tset"], "There is no split 'tset'"),
        (["digits", "--class", "ten"], "There is no class 'ten'"),
        (["digitz"], "did you mean 'digits'"),
    ],
)
def test_wrong_use_is_explained(arguments: list[str], reason: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["show", *arguments])
    assert isinstance(result.exception, UsageError)
    assert reason in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_sheets_do_not_depend_on_the_moment(tmp_path: Path) -> None:
    """The same bytes twice."""
    for name in ("one.png", "two.png"):
        make_contact_sheet("scenes-64", tmp_path / name, count=3, split="test")
    one, two = ((tmp_path / name).read_bytes() for name in ("one.png", "two.png"))
    assert one == two
    assert Image.open(io.BytesIO(one)).size[0] == 4 * 480
