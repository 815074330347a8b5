"""Average precision: COCO's against pycocotools, VOC's against published answers and a second implementation."""

import contextlib
import io
import itertools
import json
import logging
import math
import pickle
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as official_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from saccade.geometry.masks import Mask, Polygon, Runs, bitmap, runs_from_bitmap, runs_from_compressed
from saccade.metrics.counting import in_order
from saccade.metrics.detection import DetectionMetric
from saccade.metrics.voc import VocMetric, average_precision
from saccade.structures import Instances, Skeleton

Case = list[tuple[str, Instances, Instances]]  # id, prediction, truth; in the order of the ids
IOU_TYPES: dict[str, Any] = {"box": "bbox", "mask": "segm", "keypoints": "keypoints"}
SKELETON = Skeleton(("top", "left", "right"), ((0, 1), (0, 2)), (0, 2, 1), (0.05, 0.1, 0.1))
SIZE = (160, 160)


class Official(COCOeval):  # pyright: ignore[reportGeneralTypeIssues]
    """pycocotools, which forgets a thing's `ignore`, made to heed it; otherwise as it is."""

    def _prepare(self) -> None:
        annotations: dict[int, Any] = dict(self.cocoGt.anns)
        flags = {n: annotation.get("ignore", 0) for n, annotation in annotations.items()}
        super()._prepare()  # pyright: ignore[reportAttributeAccessIssue]
        for n, annotation in annotations.items():
            annotation["ignore"] = annotation["ignore"] or flags[n]


def official(truth: dict, results: list[dict], kind: str, sigmas: tuple[float, ...] | None = None) -> list[float]:
    """pycocotools' numbers in percent, nan for its -1."""
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO()
        known.dataset = json.loads(json.dumps(truth))
        known.createIndex()
        if results:
            found = known.loadRes(json.loads(json.dumps(results)))
        else:
            found = COCO()
            found.dataset = {**known.dataset, "annotations": []}
            found.createIndex()
        evaluation = Official(known, found, IOU_TYPES[kind])
        if sigmas is not None:
            evaluation.params.kpt_oks_sigmas = np.array(sigmas)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [math.nan if value == -1 else 100 * value for value in evaluation.stats]


def official_of(case: Case, classes: tuple[str, ...], kind: str) -> list[float]:
    """The same of Instances, written as COCO's files here, by pycocotools' own mask code."""
    images = [{"id": n, "height": SIZE[0], "width": SIZE[1]} for n in range(1, len(case) + 1)]
    annotations, results = [], []
    for number, (_, prediction, truth) in enumerate(case, 1):
        for n in range(len(truth)):
            entry = entry_of(truth, n, kind) | {"image_id": number, "id": len(annotations) + 1, "bbox": box(truth, n)}
            assert truth.areas is not None and truth.crowd is not None and truth.difficult is not None
            flags = {"iscrowd": int(truth.crowd[n]), "ignore": int(truth.difficult[n])}
            annotations.append(entry | flags | {"area": expected_area(truth, n)})
        for n in range(len(prediction)):
            assert prediction.scores is not None
            extra = {"bbox": box(prediction, n)} if kind == "box" else {}
            entry = entry_of(prediction, n, kind) | extra
            results.append(entry | {"image_id": number, "score": float(prediction.scores[n])})
    categories = [{"id": k + 1, "name": name} for k, name in enumerate(classes)]
    truths = {"images": images, "annotations": annotations, "categories": categories}
    return official(truths, results, kind, SKELETON.sigmas if kind == "keypoints" else None)


def entry_of(things: Instances, n: int, kind: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"category_id": int(things.labels[n]) + 1}
    if kind == "mask" and things.masks is not None:
        mask = things.masks[n]
        if isinstance(mask, Polygon):
            polygons = [ring.astype(float).ravel().tolist() for ring in mask.rings]
            runs: Any = official_mask.merge(official_mask.frPyObjects(polygons, *SIZE))
        else:
            assert mask is not None
            runs = official_mask.encode(np.asfortranarray(bitmap(mask, SIZE).astype(np.uint8)))
        entry["segmentation"] = {"size": list(SIZE), "counts": runs["counts"].decode()}
    if kind == "keypoints" and things.keypoints is not None:
        entry["keypoints"] = things.keypoints[n].astype(float).ravel().tolist()
        entry["num_keypoints"] = int((things.keypoints[n, :, 2] > 0).sum())
    return entry


def box(things: Instances, n: int) -> list[float]:
    left, top, right, bottom = things.boxes[n].tolist()
    return [left, top, right - left, bottom - top]


