"""Anchors, box coding, matching, sampling, proposals, pyramids, masks and keypoints: each against its definition."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from saccade.geometry.box_coding import decode, encode
from saccade.geometry.boxes import iou
from saccade.geometry.masks import bitmap, runs_from_bitmap, runs_from_crop
from saccade.layers.feature_pyramid import FeaturePyramid
from saccade.tasks.detect.anchors import anchors_of, shapes
from saccade.tasks.detect.contract import Detections
from saccade.tasks.detect.mask_rcnn import KEYPOINT_SIDE, keypoint_cells, peaks, ranked_by_keypoints
from saccade.tasks.detect.matching import BACKGROUND, BETWEEN, match, sample
from saccade.tasks.detect.proposals import RegionProposals
from saccade.tasks.detect.task import paste


def random_boxes(count: int, seed: int, most: float = 100) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, most, (count, 2))
    return torch.from_numpy(np.concatenate([low, low + rng.uniform(1, most / 2, (count, 2))], axis=1)).float()


def test_shapes_by_hand() -> None:
    """A square of 32; half as high as wide keeps the area: 22.6 x 45.3, edges rounded."""
    half, square, double = shapes([32])
    assert square.tolist() == [-16, -16, 16, 16]
    assert half.tolist() == [-23, -11, 23, 11]
    assert double.tolist() == [-11, -23, 11, 23]
    assert shapes([32, 64]).shape == (6, 4)


def test_anchors_stand_at_every_pixel_row_by_row() -> None:
    maps = [torch.zeros(1, 1, 2, 3)]
    (found,) = anchors_of(maps, (16, 24), [torch.tensor([[-1.0, -2.0, 1.0, 2.0], [-3.0, -3.0, 3.0, 3.0]])])
    expected = [
        [x * 8 + a, y * 8 + b, x * 8 + c, y * 8 + d]
        for y in range(2)
        for x in range(3)
        for a, b, c, d in ([-1, -2, 1, 2], [-3, -3, 3, 3])
    ]
    assert found.tolist() == expected


def test_coding_by_hand() -> None:
    """Twice as wide, of the same height, moved by half a width to the right."""
    anchor, box = torch.tensor([[10.0, 20.0, 30.0, 60.0]]), torch.tensor([[10.0, 20.0, 50.0, 60.0]])
    assert encode(box, anchor)[0].tolist() == pytest.approx([0.5, 0, math.log(2), 0])
    assert encode(box, anchor, (10, 10, 5, 5))[0].tolist() == pytest.approx([5, 0, 5 * math.log(2), 0])


@given(st.integers(0, 1000), st.sampled_from([(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)]))
@settings(deadline=None, max_examples=50)
def test_decode_undoes_encode(seed: int, weights: tuple[float, float, float, float]) -> None:
    boxes, anchors = random_boxes(20, seed), random_boxes(20, seed + 1)
    assert torch.allclose(decode(encode(boxes, anchors, weights), anchors, weights), boxes, atol=1e-3)
    several = encode(boxes, anchors, weights)[:, None].repeat(1, 3, 1)
    assert torch.allclose(decode(several, anchors, weights)[:, 2], boxes, atol=1e-3)


def test_wild_deltas_stay_finite() -> None:
    boxes = decode(torch.full((1, 4), 1e4), torch.tensor([[0.0, 0.0, 10.0, 10.0]]))
    assert torch.isfinite(boxes).all()


@given(st.integers(0, 30), st.integers(0, 6), st.booleans(), st.integers(0, 1000))
@settings(deadline=None, max_examples=60)
def test_match_is_its_definition(count: int, truths: int, rescue: bool, seed: int) -> None:
    boxes, things = random_boxes(count, seed), random_boxes(truths, seed + 1)
    found = match(boxes, things, 0.2, 0.4, rescue)
    overlaps = iou(things, boxes).numpy()
    for n in range(count):
        own = overlaps[:, n]
        expected = BACKGROUND
        if truths:
            best = int(own.argmax())
            expected = best if own[best] >= 0.4 else BETWEEN if own[best] >= 0.2 else BACKGROUND
            if rescue and any(own[t] == overlaps[t].max() > 0 for t in range(truths)):
                expected = best
        assert found[n].item() == expected


def test_match_in_blocks_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes, things = random_boxes(200, 0), random_boxes(37, 1)
    whole = match(boxes, things, 0.3, 0.5, rescue=True)
    monkeypatch.setattr("saccade.tasks.detect.matching.PAIRS", 500)
    assert torch.equal(match(boxes, things, 0.3, 0.5, rescue=True), whole)


def test_sample_takes_things_up_to_their_share_and_fills_up_with_background() -> None:
    matches = torch.tensor([0, 1, 2, 3, 4, 5, BETWEEN, BETWEEN] + [BACKGROUND] * 30)
    things, background = sample(matches, 16, 0.25)
    assert (len(things), len(background)) == (4, 12)
    assert (matches[things] >= 0).all() and (matches[background] == BACKGROUND).all()
    assert len(set(things.tolist())) == 4
    few, rest = sample(torch.tensor([BACKGROUND, 3, BETWEEN]), 16, 0.25)
    assert (few.tolist(), rest.tolist()) == ([1], [0])


def test_pyramid_by_hand() -> None:
    """With 1 x 1 convolutions that pass on and 3 x 3 ones that pick the middle, levels are sums of enlarged maps."""
    pyramid = FeaturePyramid([1, 1], width=1)
    with torch.no_grad():
        for block in pyramid.inner_blocks:
            block[0].weight.fill_(1)
        for block in pyramid.layer_blocks:
            block[0].weight.zero_()
            block[0].weight[0, 0, 1, 1] = 1
    fine, coarse = torch.arange(16.0).view(1, 1, 4, 4), torch.tensor([[[[100.0, 200.0], [300.0, 400.0]]]])
    levels = pyramid([fine, coarse])
    assert torch.equal(levels[0], fine + coarse.repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert torch.equal(levels[1], coarse)
    assert levels[2].flatten().tolist() == [100.0]


def test_proposals_are_the_best_anchors_moved() -> None:
    """With two anchors that overlap much, the surer one is left; boxes end at the image's edge."""
    rpn = RegionProposals(4, [shapes([8])]).eval()
    anchors = [torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 11.0], [20.0, 20.0, 40.0, 40.0]])]
    logits, deltas = torch.tensor([[1.0, 2.0, 0.0]]), torch.zeros(1, 3, 4)
    (found,) = rpn.propose(anchors, logits, deltas, [(30, 35)])
    assert found.tolist() == [[0, 0, 10, 11], [20, 20, 35, 30]]
    deltas[0, 2, 0] = 1.0  # a whole width to the right: outside
    (found,) = rpn.propose(anchors, logits, deltas, [(30, 35)])
    assert found.tolist() == [[0, 0, 10, 11]]


