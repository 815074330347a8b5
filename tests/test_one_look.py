"""Detectors that look once: equal to the published ones, each loss by hand, able to learn, and thrown by nothing."""

import math
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from fusing import check_fused
from heart import learn_by_heart
from torch import Tensor, nn

from saccade.errors import UsageError
from saccade.explain.fields import lattice_of
from saccade.geometry.boxes import iou
from saccade.models import create_model, create_task, on_paper
from saccade.structures import Instances, Size
from saccade.tasks.detect import aligned, ssd, yolov1, yolov3
from saccade.tasks.detect.one_look import OneLook
from saccade.tasks.detect.select import place_of, select
from saccade.tasks.detect.task import Aim

ANCHORS = [(14, 20), (20, 28), (26, 34), (30, 42), (40, 50), (50, 60)]
SMALL: dict[str, dict[str, Any]] = {
    "aligned": {"backbone": "resnet18", "width": 32},
    "ssd": {"backbone": "resnet18", "width": 32, "side": 96, "count": 5},
    "yolov1": {"backbone": "resnet18", "width": 64, "hidden": 128, "dropout": 0.0},
    "yolov3": {"backbone": "resnet18", "anchors": [*ANCHORS, (60, 70), (70, 80), (90, 90)]},
    "yolov3_tiny": {"anchors": ANCHORS},
}


def small(name: str, classes: int = 3, **options: Any) -> OneLook:
    torch.manual_seed(0)
    model = create_model(name, classes, **SMALL[name] | options)
    assert isinstance(model, OneLook)
    return model


def truth_of(boxes: list[list[float]], labels: list[int], size: Size) -> Instances:
    return Instances(size, np.array(boxes, dtype=np.float64).reshape(-1, 4), np.array(labels, dtype=np.int64))


def answering(model: OneLook, said: Any) -> OneLook:
    """The network, saying this."""
    model.forward = lambda inputs: said  # pyright: ignore[reportAttributeAccessIssue]
    return model


@pytest.mark.parametrize("name", SMALL)
def test_fused_norms_change_nothing(name: str) -> None:
    check_fused(small(name), torch.randn(2, 3, 96, 96))


# --- SSD --------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_ssd_equals_the_published_one(golden: tuple[ModuleType, dict[str, Any]]) -> None:
    fill, references = golden
    reference = references["ssd300_vgg16"]
    model = create_model("ssd300_vgg16")
    assert isinstance(model, ssd.SSD)
    assert sum(parameter.numel() for parameter in model.parameters()) == reference["params"]
    assert (len(model.state_dict()), fill.signature(model)) == (reference["entries"], reference["signature"])
    batch, channels, height, width = reference["input"]
    inputs = fill.image(height, width, channels, batch)
    maps = fill.fill(model).backbone(inputs)
    defaults, logits, moves = model(inputs)
    got = {f"features.{level}": one for level, one in enumerate(maps)}
    got |= {"anchors": defaults, "logits": logits, "deltas": moves}
    assert set(got) == set(reference["output"])
    for part, expected in reference["output"].items():
        found = fill.digest(got[part])
        assert found["shape"] == expected["shape"], part
        assert np.abs(np.subtract(found["values"], expected["values"])).max() < 5e-5 * expected["std"], part
        assert found["std"] == pytest.approx(expected["std"], rel=1e-5), part


def test_ssd512_has_the_papers_default_boxes() -> None:
    """24,564 of them (table 7 of the paper's longer form, SSD512)."""
    with torch.device("meta"):
        model = ssd.ssd512_vgg16()
        maps = model.backbone(torch.empty(1, 3, 512, 512))
    assert [tuple(one.shape[2:]) for one in maps] == [(side, side) for side in (64, 32, 16, 8, 4, 2, 1)]
    assert sum(one.shape[2] * one.shape[3] * level.each for one, level in zip(maps, model.levels, strict=True)) == 24564


def test_default_boxes_of_two_by_two_places() -> None:
    level = ssd.Level((2.0,), 0.25, 0.36, 8)
    got = ssd.default_boxes([torch.zeros(1, 1, 2, 2)], [level], (100, 200), 300)
    assert got.shape == (16, 4)
    # Of the second place of the first row, at (150, 25): a square of the share 0.25, one of 0.3, and two oblongs.
    wide, high = 0.25 * math.sqrt(2), 0.25 / math.sqrt(2)
    for box, (across, down) in zip(
        got[4:8].tolist(), [(0.25, 0.25), (0.3, 0.3), (wide, high), (high, wide)], strict=True
    ):
        assert box == pytest.approx([150 - 100 * across, 25 - 50 * down, 150 + 100 * across, 25 + 50 * down])


@pytest.mark.parametrize(("name", "side"), [("ssd300_vgg16", 288), ("ssd300_vgg16", 512), ("ssd512_vgg16", 320)])
def test_default_boxes_lie_on_the_image_whatever_its_size(name: str, side: int) -> None:
    """The first map's places are as many pixels apart as its stride, and the last place of every map lies inside."""
    with torch.device("meta"):
        model = create_model(name)
        assert isinstance(model, ssd.SSD)
        maps = model.backbone(torch.empty(1, 3, side, side))
    maps = [torch.empty(1, 1, *one.shape[2:]) for one in maps]
    boxes = ssd.default_boxes(maps, model.levels, (side, side), model.designed)
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    assert middles.min() > 0 and middles.max() < side
    each = model.levels[0].each
    assert middles[0].tolist() == pytest.approx([4, 4]) and middles[each].tolist() == pytest.approx([12, 4])