def expected_area(truth: Instances, n: int) -> float:
    """The annotation's; else the mask's, which here is as large as the box, and so is the box."""
    assert truth.areas is not None
    left, top, right, bottom = truth.boxes[n].tolist()
    return (right - left) * (bottom - top) if np.isnan(truth.areas[n]) else float(truth.areas[n])


def measured(case: Case, classes: tuple[str, ...], kinds: tuple[str, ...]) -> DetectionMetric:
    metric = DetectionMetric(classes, kinds, SKELETON if "keypoints" in kinds else None)
    for id, prediction, truth in case:
        metric.update(prediction, truth, id)
    return metric


def nasty(seed: int, kinds: tuple[str, ...], most: int = 12) -> tuple[Case, tuple[str, ...]]:
    """Few scores, so that many are equal; whole pixels, so that overlaps meet thresholds and areas limits exactly."""
    rng = np.random.default_rng(seed)
    classes = tuple(f"class {k}" for k in range(rng.choice([1, 2, 5, 40])))
    case: Case = []
    for number in range(rng.integers(0, most + 1)):
        truth = things(rng, rng.choice([0, 0, 1, 3, 8]), len(classes), kinds)
        count = len(truth)
        rare = [np.flatnonzero(rng.random(count) < share) for share in (0.15, 0.15, 0.3)]
        crowd, difficult = (np.isin(np.arange(count), chosen) for chosen in rare[:2])
        areas = rng.choice([1024.0, 9216.0, 1023.5, 9216.5, 1e10, 1e11, 400.0], count)
        areas[rare[2]] = np.nan
        truth = replace(truth, crowd=crowd, difficult=difficult, areas=areas)
        others = things(rng, rng.choice([0, 2, 5, 130], p=[0.5, 0.3, 0.17, 0.03]), len(classes), kinds)
        near = [moved(rng, truth, kinds) for _ in range(rng.integers(1, 4))]
        prediction = joined([others, *near], kinds)
        scores = rng.choice([0.1, 0.5, 0.5000001, 0.9, 1.0], len(prediction)).astype(rng.choice(["f4", "f8"]))
        case.append((f"image {number}", replace(prediction, scores=scores), truth))
    return case, classes


def things(rng: np.random.Generator, count: int, classes: int, kinds: tuple[str, ...]) -> Instances:
    corners = rng.integers(0, 60, (count, 2))
    sides = rng.choice([0, 1, 4, 8, 16, 32, 96], (count, 2), p=[0.05, 0.05, 0.1, 0.2, 0.2, 0.2, 0.2])
    boxes = np.concatenate([corners, corners + sides], axis=1).astype(np.float64)
    return shaped(rng, boxes, rng.integers(0, max(1, classes - 1), count), kinds)


def shaped(rng: np.random.Generator, boxes: np.ndarray, labels: np.ndarray, kinds: tuple[str, ...]) -> Instances:
    """Things whose masks are their boxes and whose keypoints lie in them."""
    masks = tuple(
        rectangle(own, polygon) for own, polygon in zip(boxes.astype(int), rng.random(len(boxes)) < 0.5, strict=True)
    )
    places = boxes[:, None, :2] + (boxes[:, None, 2:] - boxes[:, None, :2]) * np.array([[0.5, 0], [0, 1], [1, 1]])
    seen = rng.integers(0, 3, (len(boxes), 3, 1)) * (rng.random((len(boxes), 1, 1)) < 0.8)
    return Instances(
        SIZE,
        boxes,
        labels.astype(np.int64),
        masks=masks if "mask" in kinds else None,
        keypoints=np.concatenate([places, seen], axis=2).astype(np.float32) if "keypoints" in kinds else None,
    )


def rectangle(own: np.ndarray, polygon: bool) -> Mask:
    left, top, right, bottom = own.tolist()
    if polygon and right > left and bottom > top:
        return Polygon((np.array([[left, top], [right, top], [right, bottom], [left, bottom]], dtype=np.float32),))
    covered = np.zeros(SIZE, dtype=bool)
    covered[top:bottom, left:right] = True
    return runs_from_bitmap(covered)


def moved(rng: np.random.Generator, truth: Instances, kinds: tuple[str, ...]) -> Instances:
    shift = rng.choice([0, 0, 0, 1, 2, 8], (len(truth), 2))
    labels = np.where(rng.random(len(truth)) < 0.9, truth.labels, 0)
    return shaped(rng, truth.boxes + np.concatenate([shift, shift], axis=1), labels, kinds)


def joined(parts: list[Instances], kinds: tuple[str, ...]) -> Instances:
    return Instances(
        SIZE,
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.labels for part in parts]),
        masks=tuple(mask for part in parts for mask in part.masks or ()) if "mask" in kinds else None,
        keypoints=np.concatenate([part.keypoints for part in parts if part.keypoints is not None])
        if "keypoints" in kinds
        else None,
    )


