"""The built-in scenes: as hard as they say, exact to the pixel, the same for everyone at every size."""

import math
import pickle

import cv2
import numpy as np
import pytest
from sklearn.datasets import load_digits

from saccade.data.formats import scene_plan, scenes
from saccade.data.formats.scene_plan import plan_of
from saccade.data.source import Source, Split, read
from saccade.errors import UsageError
from saccade.geometry.masks import Runs, bitmap, box


@pytest.fixture(scope="module")
def source() -> Source:
    return read("scenes")


@pytest.fixture(scope="module")
def tiny() -> Source:
    return read("scenes-64")


def parts(source: Source) -> tuple[Split, Split]:
    return source.splits["train"], source.splits["test"]


def objects_of(split: Split):
    assert split.objects is not None
    return split.objects


def whole(split: str, side: int, digit: int) -> tuple[slice, slice, np.ndarray]:
    """Where a digit is, and its mask, if nothing stood in front of it."""
    (rows, columns), ink, _ = plan_of(split).drawn(digit, side)
    return rows, columns, ink >= scene_plan.INK


def test_it_is_as_large_as_it_says(source: Source) -> None:
    assert {name: len(split) for name, split in source.splits.items()} == {"train": 2000, "test": 500}
    assert source.classes == tuple("0123456789")
    for split in parts(source):
        objects = objects_of(split)
        counts = np.diff(objects.starts)
        assert sorted(set(counts)) == list(range(1, 9))
        # Each number of digits is as likely as any other, and each class nearly so.
        assert np.bincount(counts)[1:].min() > 0.75 * len(split) / 8
        assert np.bincount(objects.labels, minlength=10).min() > 0.08 * objects.count
        assert not objects.crowd.any()
        assert not objects.difficult.any()
    assert not set(source.splits["train"].ids) & set(source.splits["test"].ids)


@pytest.mark.parametrize("name", ["train", "test"])
def test_nobody_is_in_training_and_test(name: str) -> None:
    """The forms begin with 0 to 9 twice, and each has the same row of digits, but for a few that were left out."""
    digits = load_digits()
    written = "".join(map(str, digits.target))
    begin = "0123456789" * 2
    assert written[scene_plan.FIRST_TEST_DIGIT :].startswith(begin)
    assert written[scene_plan.FIRST_TEST_DIGIT - 10 :].find(begin) == 10, "a form begins there, it does not go on"
    plan = plan_of(name)
    assert set(plan.digits) <= set(range(1415) if name == "train" else range(1415, 1797))
    assert len(set(plan.digits)) > 0.98 * (1415 if name == "train" else 382), "all the handwriting is used"
    assert (plan.labels == digits.target[plan.digits]).all()
    assert (plan.ink == digits.images[plan.digits]).all()


def test_no_image_of_handwriting_is_in_both_parts() -> None:
    train, test = ({ink.tobytes() for ink in plan_of(name).ink} for name in ("train", "test"))
    assert not train & test


@pytest.mark.parametrize("side", [64, 80, 256])
def test_heights_and_covers_stay_within_their_limits(side: int) -> None:
    covered, heights = [], []
    for name in ("train", "test"):
        plan = plan_of(name)
        for scene in range(len(plan)):
            stack = np.full((side, side), -1)
            own = [whole(name, side, digit) for digit in plan.of(scene)]
            for number, (rows, columns, mask) in enumerate(own):
                stack[rows, columns][mask] = number
                heights.append(np.ptp(np.flatnonzero(mask.any(axis=1))) + 1)
            for number, (rows, columns, mask) in enumerate(own):
                hidden = np.count_nonzero(stack[rows, columns][mask] != number)
                covered.append(max(0, hidden - (side < 128)) / mask.sum())
    assert max(covered) <= 0.3
    assert np.mean(np.array(covered) > 0.05) > 0.15, "digits do cover each other"
    assert min(heights) >= 0.12 * side - 1
    assert max(heights) <= 0.45 * side + 1
    assert 0.27 * side < np.mean(heights) < 0.3 * side


def test_digits_are_turned_by_up_to_twenty_degrees_and_not_mirrored_or_slanted() -> None:
    a, b, _, d, e, _ = np.concatenate([plan_of("train").affines, plan_of("test").affines]).T
    degrees = np.degrees(np.arctan2(d, a))
    np.testing.assert_allclose((a, b), (e, -d), atol=1e-12)
    assert a.min() > 0
    assert -20 <= degrees.min() < -19
    assert 19 < degrees.max() <= 20
    assert abs(degrees.mean()) < 1