@pytest.mark.parametrize(
    ("count", "training", "in_use", "expected"),
    [(2, True, None, 2000), (2, False, None, 1000), (1, False, None, 300), (1, False, 40, 40), (2, True, 40, 2000)],
)
def test_proposals_are_as_many_as_the_papers_keep(
    count: int, training: bool, in_use: int | None, expected: int
) -> None:
    """Of anchors that lie apart, and on one map also of those of which the surest overlap: the surest stay. Fewer in
    use where it was said, and learning goes on with as many as before."""
    rpn = RegionProposals(4, [shapes([8])] * count, in_use).train(training)
    corner = torch.arange(2500.0)[:, None] * torch.tensor([20.0, 0.0, 20.0, 0.0])
    own = corner + torch.tensor([0.0, 0.0, 10.0, 10.0])
    if count == 1:
        own = torch.cat([own[:1].repeat(700, 1), own])
    anchors, total = [own] * count, count * len(own)
    logits = torch.linspace(3, -3, total)[None]
    (found,) = rpn.propose(anchors, logits, torch.zeros(1, total, 4), [(30, 60_000)])
    assert len(found) == expected
    assert torch.equal(found[: min(expected, 1000)], corner[: min(expected, 1000)] + own[0])


def test_rpn_losses_by_hand() -> None:
    """Two anchors, one of them the thing: cross-entropy of both, smooth L1 of the one, halved by the two looked at."""
    rpn = RegionProposals(4, [shapes([8])])
    anchors = [torch.tensor([[0.0, 0.0, 10.0, 10.0], [50.0, 50.0, 60.0, 60.0]])]
    logits, deltas = torch.tensor([[0.3, -0.7]]), torch.tensor([[[0.2, 0.0, 0.0, 0.0], [9.0, 9.0, 9.0, 9.0]]])
    losses = rpn.losses(anchors, logits, deltas, [torch.tensor([[1.0, 0.0, 11.0, 10.0]])])
    expected = F.binary_cross_entropy_with_logits(torch.tensor([0.3, -0.7]), torch.tensor([1.0, 0.0]))
    assert losses["rpn_objectness"].item() == pytest.approx(expected.item())
    # It should have said 0.1 and said 0.2: below 1/9 the loss is half the square over 1/9.
    assert losses["rpn_boxes"].item() == pytest.approx(0.5 * 0.1**2 * 9 / 2, rel=1e-4)