def same(numbers: dict[str, float], expected: list[float]) -> None:
    np.testing.assert_allclose(list(numbers.values()), expected, rtol=0, atol=1e-9)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.integers(0, 10**6), st.sampled_from(sorted(IOU_TYPES)))
def test_generated_cases_give_the_numbers_of_pycocotools(seed: int, kind: str) -> None:
    case, classes = nasty(seed, (kind,))
    result = measured(case, classes, (kind,)).result()
    if not case:
        assert all(math.isnan(value) for value in result.values())
    else:
        same(result, official_of(case, classes, kind))


def test_the_generated_cases_are_nasty() -> None:
    """They have what they are there for: equal scores across images, over 100 detections, crowds, classes unused."""
    cases = [nasty(seed, ("box",)) for seed in range(60)]
    images = [(prediction, truth) for case, _ in cases for _, prediction, truth in case]
    assert any(not case for case, _ in cases) and any(len(case) > 10 for case, _ in cases)
    assert max(np.bincount(prediction.labels).max(initial=0) for prediction, _ in images) > 100
    assert any(np.any(truth.crowd) and np.any(truth.difficult) for _, truth in images)
    results = [measured(case, classes, ("box",)).result()["box/AP"] for case, classes in cases]
    assert sum(15 < value < 90 for value in results) > 30


def test_keys_and_what_is_not_defined() -> None:
    """No image, no truth, no detection, each alone: nan where there is nothing to find, 0 where nothing was found."""
    empty = shaped(np.random.default_rng(0), np.zeros((0, 4)), np.zeros(0), ())
    one = replace(
        shaped(np.random.default_rng(0), np.array([[0.0, 0, 50, 50]]), np.zeros(1), ()), areas=np.array([2500.0])
    )
    nothing, found = replace(empty, scores=np.zeros(0)), replace(one, scores=np.ones(1), areas=None)
    metric = DetectionMetric(("a", "b"), ("box", "mask", "keypoints"), SKELETON)
    keys = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]
    poses = ["AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl"]
    expected = [f"box/{key}" for key in keys] + [f"mask/{key}" for key in keys] + [f"keypoint/{key}" for key in poses]
    assert list(metric.result()) == expected and all(math.isnan(value) for value in metric.result().values())
    metric.update(nothing, empty, "no truth, no detection")
    assert all(math.isnan(value) for value in metric.result().values())

    for prediction, truth, value in ((found, empty, math.nan), (nothing, one, 0.0), (found, one, 100.0)):
        metric = DetectionMetric(("a", "b"))
        metric.update(prediction, truth, "x")
        result, rows = metric.result(), metric.per_class()
        assert [result["box/AP"], result["box/APm"]] == pytest.approx([value, value], nan_ok=True)
        assert math.isnan(result["box/APs"]) and math.isnan(result["box/ARl"]) and math.isnan(rows[1].AP)
        assert (rows[0].name, rows[0].count, rows[1].count) == ("a", len(truth), 0)
        assert pytest.approx([value, value], nan_ok=True) == [rows[0].AP, rows[0].AP50]
        curves = metric.curves()
        assert curves.shape == (2, 10, 101) and np.isnan(curves[1]).all()
        np.testing.assert_array_equal(curves[0], np.full((10, 101), value / 100))


def test_numbers_of_a_class_are_those_of_that_class_alone() -> None:
    case, classes = nasty(28, ("box", "mask", "keypoints"))
    assert len(classes) == 5 and len(case) > 5
    metric = measured(case, classes, ("box", "mask", "keypoints"))
    for kind, prefix in (("box", "box"), ("mask", "mask"), ("keypoints", "keypoint")):
        for k, row in enumerate(metric.per_class(kind)):
            alone = [(id, p.take(p.labels == k), t.take(t.labels == k)) for id, p, t in case]
            result = measured(alone, classes, (kind,)).result()
            expected = [result[f"{prefix}/AP"], result[f"{prefix}/AP50"]]
            assert pytest.approx(expected, abs=1e-9, nan_ok=True) == [row.AP, row.AP50]
            assert math.isnan(row.AP) == (row.count == 0)
            assert metric.curves(kind)[k].mean() * 100 == pytest.approx(row.AP, abs=1e-9, nan_ok=True)


