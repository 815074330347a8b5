"""SSD: on several maps, fine to coarse, every place says of a few default boxes what is in them and how to move them.

Liu, Anguelov, Erhan, Szegedy, Reed, Fu and Berg, "SSD: Single Shot MultiBox Detector", ECCV 2016. Section 2.1 and
figure 2: VGG-16 up to conv4_3, its full connections slid, of fewer units, and more layers behind them; section 2.2:
default boxes (equation 4), matching, the loss (equations 1 to 3), three times as much background as things. Section
3.1: conv4_3 is brought to a length of 20 at every place, as in ParseNet. SSD300 reaches 74.3 % mAP on VOC 2007 when
trained on 2007 and 2012 (table 1), SSD512 76.8; with the expansion of section 3.6 77.2 and 79.8.

State-dict keys and shapes of `ssd300_vgg16` are torchvision's, and so are its default boxes.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.backbones.catalogue import encoder
from saccade.backbones.contract import Backbone
from saccade.backbones.vgg import VGG, vgg16
from saccade.errors import UsageError
from saccade.geometry.box_coding import Weights, decode, encode
from saccade.geometry.boxes import iou, xyxy_from_cxcywh
from saccade.structures import Instances, Preprocessing, Size
from saccade.tasks.detect.matching import PAIRS, match
from saccade.tasks.detect.one_look import PRIOR, Answers, OneLook

SPREAD: Weights = (10.0, 10.0, 5.0, 5.0)  # one over how much the moves of the boxes vary
THING = 0.5  # overlap from which on a default box stands for a thing (section 2.2)
HARD = 3  # times as much background as things in the loss
LENGTH = 20.0  # of the values of conv4_3 at a place, to begin with


class Level(NamedTuple):
    """The default boxes of one map.

    ratios  of width to height, beside 1 : 1; each comes with its inverse
    scale   side of the square, as a share of the image's
    next    of the coarser map: there is one more square, between the two in size
    step    pixels of the input between two places
    """

    ratios: tuple[float, ...]
    scale: float
    next: float
    step: float

    def shapes(self) -> Tensor:
        """[A, 2] float (width, height), in shares of the image, at most all of it."""
        between = math.sqrt(self.scale * self.next)
        pairs = [(self.scale, self.scale), (between, between)]
        for ratio in self.ratios:
            wide, high = self.scale * math.sqrt(ratio), self.scale / math.sqrt(ratio)
            pairs += [(wide, high), (high, wide)]
        return torch.tensor(pairs).clamp(max=1.0)

    @property
    def each(self) -> int:
        """Default boxes a place."""
        return 2 + 2 * len(self.ratios)


def default_boxes(maps: Sequence[Tensor], levels: Sequence[Level], size: Size, designed: int | None = None) -> Tensor:
    """[N, 4] float32 xyxy, pixels of the input: of each map row by row, at each place all shapes.

    maps      [B, C, h, w] each
    size      (height, width) of the input
    designed  None: places lie their step apart about the middle of the image, as far apart as the units that look
              there: of a network without borders, such as SqueezeNet, the outermost ones do not reach the edge.
              Or, as in the paper's code, the side of the input for which the first place lies half a step from the
              corner; at any other size they lie evenly over the image
    """
    height, width = size
    found = []
    for one, level in zip(maps, levels, strict=True):
        rows, columns = one.shape[-2:]
        y, x = _places(rows, height, level.step, designed), _places(columns, width, level.step, designed)
        centres = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1).view(-1, 1, 2)
        shapes = level.shapes() * torch.tensor([width, height])
        found.append(torch.cat(torch.broadcast_tensors(centres, shapes), dim=-1).view(-1, 4))
    return xyxy_from_cxcywh(torch.cat(found)).to(maps[0].device)


def _places(count: int, length: int, step: float, designed: int | None) -> Tensor:
    """[count] float32 along one axis of the input."""
    if designed is None:
        return length / 2 + (torch.arange(count) - (count - 1) / 2) * step
    return (torch.arange(count) + 0.5) * (step if length == designed else length / count)


def match_defaults(defaults: Tensor, truths: Tensor) -> Tensor:
    """Which truth each default box stands for, [N] int64, below 0 for none (section 2.2, "Matching strategy").

    defaults  [N, 4] xyxy
    truths    [M, 4] xyxy

    First every truth gets the box that overlaps it best, as in MultiBox: where that is taken, the best that is left.
    Then every other box whose overlap with some truth is a half or more stands for that.
    """
    matches = match(defaults, truths, THING, THING)
    if not len(truths):
        return matches
    step = max(1, PAIRS // max(1, len(defaults)))
    best = torch.cat([iou(truths[start : start + step], defaults).amax(1) for start in range(0, len(truths), step)])
    free = torch.ones(len(defaults), device=defaults.device)
    for truth in best.argsort(descending=True).tolist():
        overlap, place = (iou(truths[truth][None], defaults)[0] * free).max(0)
        if overlap > 0:
            matches[place], free[place] = truth, 0
    return matches


class Head(nn.Module):
    """One 3 x 3 convolution a map; nested as in torchvision, for its keys.

    numbers  answers a default box
    """

    def __init__(self, channels: Sequence[int], counts: Sequence[int], numbers: int) -> None:
        super().__init__()
        self.numbers = numbers
        self.module_list = nn.ModuleList(
            nn.Conv2d(own, count * numbers, 3, padding=1) for own, count in zip(channels, counts, strict=True)
        )
        _initialise(self)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """[B, N, numbers] float32, in the order of `default_boxes`."""
        said = [layer(one).permute(0, 2, 3, 1) for layer, one in zip(self.module_list, maps, strict=True)]
        return torch.cat([one.reshape(len(one), -1, self.numbers) for one in said], dim=1).float()


class Heads(nn.Module):
    """What is in each default box, background first, and how it should be moved."""

    def __init__(self, channels: Sequence[int], levels: Sequence[Level], num_classes: int) -> None:
        super().__init__()
        counts = [level.each for level in levels]
        self.classification_head = Head(channels, counts, num_classes + 1)
        self.regression_head = Head(channels, counts, 4)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        return self.classification_head(maps), self.regression_head(maps)


class ReducedVGG(nn.Module):
    """VGG-16 as SSD takes it: to conv4_3, at length 20; conv5, fc6 and fc7 slid; and four or five more pairs of layers.

    larger  one more pair, for inputs of 512 pixels

    Keys are torchvision's: what stands in `features` and `extra` are the layers of a VGG that is not listed itself.
    """

    def __init__(self, in_channels: int, larger: bool) -> None:
        super().__init__()
        body = vgg16(0, in_channels)
        body.name, body.in_channels = "vgg16", in_channels
        third, fourth, fifth = body.ends[2:]
        # 75 pixels become 38, not 37: as in the paper's framework.
        cast(nn.MaxPool2d, body.features[third]).ceil_mode = True
        fully = nn.Sequential(
            nn.MaxPool2d(3, 1, 1),
            nn.Conv2d(512, 1024, 3, padding=6, dilation=6),
            nn.ReLU(),
            nn.Conv2d(1024, 1024, 1),
            nn.ReLU(),
        )
        pairs = [_pair(1024, 512, 2, 1), _pair(512, 256, 2, 1)]
        pairs += [_pair(256, 256, 2, 1), _pair(256, 256, 2, 1), _pair(256, 256, 1, 1, 4)] if larger else []
        pairs += [] if larger else [_pair(256, 256, 1, 0), _pair(256, 256, 1, 0)]
        for module in (fully, *pairs):
            _initialise(module)
        layers = list(body.features)
        self.features = nn.Sequential(*layers[:fourth])
        self.extra = nn.ModuleList([nn.Sequential(*layers[fourth:fifth], fully), *pairs])
        self.scale_weight = nn.Parameter(torch.full((512,), LENGTH))
        self.channels = (512, 1024, 512, *[256] * (len(pairs) - 1))
        self._body = (body,)

    @property
    def trunk(self) -> VGG:
        return self._body[0]

    def forward(self, inputs: Tensor) -> list[Tensor]:
        inputs = self.features(inputs)
        maps = [self.scale_weight.view(1, -1, 1, 1) * F.normalize(inputs)]
        for layers in self.extra:
            inputs = layers(inputs)
            maps.append(inputs)
        return maps


def _pair(channels: int, out: int, stride: int, padding: int, kernel: int = 3) -> nn.Sequential:
    """Half of the channels by 1 x 1, then all of them, fewer pixels."""
    return nn.Sequential(
        nn.Conv2d(channels, out // 2, 1),
        nn.ReLU(),
        nn.Conv2d(out // 2, out, kernel, stride, padding),
        nn.ReLU(),
    )


def _initialise(module: nn.Module) -> None:
    """As the published code has it."""
    for own in module.modules():
        if isinstance(own, nn.Conv2d) and own.bias is not None:
            nn.init.xavier_uniform_(own.weight)
            nn.init.zeros_(own.bias)


class WithExtras(nn.Module):
    """Any backbone from some stride on, and behind it maps half as large each; all have the `strides`.

    finest  the least stride
    count   how many maps in all, the finest ones where the backbone has more
    width   channels of the maps behind the backbone
    neck    channels that two normed layers bring each map to before the heads, which are single filters, ask it what
            there is and where; 0 for none, as in the paper, which evens out the one map that is not VGG's last by its
            length
    """

    def __init__(self, body: Backbone, finest: int, count: int, width: int, neck: int = 0) -> None:
        super().__init__()
        self.body = body
        places = {stride: place for stride, place in body.by_stride().items() if stride >= finest}
        if not places:
            raise UsageError(f"SSD here needs a map of stride {finest} or more, but these are {body.strides}")
        self.places = tuple(places.values())[:count]
        own = [body.channels[place] for place in self.places]
        strides = [body.strides[place] for place in self.places]
        self.strides = (*strides, *(strides[-1] * 2**number for number in range(1, 1 + max(0, count - len(own)))))
        self.extra = nn.ModuleList()
        for number in range(max(0, count - len(own))):
            self.extra.append(_normed_pair(own[-1] if number == 0 else width, width // 2, width, 2))
        self.channels = (*own, *[width] * len(self.extra))
        self.neck = nn.ModuleList(_normed_pair(channels, neck, neck, 1) for channels in self.channels) if neck else None
        if neck:
            self.channels = (neck,) * len(self.channels)

    @property
    def trunk(self) -> Backbone:
        return self.body

    def forward(self, inputs: Tensor) -> list[Tensor]:
        maps = self.body.maps(inputs)
        maps = [maps[place] for place in self.places]
        for layers in self.extra:
            maps.append(layers(maps[-1]))
        return maps if self.neck is None else [layers(one) for layers, one in zip(self.neck, maps, strict=True)]


def _normed_pair(channels: int, between: int, width: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, between, 1, bias=False),
        nn.BatchNorm2d(between),
        nn.ReLU(),
        nn.Conv2d(between, width, 3, stride, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    )


class SSD(OneLook):
    """Maps and heads.

    levels    the default boxes of each map
    side      of the square input that it is designed for
    cornered  whether their places count from the corner at that size: `designed` of `default_boxes`
    """

    last_layers = ("head.classification_head",)
    overlap, most, before = 0.45, 200, 400  # section 3.7, "Inference time", and the published code

    def __init__(
        self,
        backbone: ReducedVGG | WithExtras,
        levels: Sequence[Level],
        side: int,
        num_classes: int,
        cornered: bool = False,
    ) -> None:
        super().__init__()
        self.backbone, self.levels, self.side = backbone, tuple(levels), side
        self.designed = side if cornered else None
        self.head = Heads(backbone.channels, self.levels, num_classes)
        self.num_classes, self.in_channels = num_classes, backbone.trunk.in_channels
        self.input_size = (side, side)
        self._begin()

    @property
    def trunk(self) -> Backbone:
        return self.backbone.trunk

    def reset_head(self, prefixes: Sequence[str] | None = None) -> None:
        super().reset_head(prefixes)
        if prefixes is None or prefixes:
            self._begin()

    @torch.no_grad()
    def _begin(self) -> None:
        """Background is by far the likeliest to begin with."""
        for layer in self.head.classification_head.module_list:
            bias = layer.get_parameter("bias").view(-1, self.num_classes + 1)
            bias[:, 0] = math.log(self.num_classes * (1 - PRIOR) / PRIOR)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The default boxes [N, 4], and of each the logits [B, N, 1 + K], background first, and moves [B, N, 4]."""
        maps = self.backbone(inputs)
        size = (inputs.shape[2], inputs.shape[3])
        return default_boxes(maps, self.levels, size, self.designed), *self.head(maps)

    def losses(self, inputs: Tensor, sizes: Sequence[Size], truths: Sequence[Instances]) -> dict[str, Tensor]:
        """Equations 1 to 3: cross-entropy of the things and of the hardest background, smooth L1 of the moves, both
        divided by the number of default boxes that stand for things."""
        defaults, logits, moves = self(inputs)
        labels = torch.zeros(logits.shape[:2], dtype=torch.int64, device=logits.device)
        targets = []
        for image, truth in enumerate(truths):
            boxes = torch.as_tensor(truth.boxes, dtype=torch.float32, device=logits.device)
            matches = match_defaults(defaults, boxes)
            things = (matches >= 0).nonzero().flatten()
            kinds = torch.as_tensor(truth.labels, device=logits.device)
            labels[image, things] = kinds[matches[things]] + 1
            targets.append(encode(boxes[matches[things]], defaults[things], SPREAD))
        things = labels > 0
        count = max(1, int(things.sum()))
        away = F.smooth_l1_loss(moves[things], torch.cat(targets), reduction="sum")
        wrong = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view_as(labels)
        return {"class": wrong[things | hardest(wrong, things)].sum() / count, "boxes": away / count}

    def answers(self, inputs: Tensor) -> Answers:
        defaults, logits, moves = self(inputs)
        boxes = torch.stack([decode(own, defaults, SPREAD) for own in moves])
        return Answers(boxes, logits[..., 1:], logits.softmax(-1)[..., 1:])

    def standard_preprocessing(self) -> Preprocessing:
        """All of the image, stretched to a square."""
        return Preprocessing.stretched((self.side, self.side), "L" if self.in_channels == 1 else "RGB")


