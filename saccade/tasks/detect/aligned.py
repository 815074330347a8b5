"""Aligned: the detector that `saccade fit` takes for boxes. One look, no anchors, light enough for a small processor.

Every place of three maps says how likely a thing of each class is whose box it knows, and how far away the four sides
of that box are. It puts together what today's detectors agree on:

- places without anchors, four distances (Tian et al., "FCOS: Fully Convolutional One-Stage Object Detection", ICCV
  2019, section 3.1), each as a distribution over whole numbers of strides (Li et al., "Generalized Focal Loss", NeurIPS
  2020, section 3, equations 3 to 6);
- which places learn from which thing is decided by how well their answers, class and box together, are already in line
  with it; and how far they are is what the score learns (Feng, Zhong, Gao, Scott and Huang, "TOOD: Task-Aligned
  One-Stage Object Detection", ICCV 2021, section 3.2), without that paper's aligned head and the
  epochs of another assignment that it begins with;
- maps that go down and up again (Liu et al., "Path Aggregation Network for Instance Segmentation", CVPR 2018, section
  3.1), of 5 x 5 filters a channel and 1 x 1 filters (Yu et al., "PP-PicoDet: A Better Real-Time Object Detector on
  Mobile Devices", arXiv:2111.00902, sections 2.1 and 2.2);
- a tower for the classes and one for the boxes (Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, section
  4), the boxes' as light as the maps; the classes' of full 3 x 3 filters, where telling things apart is learnt.

A distance is at most 15 strides: of the coarsest map 480 pixels, so that things up to 960 pixels are found whole.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.backbones.catalogue import encoder
from saccade.backbones.contract import Backbone
from saccade.errors import UsageError
from saccade.geometry.boxes import iou, paired_giou
from saccade.layers.depthwise import DepthwiseConv2d
from saccade.structures import Instances, Preprocessing, Size
from saccade.tasks.detect.matching import PAIRS
from saccade.tasks.detect.one_look import PRIOR, Answers, OneLook

BINS = 16  # whole numbers of strides that a distance is spread over: 0 to 15
TOP = 13  # places that learn from one thing (TOOD, section 4.1)
ALPHA, BETA = 1.0, 6.0  # how much the class and the box count in the alignment (TOOD, section 3.2.1)
GAMMA = 2.0  # how much more what is wrong counts (TOOD, section 3.2.2)
BOXES, DISTANCES = 2.0, 0.5  # weights of the losses beside the classes'
LEAST = 0.1  # score that the places of a thing should have while none of them overlaps it


class Separable(nn.Sequential):
    """5 x 5 within each channel, then 1 x 1 across them, each normalised and rectified."""

    def __init__(self, channels: int, stride: int = 1) -> None:
        super().__init__(
            DepthwiseConv2d(channels, channels, 5, stride, 2, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )


class Full(nn.Sequential):
    """3 x 3 across all channels, normalised and rectified."""

    def __init__(self, channels: int) -> None:
        super().__init__(nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU())


class PathAggregation(nn.Module):
    """The maps of a backbone, each told what the coarser ones see, and then what the finer ones do.

    channels  of each map, fine to coarse
    width     channels of each map that comes out
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(
            nn.Sequential(nn.Conv2d(own, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()) for own in channels
        )
        between = range(len(channels) - 1)
        self.down = nn.ModuleList(Separable(width) for _ in between)
        self.stride = nn.ModuleList(Separable(width, 2) for _ in between)
        self.up = nn.ModuleList(Separable(width) for _ in between)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """[B, width, h, w] each, fine to coarse, as large as those that came in."""
        own = [layer(one) for layer, one in zip(self.lateral, maps, strict=True)]
        for level in reversed(range(len(self.down))):
            enlarged = F.interpolate(own[level + 1], size=own[level].shape[-2:], mode="nearest")
            own[level] = self.down[level](own[level] + enlarged)
        for level, (stride, up) in enumerate(zip(self.stride, self.up, strict=True)):
            own[level + 1] = up(own[level + 1] + stride(own[level]))
        return own


class Head(nn.Module):
    """What the places of one map say: K logits and four distances.

    depth  of each tower
    full   whether the classes' tower has full filters
    """

    def __init__(self, width: int, depth: int, full: bool, num_classes: int) -> None:
        super().__init__()
        self.class_tower = nn.Sequential(*(Full(width) if full else Separable(width) for _ in range(depth)))
        self.box_tower = nn.Sequential(*(Separable(width) for _ in range(depth)))
        self.classes = nn.Conv2d(width, num_classes, 1)
        self.distances = nn.Conv2d(width, 4 * BINS, 1)
        for layer in (self.classes, self.distances):
            nn.init.normal_(layer.weight, std=0.01)
        _begin(self.classes)
        # Short distances are likelier to begin with: a box of a few strides.
        with torch.no_grad():
            self.distances.get_parameter("bias").copy_(-0.5 * torch.arange(BINS).repeat(4))

    def forward(self, one: Tensor) -> tuple[Tensor, Tensor]:
        """[B, h * w, K] and [B, h * w, 4 * BINS], row by row."""
        classes, distances = self.classes(self.class_tower(one)), self.distances(self.box_tower(one))
        return _by_place(classes), _by_place(distances)


def _begin(classes: nn.Module) -> None:
    """Nothing is there to begin with, so that the many places without a thing do not drown the others."""
    nn.init.constant_(classes.get_parameter("bias"), math.log(PRIOR / (1 - PRIOR)))


def _by_place(answers: Tensor) -> Tensor:
    return answers.permute(0, 2, 3, 1).flatten(1, 2)


class Places(NamedTuple):
    """Where the answers of all maps come from.

    centres  [N, 2] float32 (x, y), pixels of the input
    strides  [N] float32
    """

    centres: Tensor
    strides: Tensor


def places_of(maps: Sequence[Tensor], strides: Sequence[int]) -> Places:
    """The middles of the pixels of all maps, fine to coarse, row by row."""
    centres, of_place = [], []
    for one, stride in zip(maps, strides, strict=True):
        rows, columns = one.shape[-2:]
        y, x = torch.arange(rows, device=one.device) + 0.5, torch.arange(columns, device=one.device) + 0.5
        grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1).view(-1, 2)
        centres.append(grid * stride)
        of_place.append(torch.full((rows * columns,), float(stride), device=one.device))
    return Places(torch.cat(centres), torch.cat(of_place))