@settings(deadline=None, max_examples=25, derandomize=True)
@given(st.integers(0, 10**6), st.integers(1, 3), st.booleans(), st.sampled_from(["coco", "all", "11"]))
def test_shares_merge_to_the_whole(seed: int, shares: int, overlapping: bool, form: str) -> None:
    """Any division among processes, in any order, with images seen twice or not, gives the same numbers exactly."""
    case, classes = nasty(seed, ("box", "keypoints"), most=20)

    def fresh() -> Any:
        if form == "coco":
            return DetectionMetric(classes, ("box", "keypoints"), SKELETON)
        return VocMetric(classes, points="all" if form == "all" else 11)

    whole, parts = fresh(), [fresh() for _ in range(shares)]
    for id, prediction, truth in case:
        whole.update(prediction, truth, id)
    order = np.random.default_rng(seed).permutation(len(case))
    for position, index in enumerate(itertools.chain(order, order[:5] if overlapping else ())):
        id, prediction, truth = case[index]
        parts[position % shares].update(prediction, truth, id)
    merged = fresh()
    for part in reversed(parts):
        merged.result()  # asking in between changes nothing
        merged.merge(pickle.loads(pickle.dumps(part)))
    np.testing.assert_equal(merged.result(), whole.result())
    np.testing.assert_equal([vars(row) for row in merged.per_class()], [vars(row) for row in whole.per_class()])


def test_counting_the_callers_arrays_leaves_the_metric_its_own() -> None:
    case, classes = nasty(28, ("box", "mask", "keypoints"))
    metric, voc = measured(case, classes, ("box", "mask", "keypoints")), VocMetric(classes)
    for id, prediction, truth in case:
        voc.update(prediction, truth, id)
    before = metric.result(), voc.result()
    for _, *both in case:
        for own in both:
            for array in (own.boxes, own.labels, own.scores, own.keypoints, own.areas, own.crowd, own.difficult):
                if array is not None:
                    array[:] = 0
            for mask in own.masks or ():
                for array in mask.rings if isinstance(mask, Polygon) else [mask.counts] if mask else []:
                    array[:] = 0
    metric._tables.clear()
    np.testing.assert_equal((metric.result(), voc.result()), before)


def test_records_stay_small() -> None:
    """50 masks of a million pixels each come to a few bytes a row of the image, not a million."""
    runs = runs_from_bitmap(np.add.outer(np.arange(1000), np.arange(1000)) % 700 < 350)
    boxes = np.tile([0.0, 0, 1000, 1000], (50, 1))
    truth = Instances((1000, 1000), boxes, np.zeros(50, np.int64), masks=(runs,) * 50)
    metric = DetectionMetric(("a",), ("mask",))
    metric.update(replace(truth, scores=np.ones(50)), truth, "x")
    assert len(pickle.dumps(metric)) < 100 * 10_000
    assert metric.result()["mask/AP"] == pytest.approx(100)


