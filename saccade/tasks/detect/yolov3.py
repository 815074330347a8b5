"""YOLOv3: at three scales every place says of three anchors whether a thing is there, where, and of which classes.

Redmon and Farhadi, "YOLOv3: An Incremental Improvement", arXiv:1804.02767. Section 2.1: boxes relative to their cell
and their anchor, one anchor a thing, the others left in peace where they overlap one; 2.2: independent logistic
classes; 2.3: three scales, anchors by k-means. 57.9 % AP50 and 33.0 AP on COCO's test-dev at 608 pixels (table 3), as
fast as others that were worse. `yolov3_tiny`, two scales on seven convolutions, is of the published code: 33.1 % AP50.

State-dict keys are ours; layers stand in the order of the published configurations, so that their files of weights
(`yolov3.weights`, `yolov3-tiny.weights`, `darknet53.conv.74`) can be read.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.backbones.catalogue import encoder
from saccade.backbones.contract import Backbone
from saccade.backbones.darknet import Layer
from saccade.errors import UsageError
from saccade.geometry.box_coding import LARGEST
from saccade.geometry.boxes import iou, paired_giou, xyxy_from_cxcywh
from saccade.structures import Instances, Preprocessing, Size
from saccade.tasks.detect.matching import PAIRS
from saccade.tasks.detect.one_look import PRIOR, Answers, OneLook

Shape = tuple[float, float]  # (width, height) of an anchor, pixels of the network's input

# By k-means on COCO (section 2.3), for inputs of 416 pixels; three for each map, fine to coarse.
COCO: tuple[Shape, ...] = (
    (10, 13),
    (16, 30),
    (33, 23),
    (30, 61),
    (62, 45),
    (59, 119),
    (116, 90),
    (156, 198),
    (373, 326),
)
# Of the six that were found, (10, 14) first, the published small network took the second to the fourth for its finer
# map, by mistake; its weights can be used with these alone.
COCO_TINY: tuple[Shape, ...] = ((23, 27), (37, 58), (81, 82), (81, 82), (135, 169), (344, 319))
EACH = 3  # anchors a map
IGNORED = 0.5  # overlap with a thing from which on an anchor that is not its own is left in peace (section 2.1)


class Cells(NamedTuple):
    """The N = sum of h * w * 3 anchors of all maps, coarse to fine, row by row.

    corners  [N, 2] float32 (x, y) of the cells, pixels of the input
    strides  [N] float32
    shapes   [N, 2] float32 (width, height) of the anchors, pixels
    maps     (stride, rows, columns) of each map
    """

    corners: Tensor
    strides: Tensor
    shapes: Tensor
    maps: tuple[tuple[int, int, int], ...]


class Assigned(NamedTuple):
    """What the anchors of one image learn from, one or several for each thing.

    places   [P] int64
    truths   [P] int64: which thing
    targets  [P, 4] float32: where in the cell the middle lies (x, y in [0, 1]), and the logarithm of how many times as
             wide and high as its anchor the thing is
    named    [2, Q] int64: which of the P, and which thing it is called: its own, and others whose best it is as well
    """

    places: Tensor
    truths: Tensor
    targets: Tensor
    named: Tensor


def begin(answers: nn.Conv2d) -> None:
    """Start the last layer: to 99 % nothing is there."""
    nn.init.zeros_(answers.weight)
    assert answers.bias is not None
    nn.init.zeros_(answers.bias)
    with torch.no_grad():
        answers.bias.view(EACH, -1)[:, 4] = -math.log((1 - PRIOR) / PRIOR)


class Scale(nn.Module):
    """The layers of one map: what comes from the coarser one, what is made of both, and the answers.

    channels  of the map of the backbone
    coarser   of what comes from the coarser map; 0 for the coarsest
    width     of the answers' last layer but one
    deep      whether five layers make it, or one, as in the small network
    """

    def __init__(self, channels: int, coarser: int, width: int, deep: bool, answers: int) -> None:
        super().__init__()
        self.reduce = Layer(coarser, coarser // 2, 1) if coarser else None
        joined, half = channels + coarser // 2, width // 2
        if deep:
            layers = [Layer(joined, half, 1), Layer(half, width, 3), Layer(width, half, 1), Layer(half, width, 3)]
            self.shared = nn.Sequential(*layers, Layer(width, half, 1))
        else:
            # The small network's finer map has nothing before its 3 x 3 filters.
            self.shared = nn.Sequential(*([] if coarser else [Layer(joined, half, 1)]))
        self.last = Layer(joined if not deep and coarser else half, width, 3)
        self.answers = nn.Conv2d(width, answers, 1)
        begin(self.answers)
        nn.init.normal_(self.answers.weight, std=0.01)

    def forward(self, one: Tensor, coarser: Tensor | None) -> tuple[Tensor, Tensor]:
        """What the next finer map is handed, and the answers [B, 3 * (5 + K), h, w]."""
        if self.reduce is not None and coarser is not None:
            enlarged = F.interpolate(self.reduce(coarser), size=one.shape[-2:], mode="nearest")
            one = torch.cat([enlarged, one], 1)
        shared = self.shared(one)
        return shared, self.answers(self.last(shared))


class YOLOv3(OneLook):
    """A backbone, and the layers of each scale, coarse to fine.

    anchors  [(width, height)], pixels of the input, small to large, three for each map, fine to coarse
    several  overlap in shape from which on a thing has further anchors beside its best, so that more learn of it
             (Bochkovskiy, Wang and Liao, "YOLOv4", arXiv:2004.10934, section 3.4). The paper has 1: one anchor a thing
    giou     how much what boxes lack of their things' generalised IoU counts, which takes the place of the errors of
             their middles and sides (Rezatofighi et al., "Generalized Intersection over Union", CVPR 2019, section 5.1,
             of YOLOv3). The paper has 0: these errors themselves
    """

    last_layers = ("scales.0.answers", "scales.1.answers", "scales.2.answers")
    overlap, sure = 0.45, 0.005  # the published code's
    before = 1000  # at the start all anchors are about as sure as that
    input_size = (416, 416)

    def __init__(
        self,
        body: Backbone,
        strides: Sequence[int],
        anchors: Sequence[Shape],
        deep: bool,
        num_classes: int,
        several: float = 1.0,
        giou: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 < several <= 1:
            raise UsageError(f"several must lie above 0 and be at most 1, got {several:g}")
        if not giou >= 0:
            raise UsageError(f"giou must be at least 0, got {giou:g}")
        places = body.by_stride()
        if not set(strides) <= places.keys():
            raise UsageError(
                f"this detector needs maps of strides {strides}, but those of {body.name} are {body.strides}"
            )
        if len(anchors) != EACH * len(strides) or any(len(one) != 2 or min(one) <= 0 for one in anchors):
            raise UsageError(
                f"expected {EACH * len(strides)} anchors, (width, height) in pixels, {EACH} for each of {len(strides)} "
                f"maps, but got {list(anchors)}; saccade anchors DATA finds some"
            )
        areas = [
            sum(width * height for width, height in anchors[start : start + EACH])
            for start in range(0, len(anchors), EACH)
        ]
        if areas != sorted(areas):
            raise UsageError(f"anchors must go from small to large, {EACH} for each map, but got {list(anchors)}")
        self.backbone, self.num_classes, self.in_channels = body, num_classes, body.in_channels
        self.several, self.giou = several, giou
        self.strides = tuple(sorted(strides, reverse=True))
        self.places = tuple(places[stride] for stride in self.strides)
        by_map = [tuple(anchors[start : start + EACH]) for start in range(0, len(anchors), EACH)]
        self.anchors = tuple(reversed(by_map))
        self.scales, coarser = nn.ModuleList(), 0
        for number, place in enumerate(self.places):
            channels = body.channels[place]
            width = (1024 if deep else 512) // 2**number
            self.scales.append(Scale(channels, coarser, width, deep, self.outputs(num_classes)))
            coarser = width // 2

    @staticmethod
    def outputs(num_classes: int) -> int:
        """Channels of the last layers: of each anchor four numbers for its box, one whether there is a thing, K."""
        return EACH * (5 + num_classes)

    @property
    def trunk(self) -> Backbone:
        return self.backbone

    def reset_head(self, prefixes: Sequence[str] | None = None) -> None:
        for name in self.last_layers[: len(self.scales)] if prefixes is None else prefixes:
            begin(cast(nn.Conv2d, self.get_submodule(name)))

    def forward(self, inputs: Tensor) -> tuple[Cells, Tensor]:
        """The N anchors, and what each says, [B, N, 5 + K]: x, y, width, height, whether a thing is there, which."""
        maps = self.backbone.maps(inputs)
        coarser, said, cells = None, [], []
        for place, scale, stride, shapes in zip(self.places, self.scales, self.strides, self.anchors, strict=True):
            coarser, answers = scale(maps[place], coarser)
            said.append(answers.unflatten(1, (EACH, -1)).permute(0, 3, 4, 1, 2).flatten(1, 3))
            cells.append(_cells(answers, stride, shapes))
        return _joined(cells), torch.cat(said, 1).float()

    def losses(self, inputs: Tensor, sizes: Sequence[Size], truths: Sequence[Instances]) -> dict[str, Tensor]:
        """Section 2.1 and 2.2, the mean over the images.

        Of places and classes binary cross-entropy, of widths and heights half the squared error: the gradient of each
        is the truth minus what is said. As in the published code the boxes of small things count up to twice as much.
        With `giou` that takes the place of those of the boxes, and counts as much more.
        """
        cells, said = self(inputs)
        boxes, image_area = boxes_of(cells, said), inputs.shape[2] * inputs.shape[3]
        wanted, counted = torch.zeros_like(said[..., 4]), torch.ones_like(said[..., 4], dtype=torch.bool)
        answers, targets, kinds, weights, overlaps = [], [], [], [], []
        for image, truth in enumerate(truths):
            own = torch.as_tensor(truth.boxes, dtype=torch.float32, device=said.device)
            given = assign(cells, own, self.several)
            if len(own):
                counted[image] = _best_overlap(boxes[image].detach(), own) <= IGNORED
            counted[image, given.places] = True
            wanted[image, given.places] = 1
            answers.append(said[image, given.places])
            targets.append(given.targets)
            if self.giou:
                overlaps.append(paired_giou(boxes[image, given.places], own[given.truths]))
            kind = said.new_zeros(len(given.places), self.num_classes)
            kind[given.named[0], torch.as_tensor(truth.labels, device=said.device)[given.named[1]]] = 1
            kinds.append(kind)
            sides = own[given.truths, 2:] - own[given.truths, :2]
            weights.append(2 - sides.prod(1) / image_area)
        found, target, weight = torch.cat(answers), torch.cat(targets), torch.cat(weights)[:, None]
        there = F.binary_cross_entropy_with_logits(said[..., 4], wanted, reduction="none")
        if self.giou:
            away = self.giou * (1 - torch.cat(overlaps))[:, None]
        else:
            middle = F.binary_cross_entropy_with_logits(found[:, :2], target[:, :2], reduction="none")
            away = middle + (found[:, 2:4] - target[:, 2:]) ** 2 / 2
        named = F.binary_cross_entropy_with_logits(found[:, 5:], torch.cat(kinds), reduction="sum")
        return {
            "thing": (there * counted).sum() / len(truths),
            "class": named / len(truths),
            "boxes": (weight * away).sum() / len(truths),
        }

    def answers(self, inputs: Tensor) -> Answers:
        cells, said = self(inputs)
        logits = F.logsigmoid(said[..., 4:5]) + F.logsigmoid(said[..., 5:])
        return Answers(boxes_of(cells, said), logits, logits.exp())

    def standard_preprocessing(self) -> Preprocessing:
        """All of the image, as large as it fits into 416 x 416."""
        return Preprocessing.whole(*self.input_size, "L" if self.in_channels == 1 else "RGB")


def _cells(answers: Tensor, stride: int, shapes: Sequence[Shape]) -> Cells:
    """The anchors of one map."""
    rows, columns = answers.shape[-2:]
    y, x = torch.arange(rows, device=answers.device), torch.arange(columns, device=answers.device)
    corners = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1).view(-1, 1, 2).float() * stride
    own = torch.tensor(shapes, dtype=torch.float32, device=answers.device)
    corners, own = torch.broadcast_tensors(corners, own)
    strides = torch.full((rows * columns * EACH,), float(stride), device=own.device)
    return Cells(corners.reshape(-1, 2), strides, own.reshape(-1, 2), ((stride, rows, columns),))


def _joined(cells: Sequence[Cells]) -> Cells:
    """Of several maps."""
    return Cells(
        torch.cat([one.corners for one in cells]),
        torch.cat([one.strides for one in cells]),
        torch.cat([one.shapes for one in cells]),
        tuple(own for one in cells for own in one.maps),
    )


def boxes_of(cells: Cells, said: Tensor) -> Tensor:
    """Boxes [..., N, 4] xyxy, pixels of the input, of what the anchors say, [..., N, 4 or more] (section 2.1)."""
    middle = cells.corners + said[..., :2].sigmoid() * cells.strides[:, None]
    sides = cells.shapes * said[..., 2:4].clamp(max=LARGEST).exp()
    return xyxy_from_cxcywh(torch.cat([middle, sides], dim=-1))


@torch.no_grad()
def assign(cells: Cells, truths: Tensor, several: float = 1.0) -> Assigned:
    """For each thing the one anchor whose shape is likest to it, in the cell where its middle lies.

    truths   [M, 4] xyxy, pixels of the input
    several  overlap in shape above which a thing has further anchors, in its cells of all maps

    Where two things would have one and the same anchor, the one whose best it is has it, or the likelier in shape;
    where it is the best of both, it is called both (section 2.2: a thing may be a woman and a person). Of two anchors
    of one shape on two maps, as `COCO_TINY` has them, the coarser map's is taken.
    """
    sides, middles = truths[:, 2:] - truths[:, :2], (truths[:, :2] + truths[:, 2:]) / 2
    if not len(truths):
        nothing = torch.zeros(0, dtype=torch.int64, device=truths.device)
        return Assigned(nothing, nothing, truths.new_zeros(0, 4), nothing.expand(2, 0))
    # Of each map its first cell's anchors, which are those of all its cells.
    sizes = [rows * columns * EACH for _, rows, columns in cells.maps]
    begins = [sum(sizes[:number]) for number in range(len(sizes))]
    kinds = torch.cat([cells.shapes[begin : begin + EACH] for begin in begins])
    # As if all stood with their corners in one place (section 2.1: "bounding box prior").
    upright = torch.cat([torch.zeros_like(sides), sides], 1)
    alike = iou(upright, torch.cat([torch.zeros_like(kinds), kinds], 1))
    pairs = [
        (kind == best, overlap, truth, kind)
        for truth, (row, best) in enumerate(zip(alike.tolist(), alike.argmax(1).tolist(), strict=True))
        for kind, overlap in enumerate(row)
        if kind == best or overlap > several
    ]
    taken, best_of, at_once = {}, defaultdict(list), middles.tolist()
    # From the worst to the best, so that the best has the last word.
    for is_best, _, truth, kind in sorted(pairs):
        which, anchor = divmod(kind, EACH)
        stride, rows, columns = cells.maps[which]
        x, y = at_once[truth]
        row, column = (min(max(int(at // stride), 0), count - 1) for at, count in ((y, rows), (x, columns)))
        place = begins[which] + (row * columns + column) * EACH + anchor
        taken[place] = truth
        if is_best:
            best_of[place].append(truth)
    named = [(row, truth) for row, (place, own) in enumerate(taken.items()) for truth in {own, *best_of[place]}]
    place = torch.tensor(list(taken), device=truths.device)
    which = torch.tensor(list(taken.values()), device=truths.device)
    inside = (middles[which] - cells.corners[place]) / cells.strides[place, None]
    times = (sides[which] / cells.shapes[place]).log()
    targets = torch.cat([inside.clamp(0, 1), times], 1)
    return Assigned(place, which, targets, torch.tensor(named, device=truths.device).T)


def _best_overlap(boxes: Tensor, truths: Tensor) -> Tensor:
    """How much each of boxes [N, 4] overlaps the thing it overlaps most, [N]."""
    step = max(1, PAIRS // max(1, len(boxes)))
    parts = [iou(truths[start : start + step], boxes).amax(0) for start in range(0, len(truths), step)]
    return torch.stack(parts).amax(0)


def yolov3(
    num_classes: int = 80,
    in_channels: int = 3,
    backbone: str = "darknet53",
    anchors: Sequence[Shape] = COCO,
    several: float = 1.0,
    giou: float = 0.0,
    encoder_options: Mapping[str, Any] | None = None,
) -> YOLOv3:
    """62.0 million weights.

    backbone         of maps at strides 8, 16 and 32
    anchors          nine (width, height) in pixels of the input, small to large; `saccade anchors` finds those of a set
    several, giou    as of `YOLOv3`
    encoder_options  what the backbone's builder takes besides
    """
    body = encoder(backbone, in_channels, **dict(encoder_options or {}))
    return YOLOv3(body, (8, 16, 32), anchors, True, num_classes, several, giou)


def yolov3_tiny(
    num_classes: int = 80,
    in_channels: int = 3,
    anchors: Sequence[Shape] = COCO_TINY,
    several: float = 1.0,
    giou: float = 0.0,
) -> YOLOv3:
    """8.8 million weights.

    anchors        six, likewise
    several, giou  as of `YOLOv3`
    """
    return YOLOv3(encoder("darknet_tiny", in_channels), (16, 32), anchors, False, num_classes, several, giou)
