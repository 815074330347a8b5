"""Faster R-CNN: one network proposes boxes, a second one, on the same maps, says what is in them.

Ren, He, Girshick and Sun, "Faster R-CNN: Towards Real-Time Object Detection with Region Proposal Networks", PAMI 2017
(first at NIPS 2015; `fasterrcnn_vgg16` is theirs). He et al., "Deep Residual Learning", CVPR 2016, appendix A: `c4`,
where the last stage of a ResNet is the head. Lin et al., "Feature Pyramid Networks", CVPR 2017, section 4: `fpn`, where
each box is looked at on the map that fits its size. The losses are those of Girshick, "Fast R-CNN", ICCV 2015,
section 2.3.

State-dict keys and shapes of `fpn` are torchvision's, and so are the numbers that no paper gives.
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.backbones.catalogue import encoder
from saccade.backbones.contract import Backbone
from saccade.backbones.resnet import ResNet
from saccade.backbones.vgg import vgg16
from saccade.errors import UsageError
from saccade.geometry.box_coding import Weights, decode, encode
from saccade.layers.feature_pyramid import FeaturePyramid
from saccade.layers.roi_pool import roi_pool
from saccade.structures import Instances, Size
from saccade.tasks.detect.anchors import shapes
from saccade.tasks.detect.contract import Detections, Detector
from saccade.tasks.detect.matching import match, sample
from saccade.tasks.detect.proposals import BETA, RegionProposals
from saccade.tasks.detect.roi_heads import FullyConnected, LastStage, RoiHeads, TwoLayers
from saccade.tasks.detect.select import select

SAMPLED = 64  # proposals an image in the losses (Girshick 2015, section 2.3); on a pyramid 512 (Lin, section 5.2)
THINGS = 0.25  # at most so much of the proposals in the loss are things (Girshick 2015, section 2.3)
SPREAD: Weights = (10.0, 10.0, 5.0, 5.0)  # one over how much the moves of the boxes vary
OVERLAP, MOST = 0.5, 100  # the most overlap of two boxes of a class, how many an image


class Pyramid(nn.Module):
    """A backbone with a feature pyramid on its maps of strides 4 to 32."""

    def __init__(self, body: Backbone, width: int = 256) -> None:
        super().__init__()
        self.body = body
        levels = {stride: place for stride, place in body.by_stride().items() if 4 <= stride <= 32}
        if not levels:
            raise UsageError(f"a feature pyramid needs maps of strides 4 to 32, but these are {body.strides}")
        self.levels = tuple(levels.values())
        self.channels, self.strides = width, tuple(levels)
        self.fpn = FeaturePyramid([body.channels[place] for place in self.levels], width)

    def forward(self, inputs: Tensor) -> list[Tensor]:
        maps = self.body.maps(inputs)
        return self.fpn([maps[place] for place in self.levels])


class Single(nn.Module):
    """A backbone whose map of stride 16 is used alone.

    count  how many of its maps are asked for; None for all
    """

    def __init__(self, body: Backbone, count: int | None = None) -> None:
        super().__init__()
        self.body, self.count = body, count
        place = len(body.strides) - 1 if count is None else count - 1
        self.channels, self.strides = body.channels[place], (body.strides[place],)

    def forward(self, inputs: Tensor) -> list[Tensor]:
        maps = self.body.maps(inputs) if self.count is None else cast(ResNet, self.body).maps(inputs, self.count)
        return maps[-1:]


class Drawn(NamedTuple):
    """The proposals that the losses of one image look at, things first.

    boxes    [n, 4] xyxy
    matches  [t] int64: which truth each of the things stands for
    hidden   [n, width] or [n, width, h, w]: what the box head makes of them
    """

    boxes: Tensor
    matches: Tensor
    hidden: Tensor


class FasterRCNN(Detector):
    """Backbone, proposals and heads, under torchvision's names.

    backbone   gives the maps; has `.body`, `.channels`, `.strides`
    rpn        proposes boxes on all of them
    roi_heads  looks at each
    sampled    proposals an image in the losses
    """

    last_layers = ("roi_heads.box_predictor",)
    sure = 0.05

    def __init__(
        self,
        backbone: Pyramid | Single,
        rpn: RegionProposals,
        roi_heads: RoiHeads,
        num_classes: int,
        sampled: int = 512,
    ) -> None:
        super().__init__()
        self.backbone, self.rpn, self.roi_heads = backbone, rpn, roi_heads
        self.num_classes, self.in_channels, self.sampled = num_classes, backbone.body.in_channels, sampled

    @property
    def trunk(self) -> Backbone:
        return self.backbone.body

    def forward(self, inputs: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """The proposals of each image [n, 4], and the logits and moves of all of them, as `RoiHeads` gives them."""
        maps = self.backbone(inputs)
        proposals = self._propose(maps, inputs, [_size_of(inputs)] * len(inputs))
        return proposals, *self.roi_heads(maps, proposals)

    def losses(self, inputs: Tensor, sizes: Sequence[Size], truths: Sequence[Instances]) -> dict[str, Tensor]:
        """Those of the proposals and of the boxes, added up with equal weight (Ren et al. 2017, section 3.2)."""
        maps = self.backbone(inputs)
        anchors, logits, deltas = self.rpn(maps, _size_of(inputs))
        boxes = [torch.as_tensor(one.boxes, dtype=torch.float32, device=inputs.device) for one in truths]
        proposals = self.rpn.propose(anchors, logits, deltas, sizes)
        chosen = [_draw(own, truth, self.sampled) for own, truth in zip(proposals, boxes, strict=True)]
        hidden = self.roi_heads.look(maps, [own for own, _ in chosen]).split([len(own) for own, _ in chosen])
        drawn = [Drawn(*own, seen) for own, seen in zip(chosen, hidden, strict=True)]
        losses = self.rpn.losses(anchors, logits, deltas, boxes)
        return losses | self.losses_of_boxes(maps, drawn, boxes, truths)

    def losses_of_boxes(
        self, maps: Sequence[Tensor], drawn: Sequence[Drawn], boxes: Sequence[Tensor], truths: Sequence[Instances]
    ) -> dict[str, Tensor]:
        """Cross-entropy of the class, and smooth L1 of the moves of the true class of things (Girshick 2015, eq. 1).

        boxes  [M, 4] of each image, those of `truths`
        """
        logits, moves = self.roi_heads.box_predictor(torch.cat([own.hidden for own in drawn]))
        logits, moves = logits.float(), moves.float().view(len(moves), self.num_classes + 1, 4)
        labels, things, kinds, targets, start = [], [], [], [], 0
        for own, own_boxes, truth in zip(drawn, boxes, truths, strict=True):
            count = len(own.matches)
            kind = torch.as_tensor(truth.labels, device=logits.device)[own.matches] + 1
            labels.append(F.pad(kind, (0, len(own.boxes) - count)))
            things.append(torch.arange(start, start + count, device=logits.device))
            kinds.append(kind)
            targets.append(encode(own_boxes[own.matches], own.boxes[:count], SPREAD))
            start += len(own.boxes)
        said = moves[torch.cat(things), torch.cat(kinds)]
        away = F.smooth_l1_loss(said, torch.cat(targets), beta=BETA, reduction="sum")
        return {"class": _mean_cross_entropy(logits, torch.cat(labels)), "boxes": away / max(1, len(logits))}

    @torch.no_grad()
    def detect(self, inputs: Tensor, sizes: Sequence[Size]) -> list[Detections]:
        maps = self.backbone(inputs)
        return self.describe(maps, self.find(maps, self._propose(maps, inputs, sizes), sizes))

    def find(self, maps: Sequence[Tensor], proposals: Sequence[Tensor], sizes: Sequence[Size]) -> list[Detections]:
        """The boxes that remain of the proposals of each image: moved, sure enough, none twice."""
        logits, moves = self.roi_heads(maps, proposals)
        boxes = decode(moves.float().view(len(moves), self.num_classes + 1, 4), torch.cat(list(proposals)), SPREAD)
        counts, found = [len(own) for own in proposals], []
        shares = logits.float().softmax(1).split(counts)
        for own, share, size in zip(boxes.split(counts), shares, sizes, strict=True):
            found.append(select(own[:, 1:], share[:, 1:], size, self.sure, OVERLAP, MOST))
        return found

    def describe(self, maps: Sequence[Tensor], found: list[Detections]) -> list[Detections]:
        """What more can be said of what was found: nothing here; masks and keypoints in what builds on this."""
        return found

    def box_logit(self, inputs: Tensor, box: Tensor, label: int) -> Tensor:
        maps = self.backbone(inputs)
        logits, _ = self.roi_heads(maps, [box[None].to(inputs.device)] * len(inputs))
        return logits[:, label + 1]

    def _propose(self, maps: Sequence[Tensor], inputs: Tensor, sizes: Sequence[Size]) -> list[Tensor]:
        anchors, logits, deltas = self.rpn(maps, _size_of(inputs))
        return self.rpn.propose(anchors, logits, deltas, sizes)


def _draw(proposals: Tensor, truths: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Which proposals of one image the losses look at, and the things' matches, as in `Drawn`; the truths themselves
    are among them, so that there are some."""
    boxes = torch.cat([proposals, truths])
    matches = match(boxes, truths, 0.5, 0.5)
    things, background = sample(matches, count, THINGS)
    return boxes[torch.cat([things, background])], matches[things]