def test_nothing_is_printed_or_logged(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    case, classes = nasty(28, ("box", "mask", "keypoints"))
    with caplog.at_level(logging.DEBUG):
        measured(case, classes, ("box", "mask", "keypoints")).result()
    assert capsys.readouterr() == ("", "") and not caplog.records


def test_equal_scores_count_in_the_order_of_the_images() -> None:
    """Image 2 has the right one, image 10 the wrong one; in the order of letters it would be the other way round."""
    here, there = np.array([[0.0, 0, 40, 40]]), np.array([[60.0, 60, 100, 100]])
    label, score = np.zeros(1, np.int64), np.array([0.5])
    for right, wrong, coco in (("image 2", "image 10", 100.0), ("image 10", "image 2", 50.0)):
        for metric in (DetectionMetric(("a",)), VocMetric(("a",))):
            metric.update(Instances(SIZE, there, label, score), Instances(SIZE, here[:0], label[:0]), wrong)
            metric.update(Instances(SIZE, here, label, score), Instances(SIZE, here, label), right)
            assert next(iter(metric.result().values())) == pytest.approx(coco)


def test_areas_that_no_annotation_gives() -> None:
    """The mask's 40 x 20 pixels make a small thing, its box of 40 x 40 a medium one; the mask is asked first."""
    covered = np.zeros(SIZE, dtype=bool)
    covered[:40, :20] = True
    one = replace(ONE, boxes=np.array([[0.0, 0, 40, 40]]), masks=(None,))
    polygon = Polygon((np.array([[0, 0], [20, 0], [20, 40], [0, 40.0]]),))
    for masks, size in (((runs_from_bitmap(covered),), "s"), ((polygon,), "s"), ((None,), "m"), (None, "m")):
        for areas in (None, np.array([np.nan])):
            metric = DetectionMetric(("a",))
            metric.update(one, replace(one, masks=masks, areas=areas), "x")
            assert [key for key, value in metric.result().items() if value == pytest.approx(100)] == [
                *("box/AP", "box/AP50", "box/AP75", f"box/AP{size}"),
                *("box/AR1", "box/AR10", "box/AR100", f"box/AR{size}"),
            ]


def test_natural_order() -> None:
    ids = ["b", "a10", "a2", "a", "10", "9", "009", "a2b10", "a2b9", "", "9" * 5000, "a/2.png", "a/11.png"]
    expected = ["", "009", "9", "10", "9" * 5000, "a", "a2", "a2b9", "a2b10", "a10", "a/2.png", "a/11.png", "b"]
    assert in_order(ids) == in_order(reversed(ids)) == expected


NO_LABELS = np.zeros(1, np.int64)
ONE = Instances(SIZE, np.array([[0.0, 0, 9, 9]]), NO_LABELS, np.ones(1), masks=(None,), keypoints=np.zeros((1, 3, 3)))


@pytest.mark.parametrize(
    ("kind", "prediction", "truth", "message"),
    [
        ("box", replace(ONE, scores=None), ONE, "image x: the prediction has no scores"),
        ("box", replace(ONE, size=(8, 9)), ONE, r"image x: the prediction is in pixels of \(8, 9\).*of \(160, 160\)"),
        ("box", replace(ONE, labels=NO_LABELS + 2), ONE, "the prediction has the label 2; expected 0 to 1"),
        ("box", ONE, replace(ONE, labels=NO_LABELS - 1), "the truth has the label -1; expected 0 to 1"),
        ("box", replace(ONE, boxes=ONE.boxes * np.nan), ONE, "a box of the prediction is not finite"),
        ("box", ONE, replace(ONE, boxes=ONE.boxes + np.inf), "a box of the truth is not finite"),
        ("box", replace(ONE, scores=np.array([np.nan])), ONE, "a score is not finite"),
        ("mask", ONE, ONE, "image x: the true thing 0 has no mask; give it one, or measure without"),
        (
            "mask",
            replace(ONE, masks=(runs_from_bitmap(np.ones((4, 4), bool)),)),
            replace(ONE, masks=(runs_from_bitmap(np.ones(SIZE, bool)),)),
            r"image x: the predicted thing 0: .*\(4, 4\).*\(160, 160\)",
        ),
        (
            "box",
            ONE,
            replace(ONE, masks=(Polygon((np.zeros((2, 2)),)),)),
            "image x: the true thing 0: .*3 points",
        ),
        ("keypoints", replace(ONE, keypoints=None), ONE, r"the prediction must have keypoints \[1, 3, 3\].*got none"),
        ("keypoints", ONE, replace(ONE, keypoints=np.zeros((1, 17, 3))), r"the truth must have.*got \[1, 17, 3\]"),
        ("keypoints", replace(ONE, keypoints=np.full((1, 3, 3), np.inf)), ONE, "a keypoint that is not finite"),
    ],
)
def test_what_cannot_be_counted_is_an_error(kind: str, prediction: Instances, truth: Instances, message: str) -> None:
    metric = DetectionMetric(("a", "b"), (kind,), SKELETON)
    with pytest.raises(ValueError, match=message):
        metric.update(prediction, truth, "x")
    assert not metric.outcomes
    if kind == "box" and truth.masks == (None,):
        with pytest.raises(ValueError, match=message):
            VocMetric(("a", "b")).update(prediction, truth, "x")


def test_an_unknown_size_of_the_truth_is_no_error() -> None:
    metric = DetectionMetric(("a", "b"))
    metric.update(ONE, replace(ONE, size=(0, 0)), "x")
    assert metric.result()["box/AP"] == pytest.approx(100)


def test_counting_goes_on_after_a_look_at_the_numbers() -> None:
    metric, truth = DetectionMetric(("a", "b")), replace(ONE, areas=np.array([81.0]))
    metric.update(replace(ONE, boxes=ONE.boxes + 50), truth, "x")
    assert metric.result()["box/AP"] == 0
    metric.update(ONE, truth, "y")
    assert 0 < metric.result()["box/AP"] < 100
    metric.update(ONE, truth, "x")
    assert metric.result()["box/AP"] == pytest.approx(100)


def test_wrong_settings_are_errors() -> None:
    with pytest.raises(ValueError, match="kinds must be some of box, mask, keypoints but got"):
        DetectionMetric(("a",), ("boxes",))
    with pytest.raises(ValueError, match="kinds must be"):
        DetectionMetric(("a",), ())
    with pytest.raises(ValueError, match="sigmas of a Skeleton"):
        DetectionMetric(("a",), ("keypoints",))
    with pytest.raises(ValueError, match="this metric measures box, not mask"):
        DetectionMetric(("a",)).per_class("mask")
    with pytest.raises(ValueError, match="threshold must be above 0 and at most 1 but got 50"):
        VocMetric(("a",), threshold=50)
    with pytest.raises(ValueError, match='points must be "all" or 11 but got 101'):
        VocMetric(("a",), points=101)  # pyright: ignore[reportArgumentType]


# The shared data, read by hand: what the doors make of it is tested elsewhere.


def instances(entries: list[dict], size: tuple[int, int], labels: dict[int, int]) -> Instances:
    boxes = np.array([entry.get("bbox", [0, 0, 0, 0]) for entry in entries], dtype=float).reshape(-1, 4)
    segmentations = [entry.get("segmentation") for entry in entries]
    poses = [entry["keypoints"] for entry in entries if "keypoints" in entry]
    scored = bool(entries) and "score" in entries[0]
    return Instances(
        size,
        boxes + np.concatenate([np.zeros((len(boxes), 2)), boxes[:, :2]], axis=1),
        np.array([labels[entry["category_id"]] for entry in entries], dtype=np.int64),
        scores=np.array([entry["score"] for entry in entries]) if scored else np.zeros(0) if not entries else None,
        masks=tuple(mask_of(segmentation, size) for segmentation in segmentations),
        keypoints=np.array(poses, dtype=float).reshape(len(poses), -1, 3) if len(poses) == len(entries) > 0 else None,
        crowd=np.array([entry.get("iscrowd", 0) for entry in entries], dtype=bool),
        difficult=np.array([entry.get("ignore", 0) for entry in entries], dtype=bool),
        areas=np.array([entry.get("area", np.nan) for entry in entries], dtype=float),
    )


def mask_of(segmentation: Any, size: tuple[int, int]) -> Mask | None:
    if segmentation is None:
        return None
    if isinstance(segmentation, list):
        return Polygon(tuple(np.array(ring, dtype=float).reshape(-1, 2) for ring in segmentation))
    counts = segmentation["counts"]
    return Runs(size, np.array(counts, np.uint32)) if isinstance(counts, list) else runs_from_compressed(counts, size)


def measured_files(truth: dict, results: list[dict], kind: str, skeleton: Skeleton | None = None) -> DetectionMetric:
    labels = {category["id"]: k for k, category in enumerate(sorted(truth["categories"], key=lambda c: c["id"]))}
    metric = DetectionMetric(tuple(str(id) for id in labels), (kind,), skeleton)
    for image in truth["images"]:
        size = (image["height"], image["width"])
        own = [
            [entry for entry in entries if entry["image_id"] == image["id"]]
            for entries in (results, truth["annotations"])
        ]
        metric.update(*(instances(entries, size, labels) for entries in own), id=str(image["id"]))
    return metric


@pytest.mark.parametrize(("kind", "file", "place"), [("mask", "fakesegm", 0), ("box", "fakebbox", 1)])
def test_published_numbers_of_coco(shared: Path, kind: str, file: str, place: int) -> None:
    """100 images of val2014, the official detections, all 12 numbers as printed; and pycocotools' to the last digit."""
    folder = shared / "data" / "coco-eval"
    truth = json.loads((folder / "dataset/cocoapi/instances_val2014_100.json").read_text())
    results = json.loads((folder / f"cocoapi-results/instances_val2014_{file}100_results.json").read_text())
    result = measured_files(truth, results, kind).result()
    printed = (folder / "cocoapi-results/val2014_fake_eval_res.txt").read_text().split("type=")[place + 1]
    published = [100 * float(number) for number in re.findall(r"] = ([\d.]+)", printed)]
    assert len(published) == 12
    np.testing.assert_allclose(list(result.values()), published, rtol=0, atol=0.05 + 1e-9)
    same(result, official(truth, results, kind))


def test_masks_and_crowds_of_the_small_fixture(shared: Path) -> None:
    folder = shared / "data" / "coco-eval" / "dataset"
    truth, results = (json.loads((folder / f"{name}_dataset.json").read_text()) for name in ("gt", "dt"))
    for kind in ("box", "mask"):
        numbers = measured_files(truth, results, kind).result()
        if kind == "mask":
            # pycocotools takes run lengths only, and where it finds a box, the box's area for the mask's.
            sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
            for entry in results:
                size = sizes[entry["image_id"]]
                runs: Any = official_mask.merge(official_mask.frPyObjects(entry["segmentation"], *size))
                entry["segmentation"] = {"size": size, "counts": runs["counts"].decode()}
                del entry["bbox"]
        same(numbers, official(truth, results, kind))


def test_difficult_things_of_the_ignore_fixture(shared: Path) -> None:
    folder = shared / "data" / "coco-eval" / "dataset"
    truth, results = (json.loads((folder / f"{name}_ignore_test.json").read_text()) for name in ("gt", "dt"))
    for entry in (*truth["images"], *truth["annotations"]):
        for key in {"id", "image_id"} & set(entry):
            entry[key] = int(entry[key])
    numbers = measured_files(truth, results, "box").result()
    same(numbers, official(truth, results, "box"))
    for entry in truth["annotations"][::3]:  # as it comes, the fixture says of none that it is to be ignored
        entry["ignore"] = 1
    fewer = measured_files(truth, results, "box").result()
    same(fewer, official(truth, results, "box"))
    assert fewer["box/AP"] != pytest.approx(numbers["box/AP"], abs=0.1)


@pytest.mark.parametrize("name", ["person", "crowdpose"])
def test_keypoints_of_the_fixtures(shared: Path, name: str) -> None:
    folder = shared / "data" / "coco-eval"
    files = ("keypoints_dataset/gt_dataset.json", "keypoints_dataset/dt_dataset.json")
    if name == "crowdpose":
        files = ("dataset/example_crowdpose_val.json", "dataset/example_crowdpose_preds.json")
    truth, results = (json.loads((folder / file).read_text()) for file in files)
    for entry in truth["annotations"]:
        entry.setdefault("area", 0.53 * entry["bbox"][2] * entry["bbox"][3])  # CrowdPose has none, and takes this
    for entry in results:
        entry.pop("bbox", None)  # or pycocotools would take its area for the person's
    names = tuple(truth["categories"][0]["keypoints"])
    sigmas = tuple(np.linspace(0.03, 0.1, len(names)).tolist())
    skeleton = Skeleton(names, (), tuple(range(len(names))), sigmas)
    result = measured_files(truth, results, "keypoints", skeleton).result()
    same(result, official(truth, results, "keypoints", sigmas))
    assert result["keypoint/AP"] > 1


# Pascal VOC


def as_the_devkit_does(case: Case, classes: int, threshold: float, points: str | int) -> float:
    """Class by class, all detections of all images in one list, each looked up in its image: nothing shared with us."""
    averages = []
    for k in range(classes):
        rows, total, taken = [], 0, set()
        for number, (_, prediction, truth) in enumerate(case):
            assert truth.difficult is not None and truth.crowd is not None and prediction.scores is not None
            total += sum(1 for n in range(len(truth)) if truth.labels[n] == k and not ignored(truth, n))
            rows += [
                (-float(prediction.scores[d]), number, d) for d in range(len(prediction)) if prediction.labels[d] == k
            ]
        if not total:
            continue
        right = wrong = 0
        curve = [(0.0, 0.0)]
        for _, number, d in sorted(rows):
            _, prediction, truth = case[number]
            best, which = -math.inf, -1
            for n in range(len(truth)):
                overlap = overlap_of(prediction.boxes[d].tolist(), truth.boxes[n].tolist())
                if truth.labels[n] == k and overlap > best:
                    best, which = overlap, n
            if best >= threshold and ignored(truth, which):
                continue
            if best >= threshold and (number, which) not in taken:
                taken.add((number, which))
                right += 1
            else:
                wrong += 1
            curve.append((right / total, right / (right + wrong)))
        if points == 11:
            reach = [max((p for r, p in curve if r >= t - 1e-12), default=0.0) for t in np.linspace(0, 1, 11)]
            averages.append(sum(reach) / 11)
        else:
            area = 0.0
            for n in range(1, len(curve)):
                area += (curve[n][0] - curve[n - 1][0]) * max(p for _, p in curve[n:])
            averages.append(area)
    return 100 * sum(averages) / len(averages) if averages else math.nan


def ignored(truth: Instances, n: int) -> bool:
    assert truth.difficult is not None and truth.crowd is not None
    return bool(truth.difficult[n] or truth.crowd[n])


def overlap_of(a: list[float], b: list[float]) -> float:
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if wide <= 0 or high <= 0:
        return 0.0
    return wide * high / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - wide * high)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.integers(0, 10**6), st.sampled_from([0.5, 0.3, 0.75, 1.0]), st.sampled_from(["all", 11]))