def hardest(losses: Tensor, things: Tensor) -> Tensor:
    """The background with the highest losses, three times as much of each image as it has things (section 2.2).

    losses  [B, N] float
    things  [B, N] bool

    Returns [B, N] bool.
    """
    with torch.no_grad():
        order = losses.masked_fill(things, -math.inf).argsort(dim=1, descending=True)
        rank = torch.empty_like(order).scatter_(
            1, order, torch.arange(order.shape[1], device=order.device).expand_as(order)
        )
        return (rank < HARD * things.sum(1, keepdim=True)) & ~things


def ssd300_vgg16(num_classes: int = 90, in_channels: int = 3) -> SSD:
    """77.2 % mAP on VOC 2007 (section 3.6, with its expansion), with default boxes a little larger than these, which
    are those of the paper's published code for COCO, as torchvision's, whose weights have 25.1 box AP there."""
    ratios = ((2.0,), (2.0, 3.0), (2.0, 3.0), (2.0, 3.0), (2.0,), (2.0,))
    scales = (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05)
    steps = (8.0, 16.0, 32.0, 64.0, 100.0, 300.0)
    return SSD(ReducedVGG(in_channels, larger=False), _levels(ratios, scales, steps), 300, num_classes, cornered=True)


def ssd512_vgg16(num_classes: int = 90, in_channels: int = 3) -> SSD:
    """79.8 % likewise; its seventh map and the scales are those of the paper's published code for COCO."""
    ratios = ((2.0,), (2.0, 3.0), (2.0, 3.0), (2.0, 3.0), (2.0, 3.0), (2.0,), (2.0,))
    scales = (0.04, 0.1, 0.26, 0.42, 0.58, 0.74, 0.9, 1.06)
    steps = (8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)
    return SSD(ReducedVGG(in_channels, larger=True), _levels(ratios, scales, steps), 512, num_classes, cornered=True)