@pytest.mark.parametrize("side", [224, 250])
@pytest.mark.parametrize("backbone", ["squeezenet1_0", "mobilenet_v2"])
def test_default_boxes_are_as_far_apart_as_the_units_that_look_there(backbone: str, side: int) -> None:
    """A place and its unit are the same way apart all over a map, and by less than half a step. SqueezeNet has no
    borders: places that lie evenly over 224 pixels are up to 9 pixels off, to one side on the left and to the other on
    the right."""
    model = create_model("ssd", 3, backbone=backbone, side=side, count=3).eval()
    assert isinstance(model, ssd.SSD) and isinstance(model.backbone, ssd.WithExtras)
    layers = {
        "squeezenet1_0": ("body.features.10", "body.features.12", "extra.0"),
        "mobilenet_v2": ("body.features.6", "body.features.13", "body.features.17"),
    }
    inputs, start = torch.zeros(1, 3, side, side), 0
    maps = model.backbone(inputs)
    boxes = ssd.default_boxes(maps, model.levels, (side, side))
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    for one, level, layer in zip(maps, model.levels, layers[backbone], strict=True):
        lattice = lattice_of(model.backbone, layer, inputs)
        rows, columns = one.shape[2:]
        places = middles[start : start + rows * columns * level.each : level.each].view(rows, columns, 2)
        away_x = places[0, :, 0] - (lattice.first[0] + lattice.step[0] * torch.arange(columns))
        away_y = places[:, 0, 1] - (lattice.first[1] + lattice.step[1] * torch.arange(rows))
        for away in (away_x, away_y):
            assert away.max() - away.min() < 1e-3 and away.abs().max() <= level.step / 2
        start += rows * columns * level.each


def test_a_neck_brings_every_map_to_as_many_channels() -> None:
    model = create_model("ssd", 3, backbone="squeezenet1_0", side=96, count=3, neck=24).eval()
    assert isinstance(model, ssd.SSD)
    maps = model.backbone(torch.randn(1, 3, 96, 96))
    assert [one.shape[1] for one in maps] == [24] * 3
    bare = create_model("ssd", 3, backbone="squeezenet1_0", side=96, count=3).eval()
    assert [one.shape[2:] for one in bare.backbone(torch.randn(1, 3, 96, 96))] == [one.shape[2:] for one in maps]


def test_the_number_of_maps_is_that_which_was_asked_for() -> None:
    for count in (1, 2, 5):
        model = create_model("ssd", 3, backbone="mobilenet_v3_small", count=count)
        assert isinstance(model, ssd.SSD)
        assert len(model.eval().backbone(torch.zeros(1, 3, 64, 64))) == len(model.levels) == count


def test_every_thing_has_a_default_box() -> None:
    defaults = torch.tensor([[0.0, 0, 10, 10], [10, 0, 20, 10], [0, 10, 10, 20], [10, 10, 20, 20]])
    # The first overlaps the first box by 0.81, the second it too but less; the third lies outside of all.
    truths = torch.tensor([[0.0, 0, 9, 9], [0, 0, 10, 4], [100, 100, 110, 110]])
    assert ssd.match_defaults(defaults, truths).tolist() == [0, -1, -1, -1]
    # One that reaches into its neighbour gets that where its best is taken.
    truths = torch.tensor([[0.0, 0, 9, 9], [0, 0, 12, 4]])
    assert ssd.match_defaults(defaults, truths).tolist() == [0, 1, -1, -1]
    assert ssd.match_defaults(defaults, truths[:0]).tolist() == [-1] * 4
    # From an overlap of a half on a box stands for a thing, besides the best one.
    truths = torch.tensor([[0.0, 0, 20, 10]])
    assert ssd.match_defaults(defaults, truths).tolist() == [0, 0, -1, -1]


def test_three_times_as_much_of_the_hardest_background() -> None:
    losses = torch.tensor([[9.0, 1, 5, 2, 4, 3], [1.0, 2, 3, 4, 5, 6]])
    things = torch.tensor([[True, False, False, False, False, False], [False] * 6])
    assert ssd.hardest(losses, things).tolist() == [[False, False, True, False, True, True], [False] * 6]


def test_the_losses_of_ssd_by_hand() -> None:
    """A grid of 2 x 2 places with one default box each, one thing, and one image without."""
    model = small("ssd", 2)
    defaults = torch.tensor([[0.0, 0, 10, 10], [10, 0, 20, 10], [0, 10, 10, 20], [10, 10, 20, 20]])
    logits = torch.tensor([[[0.5, 1.0, 2.0], [3.0, 0.0, 1.0], [0.0, 0.0, 4.0], [1.0, 1.0, 1.0]], [[0.0, 9.0, 0.0]] * 4])
    moves = torch.tensor([[[0.5, -0.2, 3.0, 0.1], *[[7.0] * 4] * 3], [[7.0] * 4] * 4])
    answering(model, (defaults, logits, moves))
    size = (20, 20)
    got = model.losses(
        torch.zeros(2, 3, *size), [size] * 2, [truth_of([[1, 0, 9, 10]], [1], size), truth_of([], [], size)]
    )

    def log_softmax(row: list[float], place: int) -> float:
        return row[place] - math.log(sum(math.exp(value) for value in row))

    thing = -log_softmax([0.5, 1.0, 2.0], 2)
    background = [-log_softmax(row, 0) for row in ([3.0, 0.0, 1.0], [0.0, 0.0, 4.0], [1.0, 1.0, 1.0])]
    assert got["class"].item() == pytest.approx(thing + sum(background))
    # The thing has the middle of its box, 0.8 of its width and its height; moves are in tenths and fifths.
    wanted = [0.0, 0.0, 5 * math.log(0.8), 0.0]
    away = [abs(said - true) for said, true in zip([0.5, -0.2, 3.0, 0.1], wanted, strict=True)]
    assert got["boxes"].item() == pytest.approx(sum(d * d / 2 if d < 1 else d - 0.5 for d in away))