def test_voc_agrees_with_a_literal_second_implementation(
    seed: int, threshold: float, points: Literal["all", 11]
) -> None:
    case, classes = nasty(seed, ("box",), most=8)
    metric = VocMetric(classes, threshold, points)
    for id, prediction, truth in case:
        metric.update(prediction, truth, id)
    expected = as_the_devkit_does(case, len(classes), threshold, points)
    assert metric.result()["mAP_voc"] == pytest.approx(expected, abs=1e-9, nan_ok=True)


def voc_files(folder: Path, inclusive: int) -> Case:
    """The published example: name, score, x, y, width and height of whole pixels."""
    case: Case = []
    for file in sorted((folder / "groundtruths").iterdir()):
        lines = [[line.split()[1:] for line in (folder / part / file.name).read_text().splitlines() if line.strip()]
                 for part in ("detections", "groundtruths")]  # fmt: skip
        found, true = (np.array(rows, dtype=float) for rows in lines)
        boxes = [np.concatenate([b[:, :2], b[:, :2] + b[:, 2:] + inclusive], axis=1) for b in (found[:, 1:], true)]
        labels = [np.zeros(len(b), np.int64) for b in boxes]
        case.append(
            (file.stem, Instances(SIZE, boxes[0], labels[0], found[:, 0]), Instances(SIZE, boxes[1], labels[1]))
        )
    return case