def ssd(
    num_classes: int = 90,
    in_channels: int = 3,
    backbone: str = "mobilenet_v2",
    side: int = 320,
    finest: int = 8,
    count: int = 6,
    smallest: float = 0.1,
    largest: float = 0.9,
    width: int = 256,
    neck: int = 0,
    encoder_options: Mapping[str, Any] | None = None,
) -> SSD:
    """On the maps of any network of the catalogue.

    side             of the square input it is designed for
    finest           stride of the finest map
    count            maps in all
    smallest         side of the square default box on the finest map, as a share of the image's; on the coarsest it is
                     `largest`, evenly spaced between (equation 4)
    width            channels of the maps behind the backbone
    neck             as of `WithExtras`
    encoder_options  what the backbone's builder takes besides
    """
    if not 0 < smallest <= largest:
        raise UsageError(f"smallest must lie above 0 and be at most largest, got {smallest:g} and {largest:g}")
    body = WithExtras(encoder(backbone, in_channels, **dict(encoder_options or {})), finest, count, width, neck)
    total = len(body.channels)
    step = (largest - smallest) / max(1, total - 1)
    scales = [smallest + step * number for number in range(total + 1)]
    ratios = [(2.0,) if number in (0, total - 1) else (2.0, 3.0) for number in range(total)]
    return SSD(body, _levels(ratios, scales, body.strides), side, num_classes)


def _levels(ratios: Sequence[tuple[float, ...]], scales: Sequence[float], steps: Sequence[float]) -> list[Level]:
    following = zip(ratios, scales, scales[1:], steps, strict=False)
    return [Level(own, scale, coarser, step) for own, scale, coarser, step in following]