# --- YOLO -------------------------------------------------------------------------------------------------------------


def test_the_losses_of_yolov1_by_hand() -> None:
    """2 x 2 cells of 50 pixels, two boxes each, three classes, one thing: all five terms."""
    generator = torch.Generator().manual_seed(1)
    classes, confidence = torch.rand(4, 3, generator=generator), torch.rand(4, 2, generator=generator)
    boxes = torch.rand(4, 2, 4, generator=generator)
    # The thing: its middle at (70, 40), 40 wide and 36 high; so it is of the second cell of the first row.
    boxes[1] = torch.tensor([[0.5, 0.5, 0.2, 0.2], [0.3, 0.9, 0.6, 0.7]])
    got = yolov1.loss_of(
        yolov1.Grid(classes, confidence, boxes), truth_of([[50, 22, 90, 58]], [2], (100, 100)), (100, 100), 2
    )
    # The second box: its middle at (50 + 15, 45), 36 wide and 49 high, so from (47, 20.5) to (83, 69.5).
    shared = (83 - 50) * (58 - 22)
    overlap = shared / (36 * 49 + 40 * 36 - shared)
    by_hand = {
        "middles": 5 * ((0.3 - 0.4) ** 2 + (0.9 - 0.8) ** 2),
        "sides": 5 * ((0.6 - math.sqrt(0.4)) ** 2 + (0.7 - math.sqrt(0.36)) ** 2),
        "thing": (float(confidence[1, 1]) - overlap) ** 2,
        "nothing": 0.5 * (sum(float(c) ** 2 for c in confidence.flatten()) - float(confidence[1, 1]) ** 2),
        "class": sum((float(p) - true) ** 2 for p, true in zip(classes[1], (0, 0, 1), strict=True)),
    }
    assert {name: value.item() for name, value in got.items()} == pytest.approx(by_hand, rel=1e-5)


def test_yolov1_knows_the_middle_of_every_cell() -> None:
    """What is learnt is what is said: targets decoded are the boxes again."""
    said = torch.tensor([[[[0.4, 0.8, math.sqrt(0.4), math.sqrt(0.36)]]] * 4])
    boxes = yolov1.boxes_of(said, (100, 100), 2)[0, :, 0]
    assert boxes[1].tolist() == pytest.approx([50, 22, 90, 58], rel=1e-5)
    assert boxes[2].tolist() == pytest.approx([0, 72, 40, 108], rel=1e-5)


def test_yolov1_of_two_numbers_below_zero_makes_nothing() -> None:
    """Class and confidence: one of each kind, and both below 0, whose product would be 0.06."""
    model = small("yolov1", 2)
    said = yolov1.Grid(torch.full((1, 49, 2), -0.2), torch.full((1, 49, 2), -0.3), torch.full((1, 49, 2, 4), 0.5))
    said.classes[0, 0, 1], said.confidence[0, 0, 0] = 0.8, 0.5
    answers = answering(model, said).answers(torch.zeros(1, 3, 96, 96))
    assert answers.scores[0, 0].tolist() == pytest.approx([0, 0.4])
    assert answers.scores.sum().item() == pytest.approx(0.4)
    assert answers.logits[0, 2].tolist() == pytest.approx([0.06, 0.06]), "to be explained they stay as they are"


def test_the_boxes_of_a_new_yolov1_differ() -> None:
    """Else the first would be responsible for all that there is, and the others never learn."""
    model = small("yolov1").eval()
    model.reset_head()
    boxes = model(torch.randn(1, 3, 96, 96)).boxes[0]
    assert (boxes[:, 0] != boxes[:, 1]).any(1).all()


def test_yolov1_is_the_papers() -> None:
    """7 x 7 x 30 numbers from 24 convolutions and two full connections."""
    with torch.device("meta"):
        model = create_model("yolov1")
        said = model(torch.empty(1, 3, 448, 448))
    assert [column[0].numel() for column in said] == [7 * 7 * 20, 7 * 7 * 2, 7 * 7 * 8]
    assert sum(isinstance(module, nn.Conv2d) for module in model.modules()) == 24
    assert sum(isinstance(module, nn.Linear) for module in model.modules()) == 2


@pytest.mark.parametrize(("name", "size"), [("yolov3", 248_007_048), ("yolov3_tiny", 35_434_956)])
def test_yolov3_has_as_many_numbers_as_the_published_files(name: str, size: int) -> None:
    """Bytes of yolov3.weights and yolov3-tiny.weights: 20 for the header, 4 a number, means and variances too."""
    with torch.device("meta"):
        model = create_model(name)
    numbers = sum(value.numel() for value in model.state_dict().values() if value.ndim)
    assert 20 + 4 * numbers == size


def test_yolov3_boxes_by_hand() -> None:
    cells = yolov3.Cells(torch.tensor([[32.0, 64.0]]), torch.tensor([16.0]), torch.tensor([[20.0, 30.0]]), ())
    box = yolov3.boxes_of(cells, torch.tensor([[0.0, math.log(3.0), 0.0, math.log(2.0)]]))
    # The middle: half a cell in, and three quarters; as wide as the anchor, twice as high.
    assert box[0].tolist() == pytest.approx([40 - 10, 76 - 30, 40 + 10, 76 + 30])