@pytest.mark.parametrize(("points", "published"), [("all", 24.56), (11, 26.84)])
def test_published_numbers_of_voc(shared: Path, points: Literal["all", 11], published: float) -> None:
    """Both answers were made with x + width for the last pixel inside: VOC's convention. Without it one is 22.54."""
    metric = VocMetric(("person",), 0.3, points)
    for id, prediction, truth in voc_files(shared / "data" / "voc-eval", inclusive=1):
        metric.update(prediction, truth, id)
    assert metric.result()["mAP_voc"] == pytest.approx(published, abs=0.01)
    assert [(row.name, row.count) for row in metric.per_class()] == [("person", 15)]


def voc_of(boxes: list[list[float]], scores: list[float], true: list[list[float]], **columns: Any) -> VocMetric:
    metric = VocMetric(("a", "b"))
    prediction = Instances(SIZE, np.array(boxes), np.zeros(len(boxes), np.int64), np.array(scores))
    metric.update(prediction, Instances(SIZE, np.array(true), np.zeros(len(true), np.int64), **columns), "x")
    return metric


def test_voc_by_hand() -> None:
    """Right, wrong, right of three things: precision 1 to recall 1/3, then 2/3 to recall 2/3: 1/3 (1 + 2/3)."""
    right = np.array([True, False, True])
    assert average_precision(right, 3, "all") == pytest.approx((1 + 2 / 3) / 3)
    # Recalls 0 to 0.3 are had at precision 1, 0.4 to 0.6 at 2/3.
    assert average_precision(right, 3, 11) == pytest.approx((4 + 3 * 2 / 3) / 11)
    # 3 of 10 reach the recall 0.3, though 3 * 0.1 > 0.3 in binary.
    assert average_precision(np.ones(3, bool), 10, 11) == pytest.approx(4 / 11)
    assert average_precision(np.zeros(0, bool), 3, "all") == average_precision(np.zeros(0, bool), 3, 11) == 0


