"""Augmentation and the loader: keyed, shared out without loss, and equal to slow computations."""

import colorsys
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from saccade import keyed
from saccade.data.augment import GREY, YIQ, Augmentation
from saccade.data.decode import DecodeError
from saccade.data.loader import Dataset, Loader, collate
from saccade.data.policies import POLICIES
from saccade.data.source import Split, read
from saccade.errors import SaccadeError
from saccade.structures import Batch, Preprocessing, Sample

Make = Callable[..., Path]
SMALL = Preprocessing((16, 16), 18)
EVERYTHING = Augmentation(
    crop=(0.3, 1.0), shift=0.1, flip=0.5, flip_vertical=0.5, rotate=20, shear=10, scale=(0.8, 1.2),
    brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1, cast=0.1, erase=0.5,
)  # fmt: skip
QUIET = settings(deadline=None, derandomize=True, max_examples=60)


def memory(count: int = 23, size: tuple[int, int] = (20, 24)) -> Split:
    images = np.random.default_rng(0).integers(0, 256, (count, *size, 3), dtype=np.uint8)
    return Split(images, [f"image {i}" for i in range(count)], np.arange(count) % 5)


def same(one: Sample, other: Sample) -> bool:
    return (
        np.array_equal(one.image, other.image)
        and (one.target, one.view, one.id) == (other.target, other.view, other.id)
    )  # fmt: skip


def equal(one: Batch, other: Batch) -> bool:
    return (
        torch.equal(one.images, other.images)
        and torch.equal(one.targets, other.targets)
        and (list(one.views), list(one.ids)) == (list(other.views), list(other.ids))
    )


# --- keys -------------------------------------------------------------------------------------------------------------


def test_a_key_gives_one_generator() -> None:
    assert keyed.generator(1, 2, 3).random() == keyed.generator(1, 2, 3).random()
    keys = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 0), (0, 0, "order"), (0, 0, "other"), (0, "order", 0)]
    assert len({keyed.generator(*key).random() for key in keys}) == len(keys)
    assert len({keyed.seed(*key) for key in keys}) == len(keys)
    assert keyed.seed(5, "weights") == keyed.seed(5, "weights")


@QUIET
@given(st.lists(st.one_of(st.integers(0, 2**40), st.text("abcdef", max_size=5)), min_size=1, max_size=4))
def test_seeds_suit_torch(key: list[int | str]) -> None:
    assert 0 <= keyed.seed(*key) < 2**63


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_sample_is_the_same_whenever_it_is_asked_for(tmp_path: Path, class_folders: Make, on_disk: bool) -> None:
    split = read(class_folders(tmp_path, {"a": 6, "b": 6})).splits["all"] if on_disk else memory(12)
    dataset = Dataset(split, SMALL, EVERYTHING, seed=3)
    keys = [(epoch, index) for epoch in range(3) for index in range(12)]
    first = {key: dataset[key] for key in keys}
    other = Dataset(split, SMALL, EVERYTHING, seed=3)
    for key in reversed(keys):
        np.random.default_rng(1).random()
        assert same(other[key], first[key])
        assert same(other[key], first[key])


def test_epochs_images_and_seeds_differ() -> None:
    split = memory(6)
    same_picture = Split(np.stack([split.images[0]] * 6), split.ids, split.labels)
    images = [
        Dataset(same_picture, SMALL, EVERYTHING, seed)[epoch, index].image.tobytes()
        for seed in range(2)
        for epoch in range(3)
        for index in range(6)
    ]
    assert len(set(images)) == len(images)


def test_evaluation_does_not_vary() -> None:
    dataset = Dataset(memory(3), SMALL)
    for index in range(3):
        assert same(dataset[0, index], dataset[7, index])
        view = SMALL.view((20, 24))
        assert np.array_equal(dataset[0, index].image, view.apply(dataset.split.images[index]))


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_the_number_of_workers_makes_no_difference(workers: int) -> None:
    dataset = Dataset(memory(), SMALL, EVERYTHING, seed=1)
    loader = Loader(dataset, 4, shuffle=True, workers=workers)
    for epoch in (1, 0):  # in any order, from workers that stay alive in between
        order = keyed.generator(1, epoch, "order").permutation(23)[:20].reshape(5, 4)
        batches = list(loader.epoch(epoch))
        assert len(batches) == len(loader) == 5
        for batch, indices in zip(batches, order, strict=True):
            assert equal(batch, collate([dataset[epoch, int(index)] for index in indices], dataset.preprocessing))