def test_yolov3_gives_each_thing_its_likeliest_anchor() -> None:
    model = small("yolov3_tiny")
    cells, _ = model(torch.zeros(1, 3, 64, 96))
    truths = torch.tensor([[10.0, 10, 24, 30], [40, 10, 90, 62], [90, 50, 95.9, 63]])
    given = yolov3.assign(cells, truths)
    found = {int(truth): int(place) for place, truth in zip(given.places, given.truths, strict=True)}
    # The second is likest to (50, 60), of stride 32: its middle, (65, 36), lies in the cell at (64, 32).
    assert cells.shapes[found[0]].tolist() == [14, 20] and cells.corners[found[0]].tolist() == [16, 16]
    assert cells.shapes[found[1]].tolist() == [50, 60] and cells.corners[found[1]].tolist() == [64, 32]
    assert cells.corners[found[2]].tolist() == [80, 48]
    at = given.truths.tolist().index(1)
    assert given.targets[at].tolist() == pytest.approx([1 / 32, 4 / 32, math.log(50 / 50), math.log(52 / 60)])
    # What is learnt is what is said.
    said = torch.cat([given.targets[:, :2].logit(), given.targets[:, 2:]], 1)
    own = yolov3.Cells(*(column[given.places] for column in cells[:3]), ())
    assert torch.allclose(yolov3.boxes_of(own, said), truths[given.truths], atol=1e-3)


