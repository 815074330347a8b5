"""Anchors: the best of all by trying them, for every set of boxes that there can be."""

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ran import cli
from safetensors.torch import save_file

from saccade.backbones.weights import Weights
from saccade.data import source as sources
from saccade.data.formats import coco
from saccade.errors import SaccadeError, UsageError
from saccade.models import create_model
from saccade.recipes.anchors import find_anchors, sides_of
from saccade.recipes.fit_job import anchors_for, network_for
from saccade.structures import Preprocessing
from saccade.tasks.detect.anchor_shapes import as_settings, cluster, overlap
from saccade.tasks.detect.yolov3 import COCO_TINY
from saccade.training.config import Config
from saccade.training.display import Display


def test_overlap_by_hand() -> None:
    first, second = np.array([[10.0, 20], [4, 4]]), np.array([[20.0, 10], [4, 8]])
    assert overlap(first, second).tolist() == [[100 / 300, 32 / 200], [16 / 200, 16 / 32]]


def test_groups_of_boxes_get_an_anchor_each() -> None:
    rng = np.random.default_rng(0)
    middles = np.array([[10.0, 12], [40, 20], [30, 90]])
    sides = np.concatenate([middle * rng.uniform(0.95, 1.05, (50, 2)) for middle in middles])
    found = cluster(sides, 3)
    expected = [sides[50 * k : 50 * k + 50].mean(0) for k in range(3)]
    np.testing.assert_allclose(found.shapes, expected, rtol=2e-3)
    np.testing.assert_allclose(found.overlaps, overlap(found.sides, found.shapes).max(1))


def test_no_division_of_a_few_boxes_is_better() -> None:
    """Of all ways to put seven boxes into two groups the means of the best overlap them no more."""
    sides = np.random.default_rng(3).uniform(10, 100, (7, 2)).round(2)
    best = 0.0
    for chosen in itertools.product((False, True), repeat=7):
        mine = np.array(chosen)
        if mine.any() and not mine.all():
            means = np.stack([sides[mine].mean(0), sides[~mine].mean(0)])
            best = max(best, float(overlap(sides, means).max(1).mean()))
    assert cluster(sides, 2).overlaps.mean() >= best - 0.01


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.02, 2000), st.floats(0.02, 2000)), min_size=1, max_size=12),
    st.sampled_from([1, 6, 9]),
)
def test_every_set_of_boxes_has_anchors(sides: list[tuple[float, float]], count: int) -> None:
    """So many, small to large, none twice, none of no width, and each fit for a network."""
    found = cluster(np.array(sides), count)
    shapes = as_settings(found.shapes)
    assert len(shapes) == count and np.isfinite(found.overlaps).all()
    assert all(side > 0 for shape in shapes for side in shape)
    areas = found.shapes.prod(1)
    assert (np.diff(areas) >= 0).all()


@pytest.mark.parametrize("sides", [[[100.0, 50]], [[10.0, 10], [20, 20]], [[0.6, 40.0]]])
def test_one_or_two_boxes_have_as_many_anchors_as_are_asked_for(sides: list[list[float]]) -> None:
    found = cluster(np.array(sides), 9)
    assert len({tuple(shape) for shape in as_settings(found.shapes)}) == 9
    assert found.overlaps.tolist() == pytest.approx([1.0] * len(sides))
    create_model("yolov3", 2, backbone="resnet18", anchors=as_settings(found.shapes))


def test_boxes_that_are_one_share_of_images_of_all_sizes() -> None:
    rng = np.random.default_rng(0)
    shares = np.array([(height / 3, width / 3) for height, width in rng.uniform(50, 3000, (40, 2))])
    alike = np.stack([shares[:, 0] / shares[:, 0] * 41.6, shares[:, 1] * (41.6 / shares[:, 1])], 1)
    assert len(cluster(alike, 6).shapes) == 6


def test_rounded_they_still_go_from_small_to_large() -> None:
    """Of shapes of one area the last digit that is kept decides, and YOLOv3 takes none that go from large to small."""
    exact = [[84.0823, 35.6851], [42.7619, 70.2636], [35.7911, 84.0601], [50.1907, 59.9465], [71.8001, 41.8501]]
    anchors = as_settings(np.array([*exact, [60.0401, 50.0501]]))
    areas = [width * height for width, height in anchors]
    assert areas == sorted(areas) and anchors[-1] == [35.8, 84.1], "the third of those given"
    create_model("yolov3_tiny", 2, anchors=anchors)


def test_without_a_box_there_is_none() -> None:
    for sides in (np.zeros((0, 2)), np.array([[0.0, 5.0]])):
        with pytest.raises(SaccadeError, match="mark some things first"):
            cluster(sides, 3)