@given(st.integers(0, 200), st.integers(3, 9), st.integers(3, 9))
@settings(deadline=None, max_examples=60)
def test_runs_of_a_window_are_those_of_the_image(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    top, left = int(rng.integers(height)), int(rng.integers(width))
    high, wide = int(rng.integers(1, height - top + 1)), int(rng.integers(1, width - left + 1))
    window = rng.random((high, wide)) < 0.5
    whole = np.zeros((height, width), dtype=bool)
    whole[top : top + high, left : left + wide] = window
    runs = runs_from_crop(window, top, left, (height, width))
    assert np.array_equal(bitmap(runs, (height, width)), whole)
    if high < height:
        assert runs.counts.tolist() == runs_from_bitmap(whole).counts.tolist()


def test_a_full_mask_fills_its_box() -> None:
    runs = paste(np.ones((28, 28), np.float32), np.array([10.0, 20.0, 50.0, 70.0]), (100, 80))
    covered = bitmap(runs, (100, 80))
    assert covered[21:69, 11:49].all()
    assert not covered[:20].any() and not covered[70:].any() and not covered[:, :10].any() and not covered[:, 50:].any()


def test_a_half_mask_covers_half_its_box() -> None:
    """The left half of the parts is the thing: so is the left half of the box, to the pixel."""
    share = np.zeros((28, 28), np.float32)
    share[:, :14] = 1
    covered = bitmap(paste(share, np.array([0.0, 0.0, 56.0, 56.0]), (56, 56)), (56, 56))
    assert covered[1:-1, 1:28].all() and not covered[:, 28:].any()


@pytest.mark.parametrize("box", [[3.2, 4.1, 3.3, 4.2], [0, 0, 1e-9, 1e-9], [79.99, 99.99, 80, 100]])
def test_masks_of_tiny_boxes(box: list[float]) -> None:
    covered = bitmap(paste(np.ones((28, 28), np.float32), np.array(box), (100, 80)), (100, 80))
    assert covered.sum() <= 1


def test_keypoint_cells_by_hand() -> None:
    boxes = torch.tensor([[10.0, 20.0, 66.0, 76.0]])  # a pixel a cell
    points = torch.tensor(
        [[[10.0, 20.0, 2.0], [66.0, 76.0, 1.0], [30.5, 25.5, 2.0], [9.9, 30.0, 2.0], [30.0, 30.0, 0.0]]]
    )
    cells, marked = keypoint_cells(points, boxes)
    assert cells[0, :3].tolist() == [0, 55 * KEYPOINT_SIDE + 55, 5 * KEYPOINT_SIDE + 20]
    assert marked[0].tolist() == [True, True, True, False, False]


@pytest.mark.parametrize("box", [[10.0, 20.0, 122.0, 132.0], [0.0, 0.0, 28.0, 14.0]])
def test_peaks_undo_cells(box: list[float]) -> None:
    boxes = torch.tensor([box])
    low, size = boxes[0, :2], boxes[0, 2:] - boxes[0, :2]
    points = low + size * torch.tensor([[0.3, 0.64], [0.9, 0.07]])
    marked = torch.cat([points, torch.full((2, 1), 2.0)], dim=1)[None]
    cells, _ = keypoint_cells(marked, boxes)
    logits = torch.full((1, 2, KEYPOINT_SIDE**2), -10.0).scatter(2, cells[..., None], 20.0)
    found = peaks(logits.view(1, 2, KEYPOINT_SIDE, KEYPOINT_SIDE), boxes)
    # To within a cell of the map each way, however small the box.
    assert ((found[0, :, :2] - points).abs() <= size / KEYPOINT_SIDE + 1e-4).all()
    assert (found[0, :, 2] > 0.99).all()


def test_peaks_of_smoothed_maps() -> None:
    """Of a high point alone and a broad hill the hill is taken, and the score says how nearly right it is."""
    logits = torch.full((1, 1, 56, 56), -10.0)
    logits[0, 0, 5, 5], logits[0, 0, 38:43, 28:33] = 3.0, 2.0
    boxes = torch.tensor([[0.0, 0.0, 56.0, 56.0]])
    assert peaks(logits, boxes)[0, 0, :2].tolist() == pytest.approx([5.5, 5.5])
    x, y, score = peaks(logits, boxes, 2.0)[0, 0].tolist()
    assert (x, y) == pytest.approx((30.5, 40.5))
    # Its score is what is expected of exp(-d^2 / 8), written out, d to the truth, which may be any pixel.
    down, across = np.indices((56, 56))
    kernel = np.exp(-((across - 30) ** 2 + (down - 40) ** 2) / 8)
    expected = float((logits[0, 0].flatten().softmax(0).view(56, 56).numpy() * kernel).sum())
    assert score == pytest.approx(expected, rel=0.02)  # the blur ends at three deviations


def test_things_with_sure_keypoints_come_first() -> None:
    boxes = torch.arange(12.0).view(3, 4)
    points = torch.tensor(
        [[[1.0, 1.0, 0.2], [2.0, 2.0, 0.4]], [[3.0, 3.0, 1.0], [4.0, 4.0, 0.8]], [[0.0, 0.0, 0.5]] * 2]
    )
    found = Detections(boxes, torch.tensor([0.9, 0.8, 0.1]), torch.tensor([4, 5, 6]), None, points)
    ranked = ranked_by_keypoints(found)
    assert ranked.scores.tolist() == pytest.approx([0.8 * 0.9**0.5, 0.9 * 0.3**0.5, 0.1 * 0.5**0.5])
    assert ranked.labels.tolist() == [5, 4, 6] and ranked.boxes.equal(boxes[[1, 0, 2]])
    assert ranked.keypoints is not None and ranked.keypoints.equal(points[[1, 0, 2]])
    nothing = Detections(boxes[:0], boxes[:0, 0], torch.zeros(0, dtype=torch.int64), None, points[:0])
    assert len(ranked_by_keypoints(nothing).scores) == 0