def test_two_anchors_may_be_alike() -> None:
    """Of two maps, or of one: the thing is in the cell where its middle lies."""
    anchors = [(10, 10), (20, 20), (20, 20), (20, 20), (40, 40), (50, 50)]
    cells, _ = small("yolov3_tiny", anchors=anchors)(torch.zeros(1, 3, 64, 64))
    given = yolov3.assign(cells, torch.tensor([[30.0, 46, 50, 66], [1, 1, 61, 61]]))
    found = dict(zip(given.truths.tolist(), given.places.tolist(), strict=True))
    assert [cells.shapes[found[truth]].tolist() for truth in (0, 1)] == [[20, 20], [50, 50]]
    for truth, middle in enumerate(((40, 56), (31, 31))):
        place = found[truth]
        stride = int(cells.strides[place])
        assert cells.corners[place].tolist() == [middle[0] // stride * stride, middle[1] // stride * stride]


def test_yolov3_two_things_on_one_anchor() -> None:
    cells, _ = small("yolov3_tiny")(torch.zeros(1, 3, 64, 64))
    truths = torch.tensor([[2.0, 2, 15, 21], [1.0, 2, 15, 22]])
    given = yolov3.assign(cells, truths)
    assert given.truths.tolist() == [1], "the likelier in shape has it"
    # It is called both, as both are likest to it; what has it as a further anchor alone is not.
    assert sorted(given.named.T.tolist()) == [[0, 0], [0, 1]]
    one, other = [2.0, 2, 15, 21], [3.0, 3, 11, 12]
    anchors = [(8, 9), (13, 19), (30, 30), (40, 40), (50, 50), (60, 60)]
    cells, _ = small("yolov3_tiny", anchors=anchors)(torch.zeros(1, 3, 64, 64))
    given = yolov3.assign(cells, torch.tensor([one, other]), 0.2)
    assert {(int(given.truths[row]), truth) for row, truth in given.named.T.tolist()} == {(0, 0), (1, 1)}


def test_yolov3_may_call_a_thing_two_names() -> None:
    """A woman is a person too (section 2.2)."""
    model, size = small("yolov3_tiny"), (64, 64)
    cells, said = model(torch.zeros(1, 3, *size))
    said = torch.zeros_like(said)
    boxes = [[2.0, 2, 15, 21]] * 2
    place = int(yolov3.assign(cells, torch.tensor(boxes)).places[0])
    said[0, place, 5:] = torch.tensor([1.0, 2.0, 3.0])
    answering(model, (cells, said))
    got = model.losses(torch.zeros(1, 3, *size), [size], [truth_of(boxes, [0, 1], size)])["class"]
    by_hand = math.log(1 + math.exp(-1)) + math.log(1 + math.exp(-2)) + math.log(1 + math.exp(3))
    assert got.item() == pytest.approx(by_hand, rel=1e-5)


def test_a_thing_may_have_several_anchors() -> None:
    """Overlaps in shape of 22 x 22: 0.21, 0.83, 0.84 of the finer map's, 0.30, 0.19, 0.13 of the coarser's."""
    anchors = [(10, 10), (20, 20), (24, 24), (40, 40), (50, 50), (60, 60)]
    cells, _ = small("yolov3_tiny", anchors=anchors)(torch.zeros(1, 3, 64, 64))

    def given(*truths: list[float]) -> set[tuple[int, int, tuple[float, ...]]]:
        found = yolov3.assign(cells, torch.tensor(truths), 0.3)
        pairs = zip(found.truths.tolist(), found.places.tolist(), strict=True)
        return {(truth, int(cells.shapes[place, 0]), tuple(cells.corners[place].tolist())) for truth, place in pairs}

    one = [30.0, 10, 52, 32]
    assert given(one) == {(0, 20, (32, 16)), (0, 24, (32, 16)), (0, 40, (32, 0))}
    # In the same cells: to another thing of 20 x 20 that anchor is the best, and it is left with that alone.
    assert given(one, [33.0, 12, 53, 32]) == {(1, 20, (32, 16)), (0, 24, (32, 16)), (0, 40, (32, 0))}
    # One as likely as no anchor is has its best all the same.
    assert {(truth, side) for truth, side, _ in given([1.0, 1, 3, 3])} == {(0, 10)}
    with pytest.raises(UsageError, match="several must lie above 0"):
        small("yolov3_tiny", several=0.0)


def test_the_losses_of_yolov3_by_hand() -> None:
    """2 x 2 cells with one of three anchors each that matters: one thing, one anchor left in peace, ten of nothing."""
    model = small("yolov3_tiny", 2)
    corners = torch.tensor([[0.0, 0], [16, 0], [0, 16], [16, 16]]).repeat_interleave(3, 0)
    shapes = torch.tensor([[4.0, 4], [16, 16], [30, 30]]).repeat(4, 1)
    cells = yolov3.Cells(corners, torch.full((12,), 16.0), shapes, ((16, 2, 2),))
    said = torch.zeros(1, 12, 7)
    said[0, :, 4] = -1.0
    # The thing's own anchor; and one whose box, of another cell, is that of the thing.
    said[0, 1] = torch.tensor([0.5, -0.5, 0.2, 0.1, 2.0, 1.0, -3.0])
    said[0, 4] = torch.tensor([-12.0, 0.0, 0.0, 0.0, 3.0, 0.0, 0.0])
    answering(model, (cells, said))
    got = model.losses(torch.zeros(1, 3, 32, 32), [(32, 32)], [truth_of([[6, 2, 22, 18]], [0], (32, 32))])

    def cross(logit: float, target: float) -> float:
        probability = 1 / (1 + math.exp(-logit))
        return -target * math.log(probability) - (1 - target) * math.log(1 - probability)

    own_box = yolov3.boxes_of(cells, said)[0]
    peace = [float(one) > 0.5 for one in iou(own_box, torch.tensor([[6.0, 2, 22, 18]]))[:, 0]]
    assert peace[4]
    nothing = sum(cross(-1.0, 0) for place in range(12) if place not in (1, 4) and not peace[place])
    assert got["thing"].item() == pytest.approx(cross(2.0, 1) + nothing, rel=1e-5)
    assert got["class"].item() == pytest.approx(cross(1.0, 1) + cross(-3.0, 0), rel=1e-5)
    middle = cross(0.5, 14 / 16) + cross(-0.5, 10 / 16)
    assert got["boxes"].item() == pytest.approx((2 - 256 / 1024) * (middle + 0.02 + 0.005), rel=1e-5)
    # By generalised IoU: of the box that is said, around (9.96, 6.04), with that of the thing.
    model.giou = 3.0
    again = model.losses(torch.zeros(1, 3, 32, 32), [(32, 32)], [truth_of([[6, 2, 22, 18]], [0], (32, 32))])
    x, y = 16 / (1 + math.exp(-0.5)), 16 / (1 + math.exp(0.5))
    wide, high = 16 * math.exp(0.2), 16 * math.exp(0.1)
    left, right, top, bottom = x - wide / 2, x + wide / 2, y - high / 2, y + high / 2
    shared = (right - 6) * (bottom - 2)
    union = wide * high + 256 - shared
    around = (22 - left) * (18 - top)
    overlap = shared / union - (around - union) / around
    assert again["boxes"].item() == pytest.approx((2 - 256 / 1024) * 3 * (1 - overlap), rel=1e-5)
    assert {key: value.item() for key, value in again.items() if key != "boxes"} == pytest.approx(
        {key: value.item() for key, value in got.items() if key != "boxes"}
    )
    with pytest.raises(UsageError, match="giou must be a number of at least 0"):
        small("yolov3_tiny", giou=-1.0)


# --- aligned ----------------------------------------------------------------------------------------------------------


def grid(*boxes: list[float], stride: float = 8.0) -> tuple[aligned.Places, Tensor]:
    """Four places of 2 x 2, and what each says."""
    centres = torch.tensor([[0.5, 0.5], [1.5, 0.5], [0.5, 1.5], [1.5, 1.5]]) * stride
    return aligned.Places(centres, torch.full((4,), stride)), torch.tensor(boxes)


def test_alignment_by_hand() -> None:
    """The best place of a thing should say its overlap, the others less by the sixth power of theirs."""
    places, boxes = grid([0, 0, 16, 16], [0, 0, 16, 8], [0, 0, 4, 4], [100, 100, 110, 110])
    scores = torch.tensor([[0.5, 0.1], [0.5, 0.2], [0.5, 0.3], [0.5, 0.9]])
    given = aligned.assign(places, boxes, scores, torch.tensor([[0.0, 0, 16, 15]]), torch.tensor([1]))
    assert given.places.tolist() == [0, 1, 2, 3] and given.truths.tolist() == [0] * 4
    overlaps = [240 / 256, 128 / 240, 16 / 240, 0.0]
    alignment = [score * overlap**6 for score, overlap in zip([0.1, 0.2, 0.3, 0.9], overlaps, strict=True)]
    expected = [one / max(alignment) * max(overlaps) for one in alignment]
    assert given.targets.tolist() == pytest.approx(expected, rel=1e-5)


def test_a_place_learns_from_the_thing_it_overlaps_more() -> None:
    places, boxes = grid([0, 0, 8, 8], [8, 0, 16, 8], [0, 0, 16, 16], [8, 8, 16, 16])
    truths = torch.tensor([[0.0, 0, 16, 16], [0, 0, 8, 8]])
    given = aligned.assign(places, boxes, torch.full((4, 1), 0.5), truths, torch.tensor([0, 0]))
    assert dict(zip(given.places.tolist(), given.truths.tolist(), strict=True)) == {0: 1, 1: 0, 2: 0, 3: 0}


def test_a_thing_that_loses_its_best_place_teaches_the_best_it_has_kept() -> None:
    places, boxes = grid([0, 0, 16, 15.2], [0, 0, 16, 20], [0, 0, 16, 24], [50, 50, 60, 60])
    truths = torch.tensor([[0.0, 0, 16, 16], [0, 0, 16, 15]])
    given = aligned.assign(places, boxes, torch.full((4, 1), 0.5), truths, torch.tensor([0, 0]))
    assert dict(zip(given.places.tolist(), given.truths.tolist(), strict=True)) == {0: 1, 1: 0, 2: 0, 3: 0}
    kept = [0.8, 0.8 * (2 / 3 / 0.8) ** 6, 0.0]
    assert given.targets.tolist() == pytest.approx([240 / 243.2, *kept], rel=1e-5)


def test_a_thing_that_nothing_overlaps_teaches_all_the_same() -> None:
    places, boxes = grid([50, 50, 60, 60], [50, 50, 60, 60], [50, 50, 60, 60], [11.5, 11.5, 12.5, 12.5])
    given = aligned.assign(places, boxes, torch.full((4, 1), 0.5), torch.tensor([[9.0, 9, 11, 11]]), torch.tensor([0]))
    assert given.places.tolist() == [3] and given.targets.tolist() == pytest.approx([0.1])


def test_aligned_losses_by_hand() -> None:
    """Once where nothing is known yet, and once where all four places have the box, in one batch."""
    model, (places, _) = small("aligned", 2), grid([0, 0, 1, 1])
    logits = torch.tensor([[[0.0, 0.0]] * 4, [[2.0, -1.0]] * 4])
    distances = torch.zeros(2, 4, 4, aligned.BINS)
    # From the middles of 2 x 2 places to [-4, -4, 20, 20]: one stride or two.
    for place, sides in enumerate([(1, 1, 2, 2), (2, 1, 1, 2), (1, 2, 2, 1), (2, 2, 1, 1)]):
        for side, away in enumerate(sides):
            distances[1, place, side, away] = 60
    truths = [truth_of([[1, 1, 7, 7]], [1], (16, 16)), truth_of([[-4, -4, 20, 20]], [0], (16, 16))]
    said = (places, logits, distances.flatten(2))
    got = answering(model, said).losses(torch.zeros(2, 3, 16, 16), [(16, 16)] * 2, truths)  # pyright: ignore
    # First image: the mean of 0 to 15 strides is 7.5, a box of 120 pixels; the true distances are 3 / 8 of a stride.
    overlap = 36 / 120**2
    total = overlap + 4

    def cross(logit: float, target: float) -> float:
        chance = 1 / (1 + math.exp(-logit))
        return abs(target - chance) ** 2 * -(target * math.log(chance) + (1 - target) * math.log(1 - chance))

    classes = 7 * cross(0, 0) + cross(0, overlap) + 4 * cross(2, 1) + 4 * cross(-1, 0)
    assert got["class"].item() == pytest.approx(classes / total, rel=1e-5)
    assert got["boxes"].item() == pytest.approx(2 * (1 - overlap) * overlap / total, rel=1e-4)
    assert got["distances"].item() == pytest.approx(0.5 * math.log(16) * overlap / total, rel=1e-4)


def test_a_thing_between_the_places_has_the_nearest() -> None:
    places, boxes = grid(*[[0.0, 0.0, 16.0, 16.0]] * 4)
    given = aligned.assign(places, boxes, torch.full((4, 1), 0.5), torch.tensor([[9.0, 9, 11, 11]]), torch.tensor([0]))
    assert given.places.tolist() == [3]
    nothing = aligned.assign(places, boxes, torch.full((4, 1), 0.5), torch.zeros(0, 4), torch.zeros(0).long())
    assert len(nothing.places) == 0


def test_only_so_many_places_learn_from_one_thing() -> None:
    rows = torch.arange(8) + 0.5
    centres = torch.stack(torch.meshgrid(rows, rows, indexing="ij")[::-1], -1).view(-1, 2) * 8
    boxes = torch.tensor([[0.0, 0, 64, 64]]) + torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    truth = torch.tensor([[0.0, 0, 64, 64]])
    given = aligned.assign(
        aligned.Places(centres, torch.full((64,), 8.0)), boxes, torch.full((64, 1), 0.3), truth, torch.tensor([0])
    )
    assert len(given.places) == 13
    best = iou(truth, boxes)[0].argsort(descending=True)[:13]
    assert set(given.places.tolist()) == set(best.tolist())


def test_many_things_are_assigned_in_parts_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.arange(12) + 0.5
    centres = torch.stack(torch.meshgrid(rows, rows, indexing="ij")[::-1], -1).view(-1, 2) * 8
    corner = torch.rand(144, 2, generator=generator) * 80
    boxes = torch.cat([corner, corner + 16], 1)
    truths = boxes[::3] + torch.rand(48, 4, generator=generator)
    labels = torch.arange(48) % 3
    asked = (
        aligned.Places(centres, torch.full((144,), 8.0)),
        boxes,
        torch.rand(144, 3, generator=generator),
        truths,
        labels,
    )
    at_once = aligned.assign(*asked)
    monkeypatch.setattr(aligned, "PAIRS", 144 * 7)
    for one, other in zip(at_once, aligned.assign(*asked), strict=True):
        assert torch.equal(one, other)


def test_distances_are_means_and_learnt_as_shares() -> None:
    """A distance of 2.25 strides is three quarters of 2 and a quarter of 3 (Li et al. 2020, equation 6)."""
    at = aligned.Places(torch.tensor([[18.0, 18.0]]), torch.tensor([8.0]))
    truth = torch.tensor([[0.0, 2.0, 34.0, 18.0]])
    logits = torch.zeros(1, 4, aligned.BINS)
    logits[0, :, 2], logits[0, :, 3] = math.log(3e4), math.log(1e4)
    assert aligned.expected(logits.flatten(1))[0].tolist() == pytest.approx([2.25] * 4, rel=1e-3)
    got = aligned._spread(logits.flatten(1), at, truth)
    chances = logits[0, 0].log_softmax(0)
    left = -0.75 * chances[2] - 0.25 * chances[3]
    top = right = -chances[2]
    bottom = -chances[0]
    assert got.item() == pytest.approx(((left + top + right + bottom) / 4).item(), rel=1e-3)
    assert aligned.boxes_at(at, torch.tensor([[2.25, 2.0, 2.0, 0.0]]))[0].tolist() == truth[0].tolist()


def test_distances_keep_their_digits_in_mixed_precision() -> None:
    """Between 8 and 16 a bfloat16 has but every sixteenth."""
    logits = torch.zeros(1, 4, aligned.BINS)
    logits[..., 9], logits[..., 10] = 30.0, 30.0 + math.log(0.03 / 0.97)
    with torch.autocast("cpu", torch.bfloat16):
        got = aligned.expected(logits.flatten(1))
    assert got.dtype == torch.float32
    assert got[0].tolist() == pytest.approx([9.03] * 4, abs=1e-5)


# --- all of them ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "steps", "rate", "settled"),
    [("aligned", 150, 2e-3, 1), ("ssd", 70, 2e-3, 1), ("yolov1", 150, 5e-4, 0.7), ("yolov3_tiny", 80, 2e-3, 1)],
)
def test_boxes_learnt_by_heart(name: str, steps: int, rate: float, settled: float) -> None:
    assert learn_by_heart(small(name, 10), steps, rate, settled)["box/AP"] > 95