def _mean_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """0, not nan, of nothing."""
    return F.cross_entropy(logits, labels, reduction="sum") / max(1, len(labels))


def _size_of(inputs: Tensor) -> Size:
    return (inputs.shape[2], inputs.shape[3])


Parts = tuple[Pyramid | Single, RegionProposals, RoiHeads, int]


def pyramid_parts(
    backbone: str,
    num_classes: int,
    in_channels: int,
    width: int = 256,
    hidden: int = 1024,
    smallest: int = 32,
    proposals: int | None = None,
) -> Parts:
    """What a detector on a feature pyramid is made of: anchors of one size a level, three shapes each.

    width      channels of the pyramid
    hidden     units of the two layers that look at a box
    smallest   side of the anchors on the map of stride 4, pixels; each next level's are twice as large
    proposals  how many an image are looked at in use, 1,000 unless said: fewer are faster, and may miss things
    """
    pyramid = Pyramid(encoder(backbone, in_channels), width)
    finest = smallest * pyramid.strides[0] // 4
    of_level = [shapes([finest * 2**level]) for level in range(len(pyramid.strides) + 1)]
    heads = RoiHeads(pyramid.strides, 7, TwoLayers(width, 7, hidden), hidden, num_classes)
    return pyramid, RegionProposals(width, of_level, proposals), heads, num_classes