def expected(distances: Tensor) -> Tensor:
    """Distances [..., 4] in strides, the means of the distributions whose logits are [..., 4 * BINS] (Li et al. 2020,
    equation 5)."""
    shares = distances.float().unflatten(-1, (4, BINS)).softmax(-1)
    # A product of matrices would be one of few digits under autocast.
    return (shares * torch.arange(BINS, dtype=torch.float32, device=distances.device)).sum(-1)


def boxes_at(places: Places, distances: Tensor) -> Tensor:
    """Boxes [..., N, 4] xyxy of distances [..., N, 4] in strides to the left, top, right and bottom side."""
    away = distances * places.strides[:, None]
    return torch.cat([places.centres - away[..., :2], places.centres + away[..., 2:]], dim=-1)


class Assigned(NamedTuple):
    """What the places of one image learn from.

    places  [P] int64, those that learn from a thing
    truths  [P] int64: which
    targets [P] float32 in [0, 1]: the score that each should have
    """

    places: Tensor
    truths: Tensor
    targets: Tensor


@torch.no_grad()
def assign(places: Places, boxes: Tensor, scores: Tensor, truths: Tensor, labels: Tensor) -> Assigned:
    """Task-aligned assignment (TOOD, section 3.2.1).

    boxes   [N, 4] xyxy, what the places say
    scores  [N, K] in [0, 1], likewise
    truths  [M, 4] xyxy
    labels  [M] int64

    Of the places inside of a thing those learn from it whose alignment, score ** ALPHA * overlap ** BETA, is highest.
    A thing in which no place lies, as small as a stride, has the nearest of the finest map. A place that two things
    want learns from the one it overlaps more. The best place that a thing has kept should say the most that any of its
    places overlaps it, others as much less as their alignment is less (section 3.2.2).
    """
    count, device = len(places.centres), boxes.device
    best = torch.full((count,), -1.0, device=device)
    owner = torch.full((count,), -1, dtype=torch.int64, device=device)
    alignment = torch.zeros(count, device=device)
    finest = int((places.strides == places.strides.min()).sum()) if count else 0
    step = max(1, PAIRS // max(1, count))
    for start in range(0, len(truths), step):
        some, kinds = truths[start : start + step], labels[start : start + step]
        inside = _inside(places.centres, some)
        lost = (~inside.any(1)).nonzero().flatten()
        middles = (some[lost, :2] + some[lost, 2:]) / 2
        if len(lost):
            inside[lost, torch.cdist(middles, places.centres[:finest]).argmin(1)] = True
        overlap = iou(some, boxes)
        aligned = scores[:, kinds].T ** ALPHA * overlap**BETA * inside
        # Where nothing is aligned at all yet, the places inside still learn, in any order.
        ranked = (aligned + 1e-12 * inside).topk(min(TOP, count), dim=1)
        chosen = torch.zeros_like(inside).scatter_(1, ranked.indices, True) & inside
        value, which = torch.where(chosen, overlap, -1.0).max(0)
        better = value > best
        best = torch.where(better, value, best)
        owner = torch.where(better, which + start, owner)
        alignment = torch.where(better, aligned.gather(0, which[None])[0], alignment)
    taken = (owner >= 0).nonzero().flatten()
    mine, aligned, overlap = owner[taken], alignment[taken], best[taken]
    nothing = torch.zeros(len(truths), device=device)
    most_aligned, most_overlap = (nothing.scatter_reduce(0, mine, own, "amax")[mine] for own in (aligned, overlap))
    targets = aligned / most_aligned.clamp(min=1e-30) * most_overlap
    return Assigned(taken, mine, torch.where(most_aligned > 0, targets, LEAST).clamp(0, 1))


def _inside(centres: Tensor, boxes: Tensor) -> Tensor:
    """Whether points [N, 2] lie in boxes [M, 4]: [M, N] bool."""
    return ((centres > boxes[:, None, :2]) & (centres < boxes[:, None, 2:])).all(-1)


class Aligned(OneLook):
    """Backbone, path aggregation, and a head for each map.

    places  of which maps of the backbone, fine to coarse
    """

    last_layers = ("heads.0.classes", "heads.1.classes", "heads.2.classes")
    overlap = 0.6  # of two boxes of a class (TOOD's published code)
    input_size = (320, 320)
    recipe: ClassVar[Mapping[str, Any]] = {
        "epochs": 30,
        "batch_size": 16,
        "learning_rate": 2e-3,
        "ema": 0.998,
        "norms": "learn",
        "frozen": 0,
    }

    def __init__(self, body: Backbone, width: int, depth: int, full: bool, num_classes: int) -> None:
        super().__init__()
        levels = {stride: place for stride, place in body.by_stride().items() if 8 <= stride <= 32}
        if not levels:
            raise UsageError(
                f"this detector needs maps of strides 8 to 32, but those of {body.name} are {body.strides}"
            )
        self.backbone, self.levels, self.strides = body, tuple(levels.values()), tuple(levels)
        self.neck = PathAggregation([body.channels[place] for place in self.levels], width)
        self.heads = nn.ModuleList(Head(width, depth, full, num_classes) for _ in self.levels)
        self.num_classes, self.in_channels = num_classes, body.in_channels

    @property
    def trunk(self) -> Backbone:
        return self.backbone

    def reset_head(self, prefixes: Sequence[str] | None = None) -> None:
        super().reset_head(prefixes)
        for name, module in self.named_modules():
            if name in (self.last_layers if prefixes is None else prefixes):
                _begin(module)

    def forward(self, inputs: Tensor) -> tuple[Places, Tensor, Tensor]:
        """The N places, and of each the logits of the classes [B, N, K] and of the distances [B, N, 4 * BINS]."""
        maps = self.backbone.maps(inputs)
        maps = self.neck([maps[place] for place in self.levels])
        said = [head(one) for head, one in zip(self.heads, maps, strict=True)]
        classes, distances = zip(*said, strict=True)
        return places_of(maps, self.strides), torch.cat(classes, 1).float(), torch.cat(distances, 1).float()

    def losses(self, inputs: Tensor, sizes: Sequence[Size], truths: Sequence[Instances]) -> dict[str, Tensor]:
        """TOOD's losses of classes and of boxes (section 3.2.2), the second with generalised IoU, and the distribution
        focal loss (Li et al. 2020, equation 6); each divided by the sum of the scores that the places should have. How
        much a place counts in the first is taken as given, as in TOOD's published code: nothing is learnt by counting
        less."""
        places, logits, distances = self(inputs)
        boxes = boxes_at(places, expected(distances))
        wanted = torch.zeros_like(logits)
        ours, theirs, weights, sides = [], [], [], []
        for image, truth in enumerate(truths):
            own = torch.as_tensor(truth.boxes, dtype=torch.float32, device=logits.device)
            labels = torch.as_tensor(truth.labels, device=logits.device)
            given = assign(places, boxes[image].detach(), logits[image].detach().sigmoid(), own, labels)
            wanted[image, given.places, labels[given.truths]] = given.targets
            ours.append(boxes[image, given.places])
            theirs.append(own[given.truths])
            weights.append(given.targets)
            at = Places(places.centres[given.places], places.strides[given.places])
            sides.append(_spread(distances[image, given.places], at, own[given.truths]))
        total = wanted.sum().clamp(min=1)
        wrong = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        away = (1 - paired_giou(torch.cat(ours), torch.cat(theirs))) * torch.cat(weights)
        return {
            "class": ((wanted - logits.sigmoid()).detach().abs() ** GAMMA * wrong).sum() / total,
            "boxes": BOXES * away.sum() / total,
            "distances": DISTANCES * (torch.cat(sides) * torch.cat(weights)).sum() / total,
        }

    def answers(self, inputs: Tensor) -> Answers:
        places, logits, distances = self(inputs)
        return Answers(boxes_at(places, expected(distances)), logits, logits.sigmoid())

    def standard_preprocessing(self) -> Preprocessing:
        """All of the image, as large as it fits into 320 x 320."""
        return Preprocessing.whole(*self.input_size, "L" if self.in_channels == 1 else "RGB")


def _spread(distances: Tensor, at: Places, truths: Tensor) -> Tensor:
    """The distribution focal loss [P]: cross-entropy to the two whole numbers next to each true distance, the nearer
    the more, the mean of the four sides (Li et al. 2020, equation 6).

    distances  [P, 4 * BINS] logits
    truths     [P, 4] xyxy
    """
    away = torch.cat([at.centres - truths[:, :2], truths[:, 2:] - at.centres], dim=1) / at.strides[:, None]
    away = away.clamp(0, BINS - 1 - 1e-3)
    below = away.floor().long()
    chances = distances.unflatten(-1, (4, BINS)).log_softmax(-1)
    low = chances.gather(-1, below[..., None])[..., 0]
    high = chances.gather(-1, below[..., None] + 1)[..., 0]
    return -((below + 1 - away) * low + (away - below) * high).mean(-1)


def aligned(
    num_classes: int = 80,
    in_channels: int = 3,
    backbone: str = "mobilenet_v2",
    width: int = 96,
    depth: int = 2,
    full: bool = True,
    encoder_options: Mapping[str, Any] | None = None,
) -> Aligned:
    """On the maps of any network of the catalogue.

    width            channels of the maps that are looked at
    depth            layers of each tower that looks at them
    full             whether the tower of the classes has full filters; without, it is as light as the rest
    encoder_options  what the backbone's builder takes besides
    """
    return Aligned(encoder(backbone, in_channels, **dict(encoder_options or {})), width, depth, full, num_classes)


def aligned_nano(num_classes: int = 80, in_channels: int = 3) -> Aligned:
    """On MobileNetV3-Small, for the slowest machines."""
    return aligned(num_classes, in_channels, "mobilenet_v3_small", 64, full=False)


def aligned_small(num_classes: int = 80, in_channels: int = 3) -> Aligned:
    """On MobileNetV2."""
    return aligned(num_classes, in_channels, "mobilenet_v2", 96)


def aligned_medium(num_classes: int = 80, in_channels: int = 3) -> Aligned:
    """On MobileNetV3-Large, with wider and deeper heads."""
    return aligned(num_classes, in_channels, "mobilenet_v3_large", 160, 3)