@pytest.mark.parametrize("side", [64, 256])
def test_annotations_agree_with_each_other(side: int, source: Source, tiny: Source) -> None:
    """Boxes and areas are those of the masks, and the pixel labels are the masks laid together, in every scene."""
    for split in parts(source if side == 256 else tiny):
        maps, objects = split.label_maps, objects_of(split)
        assert maps is not None
        assert maps.classes == ("background", *"0123456789")
        for index in range(0, len(split), 1 if side == 64 else 4):
            instances = objects[index]
            labels = np.zeros((side, side), dtype=np.uint8)
            for k, mask in enumerate(instances.masks or ()):
                assert isinstance(mask, Runs)
                pixels = bitmap(mask, (side, side))
                assert (labels[pixels] == 0).all(), "masks of what is seen do not overlap"
                labels[pixels] = instances.labels[k] + 1
                rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
                assert instances.boxes[k].tolist() == [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
                assert (box(mask) == instances.boxes[k]).all()
                assert instances.areas is not None
                assert instances.areas[k] == pixels.sum()
            assert (maps[index].labels == labels).all()


@pytest.mark.parametrize("side", [64, 256, 333])
def test_masks_are_what_changes_in_the_picture(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By another road: on a black ground with every digit in a brightness of its own, without light and noise, a pixel
    belongs to the digit that makes up more than half of it."""
    objects = objects_of(read(f"scenes-{side}").splits["test"])
    plan = plan_of("test")
    for name in ("LIGHT", "GRAIN"):
        monkeypatch.setattr(scenes, name, 0.0)
    monkeypatch.setattr(scenes, "_ground", lambda rng, colours, side: np.zeros((3, side, side), np.float32))
    for index in range(12):
        truth = objects[index]
        for k in range(len(truth)):
            drawn = [0]
            white, black = np.full(3, 1.0), np.zeros(3)

            def another(rng, colours, drawn=drawn, k=k, white=white, black=black):
                drawn[0] += 1
                return white if drawn[0] - 5 == k else black

            monkeypatch.setattr(scenes, "_another", another)
            # The colours are added to the middle; far beyond it there is only black and white.
            monkeypatch.setattr(scenes, "generator", lambda *key: _Still())
            picture = scenes.paint(plan, index, side)[..., 0]
            assert truth.masks is not None
            mask = truth.masks[k]
            assert isinstance(mask, Runs)
            pixels = bitmap(mask, (side, side))
            unsure = np.abs(picture.astype(int) - 128) <= 1
            # Where two digits meet within a pixel, the one in front decides.
            edge = cv2.dilate((objects_border(truth, k, side)).astype(np.uint8), np.ones((3, 3))) > 0
            assert ((picture > 127) == pixels)[~unsure & ~edge].all()
            assert pixels[picture >= 250].all()
            assert not pixels[(picture <= 5) & ~edge].any()


def objects_border(truth, k: int, side: int) -> np.ndarray:
    """[side, side] bool: the pixels of the other digits."""
    others = [bitmap(mask, (side, side)) for n, mask in enumerate(truth.masks) if n != k]
    return np.any(others, axis=0) if others else np.zeros((side, side), dtype=bool)


class _Still:
    """A generator without chance: no middle colour, no noise."""

    def uniform(self, low=0.0, high=1.0, size=None):
        return 0.0 if size is None else np.zeros(size)

    def normal(self, mean, deviation, size):
        return np.zeros(size)

    def standard_normal(self, size, dtype=np.float64):
        return np.zeros(size, dtype)


def test_the_smooth_enlargement_is_keys_cubic() -> None:
    """Against his equation, point by point."""

    def kernel(s: float) -> float:
        s = abs(s)
        if s < 1:
            return 3 / 2 * s**3 - 5 / 2 * s**2 + 1
        return -1 / 2 * s**3 + 5 / 2 * s**2 - 4 * s + 2 if s < 2 else 0.0

    ink = load_digits().images[5]
    enlarged = scene_plan._enlarged(ink.astype(np.uint8))
    rng = np.random.default_rng(0)
    for row, column in rng.integers(0, 80, (100, 2)).tolist():
        y, x = (row + 0.5) / 8 - 1.5, (column + 0.5) / 8 - 1.5  # counted from the centre of the digit's first pixel
        value = sum(ink[j, i] / 16 * kernel(y - j) * kernel(x - i) for j in range(8) for i in range(8))
        assert abs(enlarged[row, column] - value) < 1e-5


def test_keypoints_are_the_ends_of_the_digit() -> None:
    """By another road: draw each digit large and upright, and look for its outermost ink."""
    plan = plan_of("test")
    for digit in range(60):
        upright = cv2.resize(scene_plan._enlarged(plan.ink[digit]), None, fx=4, fy=4) >= scene_plan.INK
        y, x = np.nonzero(upright)
        x, y = (x + 0.5) / 32 - 5, (y + 0.5) / 32 - 5
        top, left, right = plan.points[digit]
        assert 0 <= top[1] - y.min() < 0.5
        assert 0 <= left[0] - x.min() < 0.5
        assert 0 <= x.max() - right[0] < 0.5
        for u, v in (top, left, right):
            assert np.hypot(x - u, y - v).min() < 0.1, "it lies on the ink"


def test_keypoints_of_hand_made_shapes() -> None:
    bar = np.zeros((80, 80), dtype=bool)
    bar[10:14, 20:60] = True  # the bar of a 7 ...
    bar[14:70, 50:60] = True  # ... and its stem
    top, left, right = scene_plan._ends(bar)
    assert top.tolist() == [40, 12]
    assert left.tolist() == [22, 12]
    assert right.tolist() == [58, 40]
    tips = np.zeros((80, 80), dtype=bool)
    tips[10:40, 10:14] = tips[12:40, 30:34] = tips[36:40, 10:34] = True  # of two tips the higher one counts
    assert scene_plan._ends(tips)[0].tolist() == [12, 12]


def test_keypoints_are_seen_inside_the_mask_and_hidden_in_one_that_is_in_front(source: Source) -> None:
    for split in parts(source):
        objects = objects_of(split)
        keypoints, hidden = objects.keypoints, 0
        assert keypoints is not None
        assert objects.skeleton is not None
        assert objects.skeleton.sigmas == (0.05, 0.05, 0.05)
        assert objects.skeleton.mirror == (0, 2, 1)
        for index in range(0, len(split), 5):
            instances = objects[index]
            pixels = [bitmap(mask, instances.size) for mask in instances.masks or () if mask]
            assert instances.keypoints is not None
            for k, points in enumerate(instances.keypoints):
                for x, y, visibility in points.tolist():
                    at = [n for n, own in enumerate(pixels) if own[int(y), int(x)]]
                    assert visibility == (1 if any(n > k for n in at) else 2)
                    # The middle of a bent end may lie a hair beside the ink.
                    assert visibility == 1 or pixels[k][int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3].any()
                    hidden += visibility == 1
        assert hidden > 0
        assert 0.02 < (keypoints[..., 2] == 1).mean() < 0.1


def test_a_scene_is_the_same_arrangement_at_every_size(source: Source, tiny: Source) -> None:
    other = read("scenes-300")
    for name in ("train", "test"):
        reference = objects_of(source.splits[name])
        for side, set_ in ((64, tiny), (300, other)):
            objects = objects_of(set_.splits[name])
            assert (objects.labels == reference.labels).all()
            assert (objects.starts == reference.starts).all()
            assert (objects.sizes == side).all()
            # A sliver that is seen beside a digit in front may be lost between pixels.
            apart = np.abs(objects.boxes / side - reference.boxes / 256).max(axis=1)
            assert np.quantile(apart, 0.99) < 1.5 / side
            assert objects.keypoints is not None
            assert reference.keypoints is not None
            np.testing.assert_allclose(
                objects.keypoints[..., :2] / side, reference.keypoints[..., :2] / 256, rtol=0, atol=1e-5
            )
        small, large = (part.splits[name].images[7] for part in (tiny, source))
        shrunk = cv2.resize(cv2.GaussianBlur(large, (0, 0), 2), (64, 64), interpolation=cv2.INTER_AREA)
        assert np.abs(shrunk.astype(int) - small).mean() < 16


def test_pictures_are_keyed(source: Source) -> None:
    """The same in any order, alone or in a part, and after a journey to another process; another split differs."""
    train, test = parts(source)
    alone = train.images[1234]
    assert alone.shape == (256, 256, 3)
    assert alone.dtype == np.uint8
    part = train.take([5, 1234, 5])
    travelled = pickle.loads(pickle.dumps(part))
    for split in (part, travelled):
        assert (split.images[1] == alone).all()
        assert (split.images[0] == split.images[2]).all()
        assert split.ids == ["train/0005", "train/1234", "train/0005"]
        assert split.label_maps is not None
        assert train.label_maps is not None
        assert (split.label_maps[1].labels == train.label_maps[1234].labels).all()
        assert split.open(1).size == (256, 256)
    assert (scenes.scenes(256).splits["train"].images[1234] == alone).all()
    assert (test.images[123] != train.images[123]).mean() > 0.9
    with pytest.raises(IndexError):
        _ = test.images[500]


def test_the_pictures_have_not_changed(source: Source) -> None:
    """Measured once; other versions of the libraries may round a pixel otherwise."""
    means = [split.images[i].mean(axis=(0, 1)) for split in parts(source) for i in (0, 100)]
    np.testing.assert_allclose(means, MEANS, atol=0.5)
    first = objects_of(source.splits["test"])[0]
    assert first.labels.tolist() == [1]
    np.testing.assert_allclose(first.boxes, FIRST_BOX, atol=1)


MEANS = [[151.29, 142.35, 118.33], [118.96, 106.13, 121.58], [131.19, 113.44, 158.13], [134.33, 137.61, 132.10]]
FIRST_BOX = [[91, 120, 159, 222]]


def test_it_is_light() -> None:
    """What every worker of a loader gets: less than a hundredth of the pictures' bytes."""
    split = read("scenes").splits["train"]
    assert len(pickle.dumps(split.images)) < 2000 * 256 * 256 * 3 / 100


def _iou(mask: np.ndarray, found: np.ndarray) -> float:
    return np.count_nonzero(mask & found) / np.count_nonzero(mask | found)


def test_a_threshold_does_not_find_the_digits() -> None:
    """Not Otsu's; and not even the best brightness, above or below, chosen for each image by someone who knows."""
    plan = plan_of("test")
    otsu, best = [], []
    for scene in range(60):
        grey = cv2.cvtColor(scenes.paint(plan, scene, 128), cv2.COLOR_RGB2GRAY)
        digits = plan.labelled(scene, 128)[0] > 0
        level, _ = cv2.threshold(grey, 0, 255, cv2.THRESH_OTSU)
        otsu.append(max(_iou(digits, grey > level), _iou(digits, grey <= level)))
        best.append(max(_iou(digits, side) for at in range(8, 250, 6) for side in (grey > at, grey <= at)))
    assert np.mean(otsu) < 0.25
    assert np.mean(best) < 0.35


def test_digits_stand_out_as_much_as_the_ground_varies() -> None:
    """In colour, digit against the ground in its window: the one is neither lost in the other nor plain to see."""
    plan = plan_of("test")
    ratios, distances = [], []
    for scene in range(60):
        picture = scenes.paint(plan, scene, 128).astype(float)
        seen, windows = plan.labelled(scene, 128)
        for number, window in enumerate(windows, 1):
            digit, ground = picture[window][seen[window] == number], picture[window][seen[window] == 0]
            distances.append(np.linalg.norm(digit.mean(axis=0) - ground.mean(axis=0)))
            ratios.append(distances[-1] / math.sqrt(ground.var(axis=0).sum()))
    assert 1 < np.median(ratios) < 2
    assert np.quantile(distances, 0.02) > 25, "a person can read all but a few"


@pytest.mark.parametrize("name", ["scenes-63", "scenes-1025", "scenes-0", "scenes-99999"])
def test_sizes_beyond_the_limits_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="a side of 64 to 1024 pixels but got"):
        read(name)


@pytest.mark.parametrize("name", ["scene", "scenes-", "scenes-big", "scenes-12x12", "scenes--64", "scenes-9999999999"])
def test_other_names_are_unknown(name: str) -> None:
    with pytest.raises(UsageError, match="did you mean 'scenes'"):
        read(name)


def test_the_largest_size() -> None:
    picture = scenes.paint(plan_of("test"), 3, 1024)
    assert picture.shape == (1024, 1024, 3)
    smaller = scenes.paint(plan_of("test"), 3, 256)
    shrunk = cv2.resize(picture, (256, 256), interpolation=cv2.INTER_AREA)
    assert np.abs(shrunk.astype(int) - smaller).mean() < 8