def test_the_command_says_and_draws_them(tmp_path: Path) -> None:
    source = sources.read("scenes-64")
    coco.write(source.with_splits({"train": source.splits["train"].take(range(6))}), tmp_path / "coco")
    done = cli("anchors", tmp_path / "coco", "--count", 6, "--size", 128, "--out", tmp_path / "a.svg", "--json")
    told = json.loads(done.out)
    objects = source.splits["train"].take(range(6)).objects
    assert objects is not None
    sides = 2 * (objects.boxes[:, 2:] - objects.boxes[:, :2])  # scenes of 64 pixels, seen at 128
    assert told["anchors"] == as_settings(cluster(sides, 6).shapes) and told["boxes"] == len(sides)
    assert told["anchors"] == as_settings(find_anchors(tmp_path / "coco", 6, 128).shapes)
    assert (tmp_path / "a.svg").read_text().startswith("<svg")
    assert Preprocessing.whole(128, 128).view((64, 64)).size == (128, 128)


def test_a_broken_annotation_stops_it_or_is_left_out_and_named(tmp_path: Path) -> None:
    train = sources.read("scenes-64").splits["train"].take(range(6))
    coco.write(sources.read("scenes-64").with_splits({"train": train}), tmp_path / "coco")
    (file,) = (tmp_path / "coco").rglob("*train*.json")
    content = json.loads(file.read_text())
    boxes = len(content["annotations"])
    del content["annotations"][0]["bbox"], content["annotations"][0]["segmentation"]
    file.write_text(json.dumps(content))
    refused = cli("anchors", tmp_path / "coco", "--count", 6)
    assert refused.code == 1 and "bbox" in refused.err
    said = cli("anchors", tmp_path / "coco", "--count", 6, "--skip-broken")
    assert said.code == 0 and "skipped " in said.out and f"{boxes - 1} boxes" in said.out
    told = json.loads(cli("anchors", tmp_path / "coco", "--count", 6, "--skip-broken", "--json").out)
    assert told["boxes"] == boxes - 1 and len(told["skipped"]) == 1


def test_what_nobody_learns_from_shapes_no_anchor() -> None:
    train = sources.read("scenes-64").splits["train"].take(range(3))
    assert train.objects is not None
    crowd, difficult = np.zeros(train.objects.count, dtype=bool), np.zeros(train.objects.count, dtype=bool)
    crowd[0], difficult[2] = True, True
    odd = replace(train, objects=replace(train.objects, crowd=crowd, difficult=difficult))
    own = sides_of(train, Preprocessing.whole(64, 64))
    assert sides_of(odd, Preprocessing.whole(64, 64)).tolist() == np.delete(own, [0, 2], axis=0).tolist()


@pytest.mark.parametrize("kind", ["nothing", "backbone", "detector"])
def test_anchors_are_found_for_weights_that_have_none(tmp_path: Path, kind: str) -> None:
    """A detector's file has learnt with some, whatever it is called."""
    network, found = create_model("yolov3_tiny", 5), None
    if kind != "nothing":
        state = network.state_dict() if kind == "detector" else network.trunk.state_dict()
        save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / "some.safetensors")
        found = Weights(tmp_path / "some.safetensors")
    train = sources.read("scenes-64").splits["train"].take(range(6))
    got = anchors_for("yolov3_tiny", found, {}, train, Config(), Display(quiet=True))
    assert bool(got) == (kind != "detector")
    assert anchors_for("yolov3_tiny", found, {"anchors": COCO_TINY}, train, Config(), Display(quiet=True)) == {}


def test_options_of_a_network() -> None:
    """0 where that is what it is without being said, or where a share is asked for."""

    def build(name: str, **options: Any) -> Any:
        return network_for(name, 3, None, "scratch", Config(), options)

    assert build("yolov3_tiny", giou=0).giou == 0
    assert build("ssd", neck=0, backbone="resnet18", width=16).num_classes == 3
    assert build("yolov1", backbone="resnet18", width=8, hidden=8, dropout=0, in_channels=1).in_channels == 1
    with pytest.raises(UsageError, match="ssd: width must be a whole number of at least 1, got 0"):
        build("ssd", width=0)
    with pytest.raises(UsageError, match="in colour, 3 channels, or grey, 1"):
        build("ssd", in_channels=4)
    weights = Weights(Path("w.safetensors"), Preprocessing.standard((224, 224)))
    with pytest.raises(UsageError, match="the weights are for 3 channels"):
        network_for("ssd", 3, weights, "finetune", Config(), {"in_channels": 1})