# --- order and shares -------------------------------------------------------------------------------------------------


def ids(batches: list[Batch]) -> list[str]:
    return [id for batch in batches for id in batch.ids]


@QUIET
@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 3), st.integers(0, 3))
def test_the_order_of_an_epoch_is_a_permutation(count: int, batch_size: int, seed: int, epoch: int) -> None:
    loader = Loader(Dataset(memory(count, (2, 2)), Preprocessing((2, 2), 2), seed=seed), batch_size, shuffle=True)
    seen = ids(list(loader.epoch(epoch)))
    assert len(seen) == len(set(seen)) == len(loader) * min(batch_size, count)
    assert count - len(seen) < min(batch_size, count)


def test_the_order_differs_from_epoch_to_epoch_and_leaves_nobody_out() -> None:
    loader = Loader(Dataset(memory(23, (2, 2)), Preprocessing((2, 2), 2)), 4, shuffle=True)
    orders = [ids(list(loader.epoch(epoch))) for epoch in range(12)]
    assert len({tuple(order) for order in orders}) == 12
    assert {id for order in orders for id in order} == {f"image {i}" for i in range(23)}
    assert ids(list(loader.epoch(3))) == orders[3]


@pytest.mark.parametrize("world", [1, 2, 4])
def test_the_shares_of_all_ranks_make_the_whole_batch(world: int) -> None:
    dataset = Dataset(memory(), SMALL, EVERYTHING)
    alone = list(Loader(dataset, 8, shuffle=True).epoch(2))
    shares = [list(Loader(dataset, 8, shuffle=True, rank=rank, world=world).epoch(2)) for rank in range(world)]
    assert [len(share) for share in shares] == [len(alone)] * world
    for step, whole in enumerate(alone):
        parts = [share[step] for share in shares]
        assert [len(part) for part in parts] == [8 // world] * world
        assert sorted(ids(parts)) == sorted(whole.ids)
        for part in parts:
            for row, id in enumerate(part.ids):
                assert torch.equal(part.images[row], whole.images[whole.ids.index(id)])
                assert part.targets[row] == whole.targets[whole.ids.index(id)]


@pytest.mark.parametrize(("count", "batch_size", "world"), [(20, 6, 4), (3, 8, 2), (20, 1, 2)])
def test_a_batch_that_cannot_be_shared_is_an_error(count: int, batch_size: int, world: int) -> None:
    with pytest.raises(SaccadeError, match=f"multiple of {world}"):
        Loader(Dataset(memory(count), SMALL), batch_size, shuffle=True, world=world)


@QUIET
@given(st.integers(1, 30), st.integers(1, 12), st.integers(1, 5))
def test_evaluation_gives_every_image_once(count: int, batch_size: int, world: int) -> None:
    dataset = Dataset(memory(count, (2, 2)), Preprocessing((2, 2), 2))
    seen = []
    for rank in range(world):
        loader = Loader(dataset, batch_size, shuffle=False, rank=rank, world=world)
        batches = list(loader.epoch())
        assert len(batches) == len(loader)
        seen += ids(batches)
    assert sorted(seen) == sorted(dataset.split.ids)
    if world == 1:
        assert seen == list(dataset.split.ids)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("start", [0, 1, 4, 5])
def test_an_epoch_resumed_gives_the_batches_that_were_left(start: int, workers: int) -> None:
    dataset = Dataset(memory(), SMALL, EVERYTHING)
    whole = list(Loader(dataset, 4, shuffle=True).epoch(3))
    rest = list(Loader(dataset, 4, shuffle=True, workers=workers).epoch(3, start))
    assert len(rest) == 5 - start
    assert all(equal(one, other) for one, other in zip(rest, whole[start:], strict=True))


def test_an_epoch_broken_off_does_not_spoil_the_next() -> None:
    """As when a run ends in the middle: what the workers had in hand must not come out first next time."""
    dataset = Dataset(memory(), SMALL, EVERYTHING)
    loader = Loader(dataset, 4, shuffle=True, workers=1)
    next(iter(loader.epoch(0)))
    expected = list(Loader(dataset, 4, shuffle=True).epoch(1))
    assert all(equal(one, other) for one, other in zip(loader.epoch(1), expected, strict=True))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_vanishes_is_a_clear_error(tmp_path: Path, class_folders: Make, workers: int) -> None:
    split = read(class_folders(tmp_path, {"a": 4, "b": 4})).splits["all"]
    (tmp_path / "b" / "2.png").unlink()
    loader = Loader(Dataset(split, SMALL, EVERYTHING), 2, shuffle=True, workers=workers)
    with pytest.raises(DecodeError) as caught:
        list(loader.epoch())
    assert type(caught.value) is DecodeError
    assert str(caught.value) == "b/2.png: cannot be read (No such file or directory)"
    assert (caught.value.id, caught.value.reason) == ("b/2.png", "cannot be read (No such file or directory)")


def test_batches_are_bytes_and_channels_last(tmp_path: Path, class_folders: Make) -> None:
    split = read(class_folders(tmp_path, {"a": 3, "b": 2})).splits["all"]
    for mode, channels in (("RGB", 3), ("L", 1)):
        preprocessing = Preprocessing((10, 14), 16, mode, (0.5,) * channels, (0.5,) * channels)
        for workers in (0, 1) if mode == "RGB" else (0,):
            dataset = Dataset(split, preprocessing, EVERYTHING)
            batch = next(iter(Loader(dataset, 4, shuffle=True, workers=workers).epoch()))
            assert batch.images.dtype == torch.uint8
            assert tuple(batch.images.shape) == (4, channels, 10, 14)
            assert batch.images.is_contiguous(memory_format=torch.channels_last)
            assert batch.targets.dtype == torch.int64
            assert all(view.size == (10, 14) and view.source == (20, 24) for view in batch.views)


# --- geometry ---------------------------------------------------------------------------------------------------------


def test_no_change_is_the_view_of_evaluation() -> None:
    view = Augmentation().view((50, 70), SMALL, keyed.generator(0))
    assert view == SMALL.view((50, 70))
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    assert np.array_equal(Augmentation().paint(image, SMALL.mean, keyed.generator(0)), image)


@QUIET
@given(
    st.tuples(st.integers(20, 400), st.integers(20, 400)),
    st.floats(0.05, 0.9),
    st.floats(0, 1),
    st.floats(0.4, 1),
    st.integers(0, 10_000),
)
def test_random_crops_keep_to_their_limits(
    source: tuple[int, int], least: float, more: float, narrow: float, seed: int
) -> None:
    most = least + more * (1 - least)
    augmentation = Augmentation(crop=(least, most), aspect=(narrow, 1 / narrow))
    view = augmentation.view(source, SMALL, keyed.generator(seed))
    left, top, right, bottom = view.inverse().affine.bounds(view.size[1], view.size[0])
    wide, high = right - left, bottom - top
    # On whole pixels, and inside the image.
    assert np.allclose((left, top, wide, high), np.round((left, top, wide, high)), atol=1e-6)
    assert left >= -1e-6
    assert top >= -1e-6
    assert right <= source[1] + 1e-6
    assert bottom <= source[0] + 1e-6
    if wide == pytest.approx(high) and wide == pytest.approx(min(source)):
        return  # nothing fitted ten times over: the largest square in the middle
    # Rounding moves each side by half a pixel.
    slack = (1 + 0.5 / (wide - 0.5)) * (1 + 0.5 / (high - 0.5))
    area = wide * high / (source[0] * source[1])
    assert least / slack <= area <= most * slack
    assert narrow / slack <= wide / high <= slack / narrow


def test_random_crops_reach_their_limits() -> None:
    """Limits that are kept by never leaving the middle would be no good either."""
    augmentation = Augmentation(crop=(0.2, 1.0), aspect=(0.5, 2.0))
    crops = []
    for seed in range(400):
        bounds = augmentation.view((200, 200), SMALL, keyed.generator(seed)).inverse().affine.bounds(16, 16)
        crops.append((bounds[2] - bounds[0], bounds[3] - bounds[1], bounds[0], bounds[1]))
    wide, high, left, top = np.array(crops).T
    area, aspect = wide * high / 200**2, wide / high
    assert area.min() < 0.25
    assert area.max() > 0.9
    assert aspect.min() < 0.6
    assert aspect.max() > 1.6
    assert (left == 0).mean() < 0.2
    assert left.max() > 80
    assert top.max() > 80


@pytest.mark.parametrize(("flip", "share"), [(0.0, (0, 0)), (1.0, (1, 1)), (0.5, (0.4, 0.6)), (0.25, (0.18, 0.32))])
def test_mirrors_are_as_frequent_as_said(flip: float, share: tuple[float, float]) -> None:
    across = [Augmentation(flip=flip).view((16, 16), SMALL, keyed.generator(s)).affine.a < 0 for s in range(500)]
    down = [Augmentation(flip_vertical=flip).view((16, 16), SMALL, keyed.generator(s)).affine.e < 0 for s in range(500)]
    assert share[0] <= np.mean(across) <= share[1]
    assert share[0] <= np.mean(down) <= share[1]


def test_turns_scales_and_shifts_keep_to_their_limits() -> None:
    square = Preprocessing((20, 20), 20)
    turns, scales, shifts = [], [], []
    for seed in range(300):
        rng = keyed.generator
        turned = Augmentation(rotate=30).view((20, 20), square, rng(seed)).affine
        assert math.hypot(turned.a, turned.d) == pytest.approx(1)
        turns.append(math.degrees(math.atan2(turned.b, turned.a)))
        scaled = Augmentation(scale=(0.5, 2.0)).view((20, 20), square, rng(seed)).affine
        assert scaled.a == pytest.approx(scaled.e)
        scales.append(scaled.a)
        shifted = Augmentation(shift=0.2).view((20, 20), square, rng(seed)).affine
        assert (shifted.c, shifted.f) == (round(shifted.c), round(shifted.f))
        shifts.append((shifted.c, shifted.f))
    assert -30 <= min(turns) < -25
    assert 25 < max(turns) <= 30
    assert 0.5 <= min(scales) < 0.55
    assert 1.8 < max(scales) <= 2
    assert abs(np.mean(np.array(scales) > 1) - 0.5) < 0.1  # doubling is as likely as halving
    assert np.array(shifts).min(axis=0).tolist() == [-4, -4]
    assert np.array(shifts).max(axis=0).tolist() == [4, 4]


def test_glyphs_are_never_mirrored() -> None:
    for seed in range(200):
        affine = POLICIES["glyph"].view((8, 8), Preprocessing((32, 32), 32), keyed.generator(seed)).affine
        assert affine.a * affine.e - affine.b * affine.d > 0


@pytest.mark.parametrize(
    "amounts",
    [
        {"crop": (0.0, 1.0)},  # a crop of nothing
        {"crop": (0.5, 0.2)},
        {"crop": (-0.1, 1.0)},
        {"crop": (0.5, 1.5)},
        {"scale": (0.0, 1.0)},  # the logarithm of 0
        {"scale": (-1.0, 1.0)},
        {"scale": (2.0, 1.0)},
        {"aspect": (0.0, 1.0)},
        {"aspect": (2.0, 1.0)},
        {"flip": 1.5},
        {"flip": -0.1},
        {"rotate": 200},
        {"hue": 0.7},
        {"erase": 2},
        {"brightness": float("nan")},
        {"flips": 0.5},
    ],
)
def test_amounts_that_make_no_sense_are_refused(amounts: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Augmentation(**amounts)


# --- colour -----------------------------------------------------------------------------------------------------------


def slowly(image: np.ndarray, augmentation: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """The changes of colour one pixel and one step after the other, with the same draws in the same order."""
    brightness, contrast = (
        1 + rng.uniform(-amount, amount) for amount in (augmentation.brightness, augmentation.contrast)
    )
    saturation, angle = 1.0, 0.0
    if image.shape[2] == 3 and (augmentation.saturation or augmentation.hue):
        saturation = 1 + rng.uniform(-augmentation.saturation, augmentation.saturation)
        angle = 2 * math.pi * rng.uniform(-augmentation.hue, augmentation.hue)
    cast = 255 * rng.uniform(-augmentation.cast, augmentation.cast, image.shape[2])
    middle = float(np.mean([channel.mean() for channel in image.astype(np.float64).transpose(2, 0, 1)])) * brightness
    result = np.empty(image.shape)
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            pixel = image[row, column].astype(np.float64) * brightness
            pixel = middle + contrast * (pixel - middle)
            if image.shape[2] == 3:
                grey = float(GREY @ pixel)
                pixel = grey + saturation * (pixel - grey)
                y, i, q = YIQ @ pixel
                turned = (y, i * math.cos(angle) - q * math.sin(angle), i * math.sin(angle) + q * math.cos(angle))
                pixel = np.linalg.solve(YIQ, turned)
            result[row, column] = pixel + cast
    return np.clip(result, 0, 255)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "amounts",
    [
        {"brightness": 0.5},
        {"contrast": 0.5},
        {"saturation": 1.0},
        {"hue": 0.5},
        {"cast": 0.2},
        {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1, "cast": 0.1},
    ],
)
def test_colour_is_what_a_slow_loop_makes_of_it(amounts: dict[str, float], channels: int) -> None:
    image = np.random.default_rng(4).integers(0, 256, (6, 7, channels), dtype=np.uint8)
    augmentation = Augmentation(**amounts)
    for seed in range(5):
        painted = augmentation.paint(image, (0.5,) * channels, keyed.generator(seed))
        assert painted.dtype == np.uint8
        assert painted.shape == image.shape
        # A half may round either way, and OpenCV computes bytes with fewer digits.
        assert np.abs(painted - slowly(image, augmentation, keyed.generator(seed))).max() <= 0.75


def test_grey_stays_grey_under_saturation_and_hue() -> None:
    image = np.repeat(np.arange(250, dtype=np.uint8).reshape(25, 10, 1), 3, axis=2)
    for seed in range(20):
        painted = Augmentation(saturation=1.0, hue=0.5).paint(image, (0.5,) * 3, keyed.generator(seed))
        assert np.abs(painted.astype(int) - image).max() <= 1  # the YIQ matrix has three digits


def test_hue_turns_the_colour_circle() -> None:
    """A pale red seen by colorsys: its hue moves by as much as was drawn, roughly, for YIQ's circle is not HSV's."""
    image = np.full((4, 4, 3), (160, 100, 100), dtype=np.uint8)
    hues = []
    for seed in range(200):
        pixel = Augmentation(hue=0.5).paint(image, (0.5,) * 3, keyed.generator(seed))[0, 0] / 255
        hues.append(colorsys.rgb_to_hsv(*pixel)[0])
    counts, _ = np.histogram(hues, bins=6, range=(0, 1))
    assert (counts > 8).all(), "some colour never comes up"


# --- erasing ----------------------------------------------------------------------------------------------------------


@QUIET
@given(st.tuples(st.integers(8, 60), st.integers(8, 60)), st.sampled_from([1, 3]), st.integers(0, 10_000))
def test_erasing_paints_one_rectangle_in_the_mean(size: tuple[int, int], channels: int, seed: int) -> None:
    mean = (0.485, 0.456, 0.406)[:channels]
    colour = [round(255 * value) for value in mean]
    image = np.full((*size, channels), 250, dtype=np.uint8)
    before = image.copy()
    painted = Augmentation(erase=1.0).paint(image, mean, keyed.generator(seed))
    assert np.array_equal(image, before)
    changed = (painted != 250).any(axis=2)
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    assert changed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    assert changed.sum() == len(range(rows[0], rows[-1] + 1)) * len(range(columns[0], columns[-1] + 1))
    assert (painted[changed] == colour).all()
    high, wide = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    # 2 to 20 % of the area, each side rounded to whole pixels.
    assert (high - 0.5) * (wide - 0.5) <= 0.2 * size[0] * size[1]
    assert (high + 0.5) * (wide + 0.5) >= 0.02 * size[0] * size[1] or high == size[0] or wide == size[1]


def test_erasing_is_as_frequent_as_said() -> None:
    image = np.full((16, 16, 3), 250, dtype=np.uint8)
    erased = [(Augmentation(erase=0.3).paint(image, (0, 0, 0), keyed.generator(s)) == 0).any() for s in range(500)]
    assert 0.24 <= np.mean(erased) <= 0.36
