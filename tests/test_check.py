"""`saccade check`: finds what is wrong, is silent on what is not, and repairs what can be repaired."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sets import HEIGHT, WIDTH, everything

from saccade.data.check import check
from saccade.data.decode import _upright
from saccade.data.findings import DataError
from saccade.data.label_maps import LabelMaps
from saccade.data.near_copies import fingerprint, near_copies
from saccade.data.objects import PackedMasks
from saccade.data.repair import QUARTER, repair
from saccade.data.source import Source, Split, read
from saccade.errors import UsageError
from saccade.geometry.masks import Polygon, bitmap
from saccade.geometry.outlines import clipped
from saccade.recipes.check import check as run_check
from saccade.structures import VOID


def changed(source: Source, name: str, **fields: object) -> Source:
    """The set with other columns of the objects of one split."""
    split = source.splits[name]
    assert split.objects is not None
    return source.with_splits(source.splits | {name: replace(split, objects=replace(split.objects, **fields))})


def without_maps(source: Source) -> Source:
    return source.with_splits({name: replace(split, label_maps=None) for name, split in source.splits.items()})


def test_nothing_is_wrong_with_a_clean_set(tmp_path: Path) -> None:
    checked = check(everything(tmp_path))
    assert checked.findings == []
    assert checked.unit == "objects"
    assert {name: row.tolist() for name, row in checked.counts.items()} == {"train": [3, 3, 3], "val": [3, 3, 3]}
    assert checked.notes == ["1 of 4 images of train have no object", "1 of 4 images of val have no object"]
    repaired, changes = repair(checked)
    assert changes == []
    assert [len(split) for split in repaired.splits.values()] == [4, 4]


def test_wrong_objects_are_found_named_and_repaired(tmp_path: Path) -> None:
    clean = everything(tmp_path)
    objects = clean.splits["train"].objects
    assert objects is not None
    boxes = objects.boxes.copy()
    boxes[0] = [5, 5, 5, 9]  # nothing
    boxes[3] = [100, 100, 110, 110]  # elsewhere
    boxes[4] = [-10, 10, 30, 99]  # too large
    boxes[8], labels = boxes[7], objects.labels.copy()
    labels[8] = labels[7]  # twice
    boxes[6] = boxes[6][[2, 3, 0, 1]]  # from the far corner to the near one
    checked = check(changed(clean, "train", boxes=boxes, labels=labels))
    # The box that is too large is where its keypoints are not, and so on: only what is named must be there.
    found = {finding.kind: finding for finding in checked.findings}
    assert set(found) == {
        "degenerate box",
        "swapped corners",
        "box outside the image",
        "box beyond the edge",
        "duplicate",
    }
    assert found["degenerate box"].where == "made up: object 1 (0.png)"
    assert "60 wide, 40 high" in found["box outside the image"].reason
    repaired, changes = repair(checked)
    assert [change.change for change in changes] == [
        "left out",
        "its corners put in order",
        "left out",
        "clipped to the image",
        "left out",
    ]
    mended = repaired.splits["train"].objects
    assert mended is not None
    assert mended.ids.tolist() == [2, 3, 5, 6, 7, 8]
    assert mended.boxes[2].tolist() == [0, 10, 30, HEIGHT]
    assert mended.boxes[4].tolist() == objects.boxes[6].tolist()
    assert check(repaired).findings == []


def test_what_is_clipped_is_clipped_as_a_whole(tmp_path: Path) -> None:
    """Box and polygon, and the area that was stated of the larger one goes; by hand, a triangle cut by the edge."""
    clean = everything(tmp_path, images=2)
    objects = clean.splits["train"].objects
    assert objects is not None
    ring = np.array([[WIDTH - 10, 0], [WIDTH + 10, 10], [WIDTH - 10, 20]], dtype=np.float32)
    masks = PackedMasks.pack([Polygon((ring,)), None, None])
    boxes, areas = objects.boxes.copy(), np.array([200.0, 7.0, 8.0])
    boxes[0] = [WIDTH - 10, 0, WIDTH + 10, 20]
    changes = {"boxes": boxes, "masks": masks, "areas": areas, "keypoints": None, "skeleton": None}
    repaired, done = repair(check(changed(clean, "train", **changes)))
    assert [change.change for change in done] == ["clipped to the image"]
    mended = repaired.splits["train"].objects
    assert mended is not None
    assert mended.boxes[0].tolist() == [WIDTH - 10, 0, WIDTH, 20]
    assert np.isnan(mended.areas[0])
    assert mended.areas[1:].tolist() == [7.0, 8.0]
    assert mended.masks is not None
    mask = mended.masks.get(0, (HEIGHT, WIDTH))
    assert isinstance(mask, Polygon)
    corners = [[WIDTH - 10, 0], [WIDTH, 5], [WIDTH, 15], [WIDTH - 10, 20]]
    assert sorted(mask.rings[0].tolist()) == sorted(map(list, corners))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(-8, 20), st.integers(-8, 20)), min_size=3, max_size=6))
def test_a_clipped_polygon_covers_the_same_pixels(points: list[tuple[int, int]]) -> None:
    ring, size = np.array(points, dtype=np.float64), (10, 12)
    canvas = np.array(ring) + 8  # the same polygon on a larger image, none of it outside
    whole = bitmap(Polygon((canvas.astype(np.float32),)), (40, 40))[8:18, 8:20]
    cut = clipped(ring, size)
    if len(cut) < 3:
        assert whole.sum() == 0
    else:
        assert cut.min() >= 0
        assert (cut <= [12, 10]).all()
        # Crossings fall between pixels, where rasters may differ by the pixels that the edge runs through.
        covered = bitmap(Polygon((cut.astype(np.float32),)), size)
        assert (covered != whole).sum() <= 12


def test_void_that_was_meant_as_a_class(tmp_path: Path) -> None:
    """Masks of 0 and 255, and a list of two names."""
    for name in "ab":
        for folder in ("images", "masks"):
            (tmp_path / folder).mkdir(exist_ok=True)
            pixels = np.random.default_rng(ord(name)).integers(0, 256, (20, 30), dtype=np.uint8)
            pixels = pixels if folder == "images" else np.where(pixels > 99, 255, 0).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / folder / f"{name}.png")
    (tmp_path / "classes.txt").write_text("ground\ncell\n")
    (finding,) = check(read(tmp_path)).findings
    assert finding.kind == "void in place of a class"
    assert "no pixel is cell, but 6" in finding.reason
    assert "'255 cell'" in finding.advice
    (tmp_path / "classes.txt").write_text("0 ground\n255 cell\n")
    assert check(read(tmp_path)).findings == []
    # As numpy's True and False are saved: 1 is the second class.
    (tmp_path / "classes.txt").write_text("ground\ncell\n")
    for name in "ab":
        mask = np.asarray(Image.open(tmp_path / "masks" / f"{name}.png")) > 0
        Image.fromarray(mask).save(tmp_path / "masks" / f"{name}.png")
    checked = check(read(tmp_path))
    assert checked.findings == []
    assert (checked.counts["all"] > 0).all()


def test_a_broken_image_is_told_of_once(tmp_path: Path, paint: Callable[..., Path]) -> None:
    paint(tmp_path / "set" / "images" / "a.png", 1)
    (tmp_path / "set" / "images" / "b.png").write_bytes(b"no image")
    (tmp_path / "set" / "labels").mkdir()
    for name in "ab":
        (tmp_path / "set" / "labels" / f"{name}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (finding,) = run_check(tmp_path / "set").checked.findings
    assert finding.where == str(tmp_path / "set" / "images" / "b.png")
    fixed = run_check(tmp_path / "set", fix=tmp_path / "copy")
    assert fixed.fixed is not None
    assert read(fixed.fixed).splits["all"].ids == ["a.png"]


def test_a_repair_that_leaves_nothing_is_refused(tmp_path: Path, paint: Callable[..., Path]) -> None:
    """Labels in pixels where fractions of the image are meant."""
    paint(tmp_path / "set" / "images" / "a.png", 1)
    (tmp_path / "set" / "labels").mkdir()
    (tmp_path / "set" / "labels" / "a.txt").write_text("0 12 9 5 5\n0 15 9 5 5\n")
    found = {finding.kind: finding for finding in run_check(tmp_path / "set").checked.findings}
    assert "all 2 boxes of all reach beyond twice their image" in found["boxes out of measure"].reason
    with pytest.raises(DataError, match=r"would hold no object:\nbox outside the image: .*a\.txt: line 1"):
        run_check(tmp_path / "set", fix=tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_classes_without_images_are_counted(tmp_path: Path, class_folders: Callable[..., Path]) -> None:
    folder = class_folders(tmp_path / "photos", {"train/a": 2, "train/b": 2, "val/a": 1})
    (folder / "train" / "c").mkdir()
    found = run_check(folder).checked.findings
    assert {finding.where for finding in found if finding.kind == "class without images"} >= {"train/c"}
    with pytest.raises(DataError, match="the class 'c' has no images"):
        read(folder)


def test_boxes_that_are_fractions_of_the_image(tmp_path: Path) -> None:
    clean = everything(tmp_path, images=2)
    objects = clean.splits["train"].objects
    assert objects is not None
    small = changed(clean, "train", boxes=objects.boxes / [WIDTH, HEIGHT, WIDTH, HEIGHT])
    found = [finding for finding in check(small).findings if finding.kind == "boxes as fractions"]
    assert [finding.reason[:5] for finding in found] == ["all 3"]
    assert "of train" in found[0].reason


def test_keypoints_outside_their_box_are_for_a_person_to_mend(tmp_path: Path) -> None:
    clean = everything(tmp_path)
    assert clean.splits["train"].objects is not None
    keypoints = clean.splits["train"].objects.keypoints
    assert keypoints is not None
    moved = keypoints.copy()
    moved[0, 0, :2] = [55, 35]
    checked = check(changed(clean, "train", keypoints=moved))
    assert [finding.kind for finding in checked.findings] == ["keypoint outside its box"]
    assert repair(checked)[1] == []


def test_label_maps_of_another_size_and_with_unknown_values(tmp_path: Path) -> None:
    source = everything(tmp_path)
    split = source.splits["train"]
    assert split.label_maps is not None
    stored = [np.array(split.label_maps.stored(i)) for i in range(4)]
    stored[1] = stored[1][:-1]
    stored[2][3, 4] = 77
    maps = LabelMaps(stored, split.label_maps.classes, split.label_maps.coding)
    checked = check(source.with_splits(source.splits | {"train": replace(split, label_maps=maps)}))
    found = {finding.kind: finding for finding in checked.findings}
    assert set(found) == {"broken label map", "unknown value in a map"}
    assert "map 1 is 60 x 39 pixels, its image 60 x 40" in found["broken label map"].reason
    assert "holds 77" in found["unknown value in a map"].reason
    repaired, changes = repair(checked)
    assert [change.change for change in changes] == ["became void", "left out"]
    mended = repaired.splits["train"]
    assert mended.ids == ["0.png", "2.png", "3.png"]
    assert mended.label_maps is not None
    assert mended.label_maps[1].labels[3, 4] == VOID
    assert check(repaired).findings == []


def test_void_pixels_are_counted(tmp_path: Path) -> None:
    """Of two maps of 8 pixels each, 3 are void."""
    stored = [np.array([[0, 0, 1, 1], [0, 0, 1, 9]], np.uint8), np.array([[1, 9, 1, 1], [9, 1, 1, 1]], np.uint8)]
    images = np.arange(16, dtype=np.uint8).reshape(2, 2, 4)
    split = Split(images, ["a", "b"], label_maps=LabelMaps(stored, ("road", "car"), {0: 0, 1: 1, 9: VOID}))
    checked = check(Source("made up", "made up", ("road", "car"), {"all": split}))
    assert checked.counts["all"].tolist() == [4, 9]
    assert "18.8% of the pixels of all are void: they count for nothing" in checked.notes


def test_an_annotation_drawn_before_exif_turned_the_image(tmp_path: Path) -> None:
    """Orientation 6: the stored image is turned clockwise to be upright; its top left corner goes to the top right."""
    source = everything(tmp_path, images=2)
    path = tmp_path / "train" / "0.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).save(path, exif=exif)
    checked = check(without_maps(source))
    (finding,) = checked.findings
    assert finding.kind == "size differs"
    assert "EXIF turns it" in finding.reason
    repaired, changes = repair(checked)
    assert [change.change for change in changes] == ["turned with it"]
    mended, before = repaired.splits["train"].objects, source.splits["train"].objects
    assert mended is not None
    assert before is not None
    assert mended.sizes[0].tolist() == [WIDTH, HEIGHT]
    # The corner (x, y) of the stored image is at (40 - y, x) of the upright one.
    by_hand = [[HEIGHT - y1, x0, HEIGHT - y0, x1] for x0, y0, x1, y1 in before.boxes.tolist()]
    assert mended.boxes.tolist() == by_hand
    assert check(repaired).findings == []


@pytest.mark.parametrize("orientation", QUARTER)
def test_where_a_pixel_goes_when_exif_turns_it(orientation: int) -> None:
    """Against what the decoder does with the pixels, mirrored ones too."""
    for row, column in ((0, 0), (1, 4), (2, 3)):
        stored = np.zeros((3, 5, 1), dtype=np.uint8)
        stored[row, column] = 1
        down, across, _ = np.argwhere(_upright(stored, orientation))[0]
        a, b, c, d, e, f = QUARTER[orientation](3, 5)
        x, y = column + 0.5, row + 0.5
        assert (a * x + b * y + c, d * x + e * y + f) == (across + 0.5, down + 0.5)


def test_a_box_swapped_and_outside_is_left_out(tmp_path: Path) -> None:
    """Put in order and clipped it would have no area."""
    source = without_maps(everything(tmp_path, images=2))
    objects = source.splits["train"].objects
    assert objects is not None
    boxes = objects.boxes.copy()
    boxes[0] = [WIDTH + 20, 10, WIDTH + 5, 20]
    odd = replace(
        source.splits["train"], objects=replace(objects, boxes=boxes, masks=None, keypoints=None, skeleton=None)
    )
    checked = check(source.with_splits({"train": odd}))
    assert {finding.kind for finding in checked.findings} >= {"swapped corners", "box outside the image"}
    repaired, _ = repair(checked)
    assert {finding.kind for finding in check(repaired).findings} & {"degenerate box", "swapped corners"} == set()


def test_pairs_are_not_mended(tmp_path: Path) -> None:
    for folder in ("inputs", "targets"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / folder / "a.png")
    with pytest.raises(UsageError, match="holds pairs of images, and a copy of such a set cannot be written"):
        run_check(tmp_path, fix=tmp_path / "fixed")


def test_an_annotation_of_another_image(tmp_path: Path) -> None:
    source = everything(tmp_path, images=2)
    Image.new("RGB", (WIDTH + 5, HEIGHT + 5)).save(tmp_path / "val" / "2.png")
    (finding,) = check(without_maps(source)).findings
    assert (finding.kind, finding.where) == ("size differs", "val/2.png")
    assert "60 x 40, the file has 65 x 45" in finding.reason


# --- pictures that look the same --------------------------------------------------------------------------------------


def picture(seed: int, size: int = 128) -> np.ndarray:
    """[size, size, 3] uint8, soft shapes as photographs have them."""
    small = np.random.default_rng(seed).integers(0, 256, (7, 7, 3), dtype=np.uint8)
    return np.array(Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC))


def as_jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file))


@pytest.mark.parametrize(
    "copy",
    [
        lambda pixels: as_jpeg(pixels, 30),
        lambda pixels: np.array(Image.fromarray(pixels).resize((70, 70), Image.Resampling.LANCZOS)),
        lambda pixels: np.clip(pixels * 1.1 + 5, 0, 255).astype(np.uint8),
        lambda pixels: pixels.mean(axis=2, keepdims=True).astype(np.uint8),
    ],
    ids=["saved again", "shrunk", "brighter", "grey"],
)
def test_look_alikes_are_found_and_others_are_not(copy: object) -> None:
    assert callable(copy)
    groups = [[picture(seed) for seed in range(20)], [picture(seed) for seed in range(100, 120)]]
    groups[1][3] = copy(groups[0][7])
    prints = [[fingerprint(pixels) for pixels in group] for group in groups]
    hashes = [np.array([bits for bits, _ in group], dtype=np.uint64) for group in prints]
    small = [np.array([pixels for _, pixels in group]) for group in prints]
    assert near_copies(hashes, small) == [(0, 7, 1, 3)]


def test_look_alikes_in_two_splits_are_reported_and_leave_the_training_images(tmp_path: Path) -> None:
    splits = {}
    for number, name in enumerate(("train", "test")):
        (tmp_path / name).mkdir()
        paths = [tmp_path / name / f"{i}.jpg" for i in range(3)]
        for i, path in enumerate(paths):
            Image.fromarray(picture(10 * number + i)).save(path)
        splits[name] = Split(paths, [path.name for path in paths], np.zeros(3, dtype=np.int64))
    Image.fromarray(picture(2)).save(tmp_path / "test" / "1.jpg", quality=40)
    checked = check(Source("s", "f", ("a",), splits))
    assert [(finding.kind, finding.where) for finding in checked.findings] == [
        ("look-alikes in two splits", "train/2.jpg ~ test/1.jpg")
    ]
    repaired, changes = repair(checked)
    assert [change.where for change in changes] == ["train/2.jpg"]
    assert repaired.splits["train"].ids == ["0.jpg", "1.jpg"]