def test_voc_punishes_duplicates_even_beside_a_free_thing() -> None:
    """Both detections overlap the first thing most, so the second is wrong, though the other thing would do."""
    things = [[0.0, 0, 10, 10], [0, 2, 10, 12]]
    metric = voc_of([[0.0, 0, 10, 10], [0, 0.5, 10, 10.5]], [0.9, 0.8], things)
    assert metric.result()["mAP_voc"] == pytest.approx(50)
    assert metric.outcomes["x"].right.tolist() == [True, False]


def test_voc_leaves_difficult_things_alone() -> None:
    things = [[0.0, 0, 10, 10], [50, 50, 60, 60]]
    found, scores = [[50.0, 50, 60, 60], [50, 50, 60, 60], [0, 0, 10, 10]], [0.9, 0.8, 0.7]
    for columns in ({"difficult": np.array([False, True])}, {"crowd": np.array([False, True])}):
        metric = voc_of(found, scores, things, **columns)
        assert metric.result()["mAP_voc"] == pytest.approx(100)
        assert [(row.count, math.isnan(row.AP)) for row in metric.per_class()] == [(1, False), (0, True)]
    assert voc_of(found, scores, things).result()["mAP_voc"] == pytest.approx(100 * (1 + 2 / 3) / 2)


def test_voc_without_anything() -> None:
    assert math.isnan(VocMetric(("a",)).result()["mAP_voc"])
    empty = Instances(SIZE, np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0))
    one = Instances(SIZE, np.array([[0.0, 0, 9, 9]]), np.zeros(1, np.int64), np.ones(1))
    for prediction, truth, value in ((empty, empty, math.nan), (one, empty, math.nan), (empty, one, 0.0)):
        metric = VocMetric(("a",))
        metric.update(prediction, replace(truth, scores=None), "x")
        assert metric.result()["mAP_voc"] == pytest.approx(value, nan_ok=True)