@pytest.mark.slow
def test_boxes_learnt_by_heart_in_more_time() -> None:
    assert learn_by_heart(small("yolov3", 10), 120, 1e-3)["box/AP"] > 95


@pytest.mark.parametrize("name", SMALL)
def test_every_weight_gets_a_gradient(name: str) -> None:
    model, size = small(name), (96, 96)
    truth = truth_of([[5, 5, 30, 40], [40, 10, 60, 30]], [0, 2], size)
    losses = model.losses(torch.randn(2, 3, *size), [size] * 2, [truth, truth])
    assert all(math.isfinite(value.item()) for value in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    assert [own for own, parameter in model.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(
    "boxes",
    [
        [],
        [[10.0, 10.0, 11.0, 11.0], [95.0, 95.0, 96.0, 96.0]],
        [[10.0, 10.0, 10.1, 10.1]],
        [[0.0, 0.0, 96.0, 96.0], [0.0, 0.0, 96.0, 96.0]],
        [[0.0, 0.0, 96.0, 1.0], [95.9, 0.0, 96.0, 96.0]],
    ],
    ids=["nothing", "one pixel", "a tenth of a pixel", "all of it, twice", "thin"],
)
def test_strange_things(name: str, boxes: list[list[float]]) -> None:
    model, size = small(name), (96, 96)
    nothing = truth_of([], [], size)
    for truths in ([truth_of(boxes, [0] * len(boxes), size)] * 2, [nothing, truth_of(boxes, [1] * len(boxes), size)]):
        model.zero_grad()
        losses = model.losses(torch.randn(2, 3, *size), [size] * 2, truths)
        assert all(0 <= value.item() < 2000 for value in losses.values()), losses
        torch.stack(list(losses.values())).sum().backward()
        for own, parameter in model.named_parameters():
            assert parameter.grad is None or torch.isfinite(parameter.grad).all(), own
    found = model.eval().detect(torch.randn(2, 3, *size), [size, (50, 60)])
    for one, (height, width) in zip(found, (size, (50, 60)), strict=True):
        assert torch.isfinite(one.boxes).all() and (one.boxes >= 0).all()
        assert (one.boxes <= torch.tensor([width, height, width, height])).all()
        assert (one.scores >= 0).all() and (one.scores <= 1).all() and (one.scores.diff() <= 0).all()


@pytest.mark.parametrize("name", SMALL)
def test_a_box_can_be_explained(name: str) -> None:
    """The score is a number an image, with a gradient; the class that is asked about matters."""
    model = small(name).eval()
    task, inputs = create_task("detect", ("x", "y", "z"), model), torch.randn(2, 3, 96, 96, requires_grad=True)
    scores = [task.score(model, inputs, Aim(torch.tensor([10.0, 10.0, 40.0, 50.0]), label)) for label in ("x", "y")]
    assert scores[0].shape == (2,) and not torch.equal(*scores)
    (gradient,) = torch.autograd.grad(scores[1].sum(), inputs)
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize("name", ["aligned", "ssd", "yolov1", "yolov3"])
@pytest.mark.parametrize("backbone", ["mobilenet_v2", "mobilenet_v3_small", "densenet121", "darknet53"])
def test_any_backbone(name: str, backbone: str) -> None:
    with torch.device("meta"):
        model = small(name, backbone=backbone)
    model(torch.empty(2, 3, 128, 128, device="meta"))
    assert model.trunk.name == backbone


def test_what_cannot_be_built() -> None:
    with pytest.raises(UsageError, match="expected 6 anchors"):
        create_model("yolov3_tiny", 3, anchors=[(3, 4)])
    with pytest.raises(UsageError, match=r"needs maps of strides \(8, 16, 32\)"):
        create_model("yolov3", 3, backbone="vgg11")
    with pytest.raises(UsageError, match="anchors must go from small to large"):
        create_model("yolov3_tiny", 3, anchors=ANCHORS[::-1])
    with pytest.raises(UsageError, match="giou must be at least 0, got nan"):
        create_model("yolov3_tiny", 3, giou=math.nan)
    for options in ({"smallest": 0.0}, {"smallest": 0.9, "largest": 0.1}):
        with pytest.raises(UsageError, match="smallest must lie above 0 and be at most largest"):
            create_model("ssd", 3, **options)
    for name, option, value, words in (
        ("ssd", "smallest", -0.1, "a number of at least 0, got -0.1"),
        ("yolov1", "dropout", -1, "a number of at least 0, got -1"),
        ("ssd", "neck", -1, "a whole number of at least 0, got -1"),
        ("aligned", "width", 1.5, r"a whole number of at least 1, got 1\.5"),
    ):
        with pytest.raises(UsageError, match=f"{name}: {option} must be {words}"):
            create_model(name, 3, **{option: value})
    for option in ("count", "side"):
        with pytest.raises(UsageError, match=f"ssd: {option} must be a whole number of at least 1, got 0"):
            create_model("ssd", 3, **{option: 0})
    for options in ({"giou": "3"}, {"several": None}, {"anchors": 3}):
        with pytest.raises(UsageError, match=r"yolov3_tiny cannot be built with network="):
            on_paper("yolov3_tiny", options)
        with pytest.raises(UsageError, match=r"yolov3_tiny cannot be built with network="):
            create_model("yolov3_tiny", 3, **options)
    with pytest.raises(UsageError, match="needs maps of strides 8 to 32"):
        create_model("aligned", 3, backbone="resnet20_cifar")


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("classes", [1, 3])
def test_new_classes_start_where_nothing_is_found(name: str, classes: int) -> None:
    model = small(name, classes).eval()
    model.reset_head()
    found = model.detect(torch.randn(1, 3, 96, 96), [(96, 96)])
    assert len(found[0].boxes) == 0 or float(found[0].scores.max()) < 0.4


@pytest.mark.parametrize("name", ["ssd", "yolov1", "yolov3"])
def test_the_loss_of_a_batch_is_made_of_those_of_its_images(name: str) -> None:
    """Of YOLO the mean over the images; of SSD weighed by how many default boxes stand for things in each."""
    model, size = small(name).eval(), (96, 96)
    inputs = torch.randn(2, 3, *size)
    truths = [
        truth_of([[10, 10, 40, 50], [50, 40, 90, 90]], [0, 2], size),
        truth_of([[5, 20, 60, 80]], [1], size),
    ]
    together = model.losses(inputs, [size] * 2, truths)
    alone = [model.losses(inputs[n : n + 1], [size], truths[n : n + 1]) for n in range(2)]
    weights = [0.5, 0.5]
    if isinstance(model, ssd.SSD):
        defaults = model(inputs)[0]
        boxes = [torch.as_tensor(one.boxes, dtype=torch.float32) for one in truths]
        counts = [int((ssd.match_defaults(defaults, own) >= 0).sum()) for own in boxes]
        assert min(counts) >= 1 and sum(counts) > 3
        weights = [count / sum(counts) for count in counts]
    for part, value in together.items():
        expected = sum(weight * own[part].item() for weight, own in zip(weights, alone, strict=True))
        assert value.item() == pytest.approx(expected, rel=1e-4), part


def test_the_nearest_place_is_asked_where_none_overlaps() -> None:
    """The generalised IoU of the first box is -0.93, -0.30 and -0.16 in one image, -0.95, -0.91, -0.99 in the other."""
    boxes = torch.tensor(
        [[[0.0, 0, 10, 10], [40, 40, 50, 50], [44, 44, 60, 60]], [[0, 0, 10, 10], [8, 8, 20, 20], [90.0] * 4]]
    )
    assert place_of(torch.tensor([52.0, 40, 56, 43]), boxes).tolist() == [2, 1]
    assert place_of(torch.tensor([45.0, 45, 60, 60]), boxes).tolist() == [2, 1]


def test_select_leaves_classes_alone_and_keeps_the_best() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60], [-5, 90, 10, 120], [200, 0, 210, 10]])
    scores = torch.tensor([[0.9, 0.3], [0.8, 0.7], [0.2, 0.05], [0.5, 0.0], [1.0, 1.0]])
    got = select(boxes, scores, (100, 100), 0.1, 0.5, 10)
    # Of the first class the second box goes, of the second class the first; the last lies beyond the image.
    assert list(zip(got.labels.tolist(), got.scores.tolist(), strict=True)) == [
        (0, pytest.approx(0.9)),
        (1, pytest.approx(0.7)),
        (0, pytest.approx(0.5)),
        (0, pytest.approx(0.2)),
    ]
    assert got.boxes[2].tolist() == [0, 90, 10, 100]
    assert len(select(boxes, scores, (100, 100), 0.1, 0.5, 2).boxes) == 2
    few = select(boxes[:4], scores[:4], (100, 100), 0.1, 1.0, 10, before=2)
    assert sorted(few.labels.tolist()) == [0, 0, 1, 1]
