"""Training images for detectors that look once: mosaics, parts and frames, several sizes, two images in one."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saccade.data import mosaic
from saccade.data.augment import OVERLAPS, Augmentation
from saccade.data.formats.scenes import scenes
from saccade.data.loader import Dataset, Loader
from saccade.data.objects import Objects
from saccade.data.source import Split
from saccade.errors import UsageError
from saccade.geometry import masks
from saccade.geometry.view import View
from saccade.recipes.fit_job import augmentation_of
from saccade.structures import Batch, Instances, Preprocessing, joined
from saccade.tasks.detect.aligned import Aligned
from saccade.training.config import configure
from saccade.training.mixing import mix_objects

GROUND = 20
PLAIN = Augmentation(flip=0.5)


def coloured(count: int = 6, size: tuple[int, int] = (60, 80)) -> Split:
    """Images of a dark ground with one rectangle each, as bright as its label says."""
    rng = np.random.default_rng(0)
    images, boxes = np.full((count, *size, 3), GROUND, dtype=np.uint8), []
    for number, image in enumerate(images):
        left, top = rng.integers(0, size[1] - 30), rng.integers(0, size[0] - 30)
        right, bottom = left + rng.integers(12, 30), top + rng.integers(12, 30)
        image[top:bottom, left:right] = 100 + 12 * number
        boxes.append([left, top, right, bottom])
    numbers = np.arange(count)
    nothing = np.zeros(count, dtype=bool)
    objects = Objects(
        starts=np.arange(count + 1),
        sizes=np.tile(np.array(size, dtype=np.int32), (count, 1)),
        boxes=np.array(boxes, dtype=np.float64),
        labels=numbers,
        crowd=nothing,
        difficult=nothing,
        areas=np.full(count, np.nan),
        masks=None,
        keypoints=None,
        skeleton=None,
        ids=numbers,
        noun="line",
        files=["made up"],
    )
    return Split(images, [str(number) for number in numbers], objects=objects)


def dataset(augmentation: Augmentation = PLAIN, side: int = 64, **options: Any) -> Dataset:
    black = replace(Preprocessing.whole(side, side), mean=(0.0, 0.0, 0.0))
    return Dataset(coloured(), black, augmentation, known="objects", **options)


@given(st.integers(2, 300), st.integers(2, 300), st.integers(0, 1000))
def test_four_parts_cover_everything_once(height: int, width: int, seed: int) -> None:
    covered = np.zeros((height, width), dtype=int)
    for top, left, (high, wide) in mosaic.parts((height, width), np.random.default_rng(seed)):
        assert high > 0 and wide > 0
        covered[top : top + high, left : left + wide] += 1
    assert (covered == 1).all()


def test_boxes_lie_around_what_is_seen_of_the_things() -> None:
    """Every bright rectangle of a mosaic has a box of its label, to the pixel, and every box its rectangle."""
    data, seen = dataset(mosaic=1.0), 0
    for epoch in range(8):
        for index in range(len(data)):
            sample = data[epoch, index]
            assert sample.image.shape == (64, 64, 3)
            # Resampling blurs an edge by a pixel, and what is left of a thing may be too little to learn from.
            left = sample.image[..., 0].astype(int)
            for box, label in zip(sample.target.boxes, sample.target.labels, strict=True):
                column, row, right, bottom = np.round(box).astype(int)
                inner = left[row + 1 : bottom - 1, column + 1 : right - 1]
                assert (np.abs(inner - (100 + 12 * label)) <= 5).all()
                seen += inner.size > 0
                left[max(0, row - 1) : bottom + 1, max(0, column - 1) : right + 1] = GROUND
            assert (left > 90).sum() < 64
    assert seen > 60


def test_mosaics_have_more_things_and_are_repeatable() -> None:
    data = dataset(mosaic=1.0)
    first, again = data[3, 2], data[3, 2]
    assert np.array_equal(first.image, again.image) and np.array_equal(first.target.boxes, again.target.boxes)
    things = [len(data[0, index].target) for index in range(6)]
    assert max(things) > 1 and sum(things) > 9


def test_mosaics_are_closed_at_the_end() -> None:
    plain, closing = dataset(), dataset(mosaic=1.0, closed=2)
    assert len({closing[1, index].image.shape for index in range(6)}) == 1
    for index in range(6):
        assert closing[2, index].image.shape == plain[2, index].image.shape == (48, 64, 3)
    # Without mosaics nothing is drawn for them: what was trained before can be trained again.
    assert np.array_equal(dataset(mosaic=0.0)[0, 1].image, plain[0, 1].image)


@pytest.mark.parametrize(
    "augmentation",
    [PLAIN, Augmentation(expand=3.0, patch=0.7, zoom=(0.5, 1.5)), Augmentation(crop=(0.3, 1.0), quarter_turn=0.5)],
    ids=["plain", "frames and parts", "crops and turns"],
)
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_the_size_is_known_before_the_image_is_opened(augmentation: Augmentation, share: float) -> None:
    data = dataset(augmentation, mosaic=share)
    for epoch in range(4):
        for index in range(6):
            assert data.size(epoch, index) == data[epoch, index].image.shape[:2]


def test_masks_and_keypoints_move_into_mosaics() -> None:
    source = scenes(96)
    split = source.splits["train"].take(range(12))
    data = Dataset(split, Preprocessing.whole(96, 96), PLAIN, known="objects", mosaic=1.0)
    for index in range(12):
        target = data[0, index].target
        assert target.masks is not None and target.keypoints is not None and len(target.masks) == len(target)
        marked = target.keypoints[target.keypoints[..., 2] > 0]
        assert ((marked[:, :2] >= 0) & (marked[:, :2] <= 96)).all()


@given(st.integers(0, 400))
def test_a_part_shows_a_thing_as_well_as_was_asked(seed: int) -> None:
    """All of it, or a part of at least 0.3 of each side; the overlaps that are asked for are reached."""
    box, source = np.array([[10.0, 12.0, 40.0, 50.0]]), (60, 80)
    augmentation, rng = Augmentation(patch=1.0), np.random.default_rng(seed)
    asked = np.random.default_rng(seed)
    asked.random()
    choice = int(asked.integers(len(OVERLAPS) + 2))
    view = augmentation.view(source, Preprocessing.stretched((64, 64)), rng, boxes=box)
    back = view.inverse().move_boxes(np.array([[0.0, 0.0, 64.0, 64.0]]))[0]
    assert (back >= -1e-6).all() and back[2] <= 80 + 1e-6 and back[3] <= 60 + 1e-6
    if choice < len(OVERLAPS):
        shared = np.prod(np.maximum(0, np.minimum(back[2:], box[0, 2:]) - np.maximum(back[:2], box[0, :2])))
        area = (back[2] - back[0]) * (back[3] - back[1])
        overlap = shared / (area + 30 * 38 - shared)
        whole = area > 80 * 60 - 1e-6
        assert whole or overlap >= OVERLAPS[choice] - 1e-9


def test_things_stay_in_a_part_by_their_middles() -> None:
    data, kept, gone = dataset(Augmentation(patch=1.0)), 0, 0
    for epoch in range(40):
        sample = data[epoch, 0]
        box = sample.view.move_boxes(data.split.objects[0].boxes)[0] if data.split.objects else np.zeros(4)
        middle = (box[:2] + box[2:]) / 2
        inside = bool((middle >= 0).all() and (middle < sample.view.size[::-1]).all())
        assert len(sample.target) == inside
        kept, gone = kept + inside, gone + (not inside)
    assert kept > 10 and gone > 2


def test_a_frame_around_the_image() -> None:
    """Half of the time; then all of the image is there, smaller, and the rest is of the mean colour."""
    data, framed = dataset(Augmentation(expand=3.0)), 0
    for epoch in range(30):
        sample = data[epoch, 1]
        inner = (sample.image[..., 0] >= GROUND - 1).sum()
        share = (sample.view.determinant * 60 * 80) / (sample.image.shape[0] * sample.image.shape[1])
        assert inner / sample.image[..., 0].size == pytest.approx(share, abs=0.06)
        framed += share < 0.99
    assert 8 <= framed <= 22


@pytest.mark.parametrize("frame", ["whole", "stretched"])
def test_batches_of_several_sizes(frame: str) -> None:
    preprocessing = Preprocessing.whole(64, 64) if frame == "whole" else Preprocessing.stretched((64, 64))
    data = Dataset(coloured(12), preprocessing, PLAIN, known="objects")
    loader = Loader(data, 2, shuffle=True, scales=(0.5, 2.0))
    batches = [list(loader.epoch(epoch)) for epoch in range(3)]
    sides = [[max(batch.images.shape[2:]) for batch in one] for one in batches]
    assert {side for one in sides for side in one} <= {32, 64, 96, 128} and len(
        {side for one in sides for side in one}
    ) > 2
    assert sides[0] != sides[1]
    # Resumed in the middle of an epoch, or loaded by another process, it is the same.
    for other in (
        Loader(data, 2, shuffle=True, scales=(0.5, 2.0)),
        Loader(data, 2, shuffle=True, scales=(0.5, 2.0), workers=1),
    ):
        for batch, expected in zip(other.epoch(1, start=2), batches[1][2:], strict=True):
            assert torch.equal(batch.images, expected.images)
    for batch in batches[0]:
        for target, view in zip(batch.targets, batch.views, strict=True):
            assert target.size == view.size
            assert (target.boxes <= np.array(view.size[::-1] * 2)).all()
    plain = [batch.images.shape for batch in Loader(data, 2, shuffle=False, scales=(0.5, 2.0)).epoch()]
    assert {max(shape[2:]) for shape in plain} == {64}, "evaluation always looks at the same"


def test_two_images_in_one_have_the_things_of_both() -> None:
    images = torch.stack([torch.full((3, 32, 32), 200.0), torch.full((3, 32, 32), 100.0)]).to(torch.uint8)
    sizes = [(32, 24), (20, 32)]
    targets = [
        Instances(size, np.array([[number, 0.0, 10.0, 10.0]]), np.array([number])) for number, size in enumerate(sizes)
    ]
    batch = Batch(images, targets, [View.identity(size) for size in sizes], ["a", "b"])
    for seed in range(20):
        mixed = mix_objects(batch, 1.5, np.random.default_rng(seed))
        share = np.random.default_rng(seed).beta(1.5, 1.5)
        assert mixed.sizes == [(32, 32)] * 2
        value = int(mixed.images[0, 0, 0, 0])
        if value == 200:
            assert [len(target) for target in mixed.targets] == [1, 1]
        else:
            assert value == round(100 + 100 * share)
            assert [target.labels.tolist() for target in mixed.targets] == [[0, 1], [1, 0]]
            assert mixed.targets[0].boxes.tolist() == [[0, 0, 10, 10], [1, 0, 10, 10]]


def test_masks_grow_with_the_images_that_are_mixed() -> None:
    """Runs know the size of their image, which is now that of the batch."""
    size, whole = (20, 24), (32, 32)
    flags = np.zeros(size, dtype=bool)
    flags[5:9, 3:11] = True
    target = Instances(
        size, np.array([[3.0, 5, 11, 9]]), np.zeros(1, dtype=np.int64), masks=(masks.runs_from_bitmap(flags),)
    )
    batch = Batch(torch.zeros(1, 3, *whole, dtype=torch.uint8), [target], [View.identity(size)], ["a"])
    mixed = mix_objects(batch, 1.5, np.random.default_rng(0)).targets[0]
    assert mixed.masks is not None and mixed.masks[0] is not None
    bitmap = masks.bitmap(mixed.masks[0], whole)
    assert bitmap[:20, :24].tolist() == flags.tolist() and bitmap.sum() == flags.sum()


def test_joining_what_does_not_belong_together() -> None:
    bare = Instances((10, 10), np.zeros((1, 4)), np.zeros(1, dtype=np.int64))
    scored = replace(bare, scores=np.ones(1))
    with pytest.raises(ValueError, match="scores is known of 1 of 2 parts"):
        joined([bare, scored])
    both = joined([bare, replace(bare, crowd=np.ones(1, dtype=bool))])
    assert both.crowd is not None and both.crowd.tolist() == [False, True]


def test_what_has_no_meaning_is_refused() -> None:
    from saccade.errors import UsageError

    with pytest.raises(UsageError, match="mosaic is for the task detect"):
        configure("scratch", {"mosaic": 0.5}, "segment")
    with pytest.raises(UsageError, match="multi_scale"):
        configure("scratch", {"multi_scale": (1.5, 0.5)}, "detect")
    assert configure("scratch", {"mosaic": 0.5, "multi_scale": [0.5, 1.5]}, "detect").multi_scale == (0.5, 1.5)


def test_mosaics_of_images_that_do_not_vary(tmp_path: Path) -> None:
    """`augmentation=none` says how single images vary; with mosaics four of them are still shown in one."""
    config = configure("scratch", {"mosaic": 1.0, "augmentation": "none", "epochs": 2}, "detect")
    data = Dataset(coloured(), Preprocessing.whole(64, 64), augmentation_of(config), 0, "objects", config.mosaic)
    assert len({data[0, index].image.shape for index in range(6)}) == 1
    counts = [len(target) for target in (data[0, index].target for index in range(6)) if isinstance(target, Instances)]
    assert max(counts) > 1
    with pytest.raises(UsageError, match="choose a smaller close_mosaic"):
        configure("scratch", {"mosaic": 0.5, "close_mosaic": 3, "epochs": 3}, "detect")


def test_a_method_may_have_settings_of_its_own() -> None:
    """What is asked for comes first, then what suits the method, then what suits the task."""
    suited = {"batch_size": 24, "ema": 0.9, "norms": "keep"}
    config = configure("finetune", {"ema": 0.5}, "detect", suited)
    assert (config.batch_size, config.ema, config.norms) == (24, 0.5, "keep")
    assert config.epochs == configure("finetune", {}, "detect").epochs
    # Nothing that is new has norms to keep.
    scratch = configure("scratch", {}, "detect", suited)
    assert (scratch.batch_size, scratch.norms) == (24, "learn")
    assert configure("finetune", {}, "detect", Aligned.recipe).norms == "learn"
