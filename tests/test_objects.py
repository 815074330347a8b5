"""Packed annotations against plain lists of the same; label maps; what can be wrong with objects."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from saccade.data.faults import faults
from saccade.data.findings import DataError, Findings
from saccade.data.label_maps import UNKNOWN, LabelMaps
from saccade.data.objects import Objects, PackedMasks, gathered, starts_of
from saccade.data.source import Source, Split, labels_of
from saccade.geometry.masks import Mask, Polygon, Runs
from saccade.structures import VOID, Instances, LabelMap, Skeleton

SKELETON = Skeleton(("nose", "left ear", "right ear"), ((0, 1), (0, 2)), (0, 2, 1), (0.05, 0.05, 0.05))


def pack(images: list[dict[str, Any]], **changed: Any) -> Objects:
    """Objects of images given as {"boxes": [...], "labels": [...], "masks": [...]}; what is missing is made up."""
    counts = [len(image["boxes"]) for image in images]
    total = sum(counts)

    def column(name: str, default: Any) -> Any:
        return [
            value for image, count in zip(images, counts, strict=True) for value in image.get(name, [default] * count)
        ]

    fields: dict[str, Any] = {
        "starts": starts_of(counts),
        "sizes": np.array([image.get("size", (100, 200)) for image in images], dtype=np.int32).reshape(-1, 2),
        "boxes": np.array(column("boxes", None), dtype=np.float64).reshape(-1, 4),
        "labels": np.array(column("labels", 0), dtype=np.int64),
        "crowd": np.array(column("crowd", False), dtype=bool),
        "difficult": np.array(column("difficult", False), dtype=bool),
        "areas": np.array(column("areas", np.nan), dtype=np.float64),
        "masks": PackedMasks.pack(column("masks", None)),
        "keypoints": np.array(column("keypoints", np.zeros((3, 3))), dtype=np.float32).reshape(-1, 3, 3),
        "skeleton": SKELETON,
        "ids": np.arange(total) + 1,
        "noun": "annotation",
        "files": ["set.json"],
    }
    return Objects(**(fields | changed))


def same_mask(one: Mask | None, other: Mask | None) -> bool:
    if isinstance(one, Polygon) and isinstance(other, Polygon):
        return len(one.rings) == len(other.rings) and all(map(np.array_equal, one.rings, other.rings))
    if isinstance(one, Runs) and isinstance(other, Runs):
        return one.size == other.size and np.array_equal(one.counts, other.counts)
    return one is other is None


masks = st.one_of(
    st.none(),
    st.lists(st.lists(st.tuples(*[st.integers(0, 90)] * 2), min_size=3, max_size=5), min_size=1, max_size=3).map(
        lambda rings: Polygon(tuple(np.array(ring, dtype=np.float32) for ring in rings))
    ),
    st.lists(st.integers(1, 50), min_size=1, max_size=5).map(lambda c: Runs((100, 200), np.array(c, dtype=np.uint32))),
)
thing = st.tuples(st.tuples(*[st.integers(0, 99)] * 4), st.integers(0, 4), masks)
pictures = st.lists(st.lists(thing, max_size=4), min_size=1, max_size=6)


def as_columns(image: list[tuple]) -> dict[str, Any]:
    boxes, labels, own = zip(*image, strict=True) if image else ((), (), ())
    return {"boxes": boxes, "labels": labels, "masks": own}


@given(pictures, st.data())
@settings(deadline=None, max_examples=150)
def test_packed_objects_are_what_was_packed_also_after_taking(images: list[list[tuple]], data: st.DataObject) -> None:
    packed = pack([as_columns(image) for image in images])
    chosen = data.draw(st.lists(st.integers(0, len(images) - 1), max_size=8))
    for view, plain in ((packed, images), (packed.take(chosen), [images[i] for i in chosen])):
        assert len(view) == len(plain)
        for number, image in enumerate(plain):
            found = view[number]
            assert found.boxes.tolist() == [list(box) for box, _, _ in image]
            assert found.labels.tolist() == [label for _, label, _ in image]
            assert found.masks is not None
            assert all(same_mask(one, other) for one, (_, _, other) in zip(found.masks, image, strict=True))


@given(pictures, st.data())
@settings(deadline=None, max_examples=100)
def test_only_some_objects(images: list[list[tuple]], data: st.DataObject) -> None:
    packed = pack([as_columns(image) for image in images])
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=packed.count, max_size=packed.count)), dtype=bool)
    kept = packed.only(keep)
    assert len(kept) == len(packed)
    assert np.array_equal(kept.images, packed.images[keep])
    assert np.array_equal(kept.ids, packed.ids[keep])
    assert np.array_equal(kept.boxes, packed.boxes[keep])


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.data())
def test_gathered_takes_whole_parts(lengths: list[int], data: st.DataObject) -> None:
    starts = starts_of(lengths)
    parts = [list(range(a, b)) for a, b in itertools.pairwise(starts)]
    chosen = data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=6))
    fresh, indices = gathered(starts, np.array(chosen, dtype=np.int64))
    assert indices.tolist() == [i for part in chosen for i in parts[part]]
    assert np.diff(fresh).tolist() == [lengths[part] for part in chosen]


def test_objects_name_their_place() -> None:
    objects = pack([{"boxes": []}, {"boxes": [[0, 0, 1, 1]] * 2}, {"boxes": [[0, 0, 1, 1]]}])
    assert [objects.image_of(n) for n in range(3)] == [1, 1, 2]
    assert objects.where(2) == "set.json: annotation 3"
    split = pack([{"boxes": [[0, 0, 1, 1]]}] * 2, files=["a.txt", "b.txt"], noun="line")
    assert split.where(1) == "b.txt: line 2"
    assert split.take([1]).where(0) == "b.txt: line 2"


def test_objects_of_some_images_can_be_replaced() -> None:
    square = Polygon((np.array([[0, 0], [4, 0], [4, 4]], dtype=np.float32),))
    objects = pack([{"boxes": [[0, 0, 4, 4]], "masks": [square]}] * 3)
    other = Instances(
        (200, 100), np.array([[1.0, 2, 3, 4]]), np.array([0]), masks=(None,), keypoints=np.ones((1, 3, 3))
    )
    changed = objects.with_images({1: other})
    assert changed.boxes.tolist() == [[0, 0, 4, 4], [1, 2, 3, 4], [0, 0, 4, 4]]
    assert changed.sizes.tolist() == [[100, 200], [200, 100], [100, 200]]
    assert changed.keypoints is not None
    assert changed.keypoints[:, 0, 0].tolist() == [0, 1, 0]
    kept = [changed[i].masks for i in range(3)]
    assert all(own is not None for own in kept)
    assert [own and same_mask(own[0], square) for own in kept] == [True, False, True]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"labels": np.zeros(2, dtype=np.int64)}, r"Objects\.labels must have 1 entries.*has 2"),
        ({"sizes": np.zeros((2, 2))}, "2 sizes"),
        ({"files": ["a", "b"]}, "2 files"),
        ({"skeleton": None}, "keypoints and skeleton together"),
    ],
)
def test_objects_that_do_not_fit_together(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        pack([{"boxes": [[0, 0, 1, 1]]}], **changed)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"boxes": np.zeros((2, 3))}, r"boxes must be \[N, 4\]"),
        ({"labels": np.zeros(3)}, "labels must have 2 entries"),
        ({"keypoints": np.zeros((2, 3))}, r"keypoints must be \[N, P, 3\]"),
        ({"masks": (None,)}, "masks must have 2 entries"),
    ],
)
def test_instances_that_do_not_fit_together(fields: dict[str, Any], words: str) -> None:
    good: dict[str, Any] = {"size": (4, 4), "boxes": np.zeros((2, 4)), "labels": np.zeros(2, dtype=np.int64)}
    assert len(Instances(**good)) == 2
    with pytest.raises(ValueError, match=words):
        Instances(**(good | fields))


def test_instances_take() -> None:
    instances = Instances(
        (4, 4), np.arange(12.0).reshape(3, 4), np.array([5, 6, 7]), np.array([0.9, 0.8, 0.7]), (None,) * 3
    )
    assert instances.take(np.array([2, 0])).labels.tolist() == [7, 5]
    some = instances.take(np.array([False, True, True]))
    assert some.boxes.tolist() == [[4, 5, 6, 7], [8, 9, 10, 11]]
    assert (len(some.masks or ()), some.crowd) == (2, None)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"mirror": (1, 2, 0)}, "there and back"),
        ({"mirror": (0, 1)}, "3 keypoints"),
        ({"sigmas": (0.1, 0.0, 0.1)}, "above 0"),
        ({"sigmas": (0.1,)}, "3 numbers"),
        ({"edges": ((0, 3),)}, "0 to 2"),
    ],
)
def test_skeletons_that_have_no_meaning(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Skeleton(**(vars(SKELETON) | fields))


# --- label maps -------------------------------------------------------------------------------------------------------


def maps_of(*stored: Any, classes: tuple[str, ...] = ("ground", "cat"), **fields: Any) -> LabelMaps:
    coding = fields.pop("coding", {0: 0, 7: 1, 9: VOID})
    return LabelMaps(list(stored), classes, coding, **fields)


def test_label_maps_are_decoded_by_their_coding(tmp_path: Path) -> None:
    values = np.array([[0, 7], [9, 7]], dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "grey.png")
    palette = Image.fromarray(values)
    palette = palette.convert("P")
    palette.putdata(values.ravel().tolist())
    palette.save(tmp_path / "palette.png")
    maps = maps_of(tmp_path / "grey.png", tmp_path / "palette.png", values)
    for image in range(3):
        assert maps[image].labels.tolist() == [[0, 1], [255, 1]]
        assert maps[image].classes == ("ground", "cat")
    assert maps.take([2])[0].labels.tolist() == [[0, 1], [255, 1]]


def test_coloured_label_maps(tmp_path: Path) -> None:
    pixels = np.array([[[255, 0, 0], [0, 0, 2]]], dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "map.png")
    maps = maps_of(tmp_path / "map.png", coding={0xFF0000: 1, 0x000002: 0}, colour=True)
    assert maps[0].labels.tolist() == [[1, 0]]
    strange = maps_of(tmp_path / "map.png", coding={0xFF0000: 1}, colour=True)
    with pytest.raises(DataError, match=r"map\.png.*#000002.*no class.*#ff0000"):
        strange[0]


def test_label_maps_say_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"map 0: holds the values 3, which are no class; known are 0, 7, 9"):
        maps_of(np.array([[3, 0]], dtype=np.uint8))[0]
    assert maps_of(np.zeros((1, 1), np.uint8)).decoded(np.array([[3]], np.uint8)).item() == UNKNOWN
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(DataError, match=r"text\.png: cannot be read"):
        maps_of(tmp_path / "text.png")[0]
    with pytest.raises(DataError, match=r"gone\.png"):
        maps_of(tmp_path / "gone.png")[0]
    Image.new("RGB", (2, 2)).save(tmp_path / "colour.png")
    with pytest.raises(DataError, match=r"colour\.png: is a coloured image"):
        maps_of(tmp_path / "colour.png")[0]
    with pytest.raises(DataError, match="1 to 254 classes"):
        maps_of(classes=tuple(map(str, range(255))), coding={0: 0})
    with pytest.raises(ValueError, match="labels below 2"):
        maps_of(coding={0: 2})
    with pytest.raises(ValueError, match="uint8"):
        LabelMap(np.zeros((2, 2), dtype=np.int64), ("a",))


# --- what is wrong with objects ---------------------------------------------------------------------------------------

FINE = [10, 10, 50, 50]


def wrong_with(images: list[dict[str, Any]], sizes: list[tuple[int, int]] | None = None) -> dict[str, list[int]]:
    objects = pack(images)
    known = np.array(sizes or [(100, 200)] * len(images))
    return {fault.kind: np.flatnonzero(fault.wrong).tolist() for fault in faults(objects, known)}


def test_nothing_is_wrong_with_clean_objects() -> None:
    marked = [[[10, 10, 2], [50, 50, 1], [0, 0, 0]]]
    assert wrong_with([{"boxes": [FINE], "keypoints": marked}, {"boxes": []}, {"boxes": [[0, 0, 200, 100]]}]) == {}


@pytest.mark.parametrize(
    ("box", "kind"),
    [
        ([10, 10, 10, 50], "degenerate box"),
        ([10, 50, 50, 10], "swapped corners"),
        ([50, 10, 10, 50], "swapped corners"),
        ([300, 10, 310, 20], "box outside the image"),
        ([10, -30, 50, 0], "box outside the image"),
        ([10, 10, 201.5, 50], "box beyond the edge"),
        ([-1.5, 10, 20, 50], "box beyond the edge"),
        ([10, 10, 20, 101.5], "box beyond the edge"),
        ([10, 10, 200.9, 50], None),
    ],
)
def test_boxes_that_cannot_be(box: list[float], kind: str | None) -> None:
    found = wrong_with([{"boxes": [FINE]}, {"boxes": [FINE, box]}])
    assert found == ({kind: [2]} if kind else {})


def test_nothing_is_outside_an_image_of_unknown_size() -> None:
    assert wrong_with([{"boxes": [[5000, 5000, 6000, 6000]]}], [(0, 0)]) == {}


def test_duplicates_are_within_an_image_and_a_class() -> None:
    again = [10.004, 10, 50, 50]
    images = [{"boxes": [FINE, FINE, again], "labels": [0, 1, 0]}, {"boxes": [FINE]}]
    objects = pack(images)
    (fault,) = faults(objects, np.array([(100, 200)] * 2))
    assert (fault.kind, np.flatnonzero(fault.wrong).tolist()) == ("duplicate", [2])
    assert "as annotation 1" in fault.reason(2)
    # A box that is nothing twice is called degenerate twice, not a duplicate as well.
    assert wrong_with([{"boxes": [[5, 5, 5, 5]] * 2}]) == {"degenerate box": [0, 1]}


def test_keypoints_outside_their_box() -> None:
    near, far, unmarked = [55, 30, 2], [60, 30, 2], [90, 90, 0]
    hidden, lost = [85, 30, 1], [95, 30, 1]
    assert wrong_with([{"boxes": [FINE], "keypoints": [[near, hidden, unmarked]]}]) == {}
    assert wrong_with([{"boxes": [FINE], "keypoints": [[near, lost, unmarked]]}]) == {"keypoint outside its box": [0]}
    objects = pack([{"boxes": [FINE], "keypoints": [[near, far, unmarked]]}])
    (fault,) = faults(objects, np.array([(100, 200)]))
    assert fault.kind == "keypoint outside its box"
    assert fault.reason(0) == "its left ear at [60, 30] is outside its box [10, 10, 50, 50]"


# --- findings, and sets without labels --------------------------------------------------------------------------------


def test_findings_stop_or_are_kept() -> None:
    with pytest.raises(DataError, match=r"a\.txt: line 3: has 4 numbers; write 5"):
        Findings().add("short line", "a.txt: line 3", "has 4 numbers", "write 5")
    findings = Findings(strict=False)
    findings.add("short line", "a.txt: line 3", "has 4 numbers", "write 5")
    assert [finding.kind for finding in findings.kept] == ["short line"]


def test_what_has_no_labels_says_so() -> None:
    images = np.zeros((1, 4, 4), dtype=np.uint8)
    split = Split(images, ["a"], objects=pack([{"boxes": [FINE]}]))
    with pytest.raises(DataError, match=r"things in the images are.*photos/cats"):
        labels_of(split)
    with pytest.raises(DataError, match="run from 0 to 0, but there are 0 classes"):
        Source("s", "f", (), {"all": split})
    assert not Source("s", "f", ("cat",), {"all": split}).has("labels")
    with pytest.raises(ValueError, match="2 ids needs as many objects but got 1"):
        Split(np.zeros((2, 4, 4), dtype=np.uint8), ["a", "b"], objects=split.objects)