def c4_parts(
    backbone: str, num_classes: int, in_channels: int, smallest: int = 32, proposals: int | None = None
) -> Parts:
    """What a detector on the third stage of a ResNet is made of: anchors of five sizes and three shapes, and its fourth
    stage as the head.

    smallest   side of the smallest anchors, pixels; each next size is twice as large
    proposals  as of `pyramid_parts`, 300 unless said; each goes through the whole stage
    """
    body = encoder(backbone, in_channels)
    if not isinstance(body, ResNet):
        raise UsageError(f"c4 uses the last stage of a ResNet as its head, and {backbone} is none; take fpn")
    single = Single(body, 3)
    rpn = RegionProposals(single.channels, [shapes([smallest * 2**size for size in range(5)])], proposals)
    return single, rpn, RoiHeads((16,), 14, LastStage(body.layer4), body.channels[3], num_classes), num_classes


def fasterrcnn_fpn(
    num_classes: int = 90,
    in_channels: int = 3,
    backbone: str = "resnet50",
    width: int = 256,
    hidden: int = 1024,
    smallest: int = 32,
    sampled: int = 512,
    proposals: int | None = None,
) -> FasterRCNN:
    """On the feature pyramid of any network of the catalogue; options as of `pyramid_parts` and `FasterRCNN`."""
    parts = pyramid_parts(backbone, num_classes, in_channels, width, hidden, smallest, proposals)
    return FasterRCNN(*parts, sampled=sampled)


def fasterrcnn_c4(
    num_classes: int = 90,
    in_channels: int = 3,
    backbone: str = "resnet50",
    smallest: int = 32,
    sampled: int = SAMPLED,
    proposals: int | None = None,
) -> FasterRCNN:
    """On the third stage of any ResNet, its fourth as the head; options as of `c4_parts` and `FasterRCNN`."""
    return FasterRCNN(*c4_parts(backbone, num_classes, in_channels, smallest, proposals), sampled=sampled)


def fasterrcnn_vgg16(
    num_classes: int = 20,
    in_channels: int = 3,
    smallest: int = 128,
    sampled: int = SAMPLED,
    proposals: int | None = None,
    dropout: float = 0.5,
) -> FasterRCNN:
    """The paper's: 69.9 % mAP on VOC 2007 when trained on its trainval (table 3).

    smallest   side of the smallest anchors, pixels; the two next sizes are two and four times as large
    sampled    as of `FasterRCNN`
    proposals  as of `c4_parts`
    dropout    after each of the two fully connected layers, fc6 and fc7
    """
    body = vgg16(1000, in_channels, dropout)
    body.name = "vgg16"
    assert isinstance(body.classifier, nn.Sequential)
    body.classifier[-1] = nn.Identity()
    heads = RoiHeads((16,), 7, FullyConnected(body.classifier), 4096, num_classes, roi_pool)
    rpn = RegionProposals(512, [shapes([smallest, 2 * smallest, 4 * smallest])], proposals)
    return FasterRCNN(Single(body), rpn, heads, num_classes, sampled)


def fasterrcnn_resnet50_fpn(num_classes: int = 90, in_channels: int = 3) -> FasterRCNN:
    """box AP 37.0 on COCO's val2017 with the published weights, as torchvision states it."""
    return fasterrcnn_fpn(num_classes, in_channels)


def fasterrcnn_resnet101_fpn(num_classes: int = 90, in_channels: int = 3) -> FasterRCNN:
    """36.2 box AP on COCO's test-dev (Lin et al. 2017, table 4)."""
    return fasterrcnn_fpn(num_classes, in_channels, "resnet101")


def fasterrcnn_resnet101_c4(num_classes: int = 90, in_channels: int = 3) -> FasterRCNN:
    """He et al. 2016, appendix A."""
    return fasterrcnn_c4(num_classes, in_channels, "resnet101")
