"""Mask R-CNN: Faster R-CNN with one more head, which says which pixels of a box are the thing, or where its joints are.

He, Gkioxari, Dollar and Girshick, "Mask R-CNN", ICCV 2017: section 3 and figure 4 (both heads), section 5 (keypoints).
What made it work: RoIAlign, which does not round; and a mask for each class, so that classes do not compete for pixels.

State-dict keys and shapes of the pyramid's networks are torchvision's.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.errors import UsageError
from saccade.geometry import masks
from saccade.geometry.boxes import paired_iou
from saccade.layers.blur import gaussian_blur
from saccade.layers.roi_pool import roi_align
from saccade.structures import Instances
from saccade.tasks.detect.contract import Detections
from saccade.tasks.detect.faster_rcnn import SAMPLED, Drawn, FasterRCNN, Parts, c4_parts, pyramid_parts
from saccade.tasks.detect.roi_heads import LastStage

MASK_SIDE, KEYPOINT_SIDE = 14, 56  # bins a box is pooled to for the head; pixels of a keypoint's map
MOST_POINTS = 12  # across a part of a mask's target: enough for a box of 336 pixels
NEAR = 11  # pixels of that map: what lies within a tenth of the box of the peak speaks for it


class MaskPredictor(nn.Module):
    """Twice as many pixels each way, then a mask for each of K classes and (never used) the background."""

    def __init__(self, channels: int, width: int, num_classes: int) -> None:
        super().__init__()
        self.conv5_mask = nn.ConvTranspose2d(channels, width, 2, stride=2)
        self.relu = nn.ReLU()
        self.mask_fcn_logits = nn.Conv2d(width, num_classes + 1, 1)
        _initialise(self)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.mask_fcn_logits(self.relu(self.conv5_mask(hidden)))


class MaskRCNN(FasterRCNN):
    """Boxes and masks. On C4 the mask head takes what the box head's stage makes of a box (figure 4, left); on a
    pyramid it has four convolutions of its own (right)."""

    finds = ("box", "mask")
    last_layers = ("roi_heads.box_predictor", "roi_heads.mask_predictor.mask_fcn_logits")

    def __init__(self, *parts: *Parts, sampled: int = 512) -> None:
        super().__init__(*parts, sampled=sampled)
        self.shared = isinstance(self.roi_heads.box_head, LastStage)
        channels = self.backbone.body.channels[-1] if self.shared else self.backbone.channels
        if not self.shared:
            self.roi_heads.mask_head = _convolutions(channels, 4, channels)
        self.roi_heads.mask_predictor = MaskPredictor(channels, min(channels, 256), self.num_classes)

    def masks(self, maps: Sequence[Tensor], boxes: Sequence[Tensor]) -> Tensor:
        """Logits [N, K + 1, m, m] float32 of the boxes of all images; m is 28, and 14 on C4."""
        if self.shared:
            hidden = self.roi_heads.look(maps, boxes)
        else:
            hidden = self.roi_heads.mask_head(self.roi_heads.pool(maps, boxes, MASK_SIDE))
        return self.roi_heads.mask_predictor(hidden).float()

    def losses_of_boxes(
        self, maps: Sequence[Tensor], drawn: Sequence[Drawn], boxes: Sequence[Tensor], truths: Sequence[Instances]
    ) -> dict[str, Tensor]:
        """And of the masks: binary cross-entropy of the mask of the true class, over all its pixels (section 3)."""
        losses = super().losses_of_boxes(maps, drawn, boxes, truths)
        looked_at, seen, labels, targets = [], [], [], []
        for own, truth in zip(drawn, truths, strict=True):
            masked = np.array([mask is not None for mask in truth.masks or [None] * len(truth)], dtype=bool)
            things = torch.from_numpy(masked).to(own.matches.device)[own.matches].nonzero().flatten()
            matches, own_boxes = own.matches[things], own.boxes[: len(own.matches)][things]
            looked_at.append(own_boxes)
            seen.append(own.hidden[things])
            labels.append(torch.as_tensor(truth.labels, device=matches.device)[matches] + 1)
            targets.append((truth, matches, own_boxes))
        # What the stage made of these boxes is at hand; a second time would also teach its norms of things alone.
        predictor = self.roi_heads.mask_predictor
        logits = predictor(torch.cat(seen)).float() if self.shared else self.masks(maps, looked_at)
        said = logits[torch.arange(len(logits), device=logits.device), torch.cat(labels)]
        wanted = torch.cat([_mask_targets(*own, side=logits.shape[-1]) for own in targets])
        total = F.binary_cross_entropy_with_logits(said, wanted, reduction="sum")
        return losses | {"masks": total / max(1, said.numel())}

    def describe(self, maps: Sequence[Tensor], found: list[Detections]) -> list[Detections]:
        logits = self.masks(maps, [one.boxes for one in found])
        labels = torch.cat([one.labels for one in found]) + 1
        shares = logits[torch.arange(len(logits), device=logits.device), labels].sigmoid()
        parts = shares.split([len(one.boxes) for one in found])
        return [one._replace(masks=own) for one, own in zip(found, parts, strict=True)]


class KeypointPredictor(nn.Module):
    """A map for each keypoint, four times as many pixels each way: twice learnt, twice interpolated."""

    def __init__(self, channels: int, num_keypoints: int) -> None:
        super().__init__()
        self.kps_score_lowres = nn.ConvTranspose2d(channels, num_keypoints, 4, stride=2, padding=1)
        _initialise(self)

    def forward(self, hidden: Tensor) -> Tensor:
        logits = self.kps_score_lowres(hidden)
        # torch does not interpolate a batch of none.
        return F.interpolate(logits, scale_factor=2.0, mode="bilinear") if len(logits) else logits.repeat(1, 1, 2, 2)


class KeypointRCNN(FasterRCNN):
    """Boxes and keypoints: for each of P keypoints a map of the box on which one pixel is right (section 5).

    depth       convolutions of the head
    margin      how much wider than its box, to each side, in shares of it, the maps of a thing are: what lies on the
                very edge is lost where a box is a little too small. The paper has 0
    overlap     how much of its thing a box must cover (IoU) for keypoints to be learnt in it: what is found in the end
                lies better than most proposals. The paper has 0.5, which every box of a thing has
    rescore     whether a thing's score is the box's times the root of the mean of its keypoints', so that those come
                first whose keypoints are sure (after Papandreou et al. 2017; Xiao et al. 2018, who have the mean
                itself, which makes too little of what the thing is); the paper takes the box's alone
    batch_norm  after each convolution of the head; the paper has none
    smooth      0 takes the highest point of a map, as the paper. Above, the place that is most likely to be nearly
                right, and its score is how nearly: what is expected of exp(-d^2 / (2 smooth^2)), d being how far it is
                from the truth in pixels of the map. COCO's measure (OKS) is of this form: with its sigma, of a thing
                that covers a share s of the map, smooth = 112 sigma sqrt(s)
    """

    finds = ("box", "keypoints")
    last_layers = ("roi_heads.box_predictor", "roi_heads.keypoint_predictor")

    def __init__(
        self,
        *parts: *Parts,
        num_keypoints: int = 17,
        depth: int = 8,
        sampled: int = 512,
        margin: float = 0.0,
        overlap: float = 0.5,
        rescore: bool = False,
        batch_norm: bool = False,
        smooth: float = 0.0,
    ) -> None:
        super().__init__(*parts, sampled=sampled)
        if smooth < 0:
            raise UsageError(f"smooth must be at least 0, got {smooth:g}")
        if not 0.5 <= overlap < 1:
            raise UsageError(
                f"overlap must be at least 0.5, with which a box is of a thing, and below 1, got {overlap:g}"
            )
        self.margin, self.overlap, self.rescore, self.smooth = margin, overlap, rescore, smooth
        features = 2 * self.backbone.channels
        blocks = _convolutions(self.backbone.channels, depth, features, batch_norm).children()
        self.roi_heads.keypoint_head = nn.Sequential(*(layer for block in blocks for layer in block.children()))
        self.roi_heads.keypoint_predictor = KeypointPredictor(features, num_keypoints)
        self.num_keypoints = num_keypoints

    def keypoints(self, maps: Sequence[Tensor], boxes: Sequence[Tensor]) -> Tensor:
        """Logits [N, P, 56, 56] float32 of the boxes of all images."""
        hidden = self.roi_heads.keypoint_head(self.roi_heads.pool(maps, boxes, MASK_SIDE))
        return self.roi_heads.keypoint_predictor(hidden).float()

    def losses_of_boxes(
        self, maps: Sequence[Tensor], drawn: Sequence[Drawn], boxes: Sequence[Tensor], truths: Sequence[Instances]
    ) -> dict[str, Tensor]:
        """And of the keypoints: softmax cross-entropy over the pixels of the box, for those that are marked."""
        losses = super().losses_of_boxes(maps, drawn, boxes, truths)
        looked_at, cells, marked = [], [], []
        for own, own_boxes, truth in zip(drawn, boxes, truths, strict=True):
            things = own.boxes[: len(own.matches)]
            near = paired_iou(things, own_boxes[own.matches]) >= self.overlap
            points = np.zeros((len(truth), self.num_keypoints, 3)) if truth.keypoints is None else truth.keypoints
            there = torch.as_tensor(points, dtype=torch.float32, device=things.device)[own.matches[near]]
            looked_at.append(widened(things[near], self.margin))
            cell, is_marked = keypoint_cells(there, looked_at[-1])
            cells.append(cell)
            marked.append(is_marked)
        logits = self.keypoints(maps, looked_at).flatten(2)
        wanted = torch.cat(marked)
        total = F.cross_entropy(logits[wanted], torch.cat(cells)[wanted], reduction="sum")
        return losses | {"keypoints": total / max(1, int(wanted.sum()))}

    def describe(self, maps: Sequence[Tensor], found: list[Detections]) -> list[Detections]:
        looked_at = [widened(one.boxes, self.margin) for one in found]
        parts = self.keypoints(maps, looked_at).split([len(boxes) for boxes in looked_at])
        points = [peaks(own, boxes, self.smooth) for own, boxes in zip(parts, looked_at, strict=True)]
        said = [one._replace(keypoints=own) for one, own in zip(found, points, strict=True)]
        return [ranked_by_keypoints(one) for one in said] if self.rescore else said

    def keypoint_logit(self, inputs: Tensor, box: Tensor, keypoint: int) -> Tensor:
        if not 0 <= keypoint < self.num_keypoints:
            raise UsageError(f"there is no keypoint {keypoint}: there are 0 to {self.num_keypoints - 1}")
        looked_at = widened(box[None].to(inputs.device), self.margin)
        logits = self.keypoints(self.backbone(inputs), [looked_at] * len(inputs))
        return logits[:, keypoint].flatten(1).amax(1)


def ranked_by_keypoints(found: Detections) -> Detections:
    """Scores times the roots of the means of the keypoints', best first again."""
    assert found.keypoints is not None
    scores, order = (found.scores * found.keypoints[..., 2].mean(1).sqrt()).sort(descending=True, stable=True)
    return Detections(found.boxes[order], scores, found.labels[order], None, found.keypoints[order])


def widened(boxes: Tensor, margin: float) -> Tensor:
    """Boxes [N, 4] xyxy, each side further out by a share of the width or height."""
    sides = margin * (boxes[:, 2:] - boxes[:, :2])
    return torch.cat([boxes[:, :2] - sides, boxes[:, 2:] + sides], 1)


def keypoint_cells(keypoints: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Which pixel of each box's maps is right.

    keypoints  [N, P, 3] (x, y, visibility)
    boxes      [N, 4] xyxy, the same pixels

    Returns [N, P] int64, row * 56 + column, and [N, P] bool: whether it is marked and in the box.
    """
    low, size = boxes[:, None, :2], (boxes[:, 2:] - boxes[:, :2])[:, None]
    cell = ((keypoints[..., :2] - low) * (KEYPOINT_SIDE / size)).floor().long()
    # What lies on the far edge of the box is in its last pixel.
    cell = torch.where(keypoints[..., :2] == boxes[:, None, 2:], KEYPOINT_SIDE - 1, cell)
    marked = ((cell >= 0) & (cell < KEYPOINT_SIDE)).all(dim=-1) & (keypoints[..., 2] > 0)
    return torch.where(marked, cell[..., 1] * KEYPOINT_SIDE + cell[..., 0], 0), marked


def peaks(logits: Tensor, boxes: Tensor, smooth: float = 0.0) -> Tensor:
    """Where each keypoint most likely is, [N, P, 3] float32 (x, y, score in [0, 1]) in the pixels of the boxes.

    logits  [N, P, 56, 56] float32
    boxes   [N, 4] xyxy
    smooth  as of `KeypointRCNN`

    The maps are enlarged to the pixels of the box, by cubic interpolation, and the highest pixel is taken (section 5);
    of a box smaller than the maps these stay as they are, where torchvision shrinks them, half a pixel off at most.
    The score is how likely it is within a tenth of the box of it, or as `smooth` says.
    """
    found = logits.new_zeros(len(logits), logits.shape[1], 3)
    if not len(logits):
        return found
    shares = logits.flatten(2).softmax(-1).view(logits.shape)
    if smooth:
        around = 2 * math.pi * smooth**2 * gaussian_blur(shares, smooth)
        logits = around.clamp(min=1e-12).log()
    else:
        around = NEAR**2 * F.avg_pool2d(shares, NEAR, 1, NEAR // 2)
    for n, (left, top, right, bottom) in enumerate(boxes.tolist()):
        wide, high = max(right - left, 1.0), max(bottom - top, 1.0)
        size = (max(KEYPOINT_SIDE, int(np.ceil(high))), max(KEYPOINT_SIDE, int(np.ceil(wide))))
        enlarged = F.interpolate(logits[n][None], size=size, mode="bicubic")[0]
        best = enlarged.flatten(1).argmax(1)
        y, x = best // size[1], best % size[1]
        found[n, :, 0] = left + (x + 0.5) * (wide / size[1])
        found[n, :, 1] = top + (y + 0.5) * (high / size[0])
        row, column = y * KEYPOINT_SIDE // size[0], x * KEYPOINT_SIDE // size[1]
        found[n, :, 2] = around[n, torch.arange(len(best), device=best.device), row, column].clamp(0, 1)
    return found


def _mask_targets(truth: Instances, matches: Tensor, boxes: Tensor, side: int) -> Tensor:
    """[n, side, side] float32 in [0, 1]: how much of each part of each box is the thing it stands for.

    matches  [n] int64: the thing, which has a mask
    boxes    [n, 4] xyxy, pixels of the network's input

    A point for every pixel or so, by the coordinate law: torchvision's targets lie half a pixel off.
    """
    targets = boxes.new_zeros(len(boxes), side, side)
    for thing in matches.unique().tolist():
        mine = (matches == thing).nonzero().flatten()
        mask = truth.masks[thing] if truth.masks is not None else None
        assert mask is not None
        covered = torch.from_numpy(np.ascontiguousarray(masks.bitmap(mask, truth.size)))
        plane = covered.to(boxes.device, torch.float32)[None, None]
        longest = float((boxes[mine, 2:] - boxes[mine, :2]).max())
        samples = min(max(1, math.ceil(longest / side)), MOST_POINTS)
        where = torch.zeros_like(mine)
        targets[mine] = roi_align(plane, boxes[mine], where, (side, side), 1.0, samples, aligned=True)[:, 0]
    return targets


def _convolutions(channels: int, count: int, width: int, batch_norm: bool = False) -> nn.Sequential:
    """3 x 3 convolutions, each with its ReLU."""
    blocks = []
    for _ in range(count):
        norm = [nn.BatchNorm2d(width)] if batch_norm else []
        blocks.append(nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), *norm, nn.ReLU()))
        channels = width
    layers = nn.Sequential(*blocks)
    _initialise(layers)
    return layers


def _initialise(module: nn.Module) -> None:
    for own in module.modules():
        if isinstance(own, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(own.weight, mode="fan_out", nonlinearity="relu")
            if own.bias is not None:
                nn.init.zeros_(own.bias)


def maskrcnn_fpn(
    num_classes: int = 90,
    in_channels: int = 3,
    backbone: str = "resnet50",
    width: int = 256,
    hidden: int = 1024,
    smallest: int = 32,
    sampled: int = 512,
    proposals: int | None = None,
) -> MaskRCNN:
    """On the feature pyramid of any network of the catalogue; options as of `pyramid_parts` and `FasterRCNN`."""
    parts = pyramid_parts(backbone, num_classes, in_channels, width, hidden, smallest, proposals)
    return MaskRCNN(*parts, sampled=sampled)


def maskrcnn_c4(
    num_classes: int = 90,
    in_channels: int = 3,
    backbone: str = "resnet50",
    smallest: int = 32,
    sampled: int = SAMPLED,
    proposals: int | None = None,
) -> MaskRCNN:
    """On the third stage of any ResNet, its fourth as the head; options as of `c4_parts` and `FasterRCNN`."""
    return MaskRCNN(*c4_parts(backbone, num_classes, in_channels, smallest, proposals), sampled=sampled)


def maskrcnn_resnet50_fpn(num_classes: int = 90, in_channels: int = 3) -> MaskRCNN:
    """box AP 37.9, mask AP 34.6 on COCO's val2017 with the published weights, as torchvision states it."""
    return maskrcnn_fpn(num_classes, in_channels)


def maskrcnn_resnet101_c4(num_classes: int = 90, in_channels: int = 3) -> MaskRCNN:
    """mask AP 33.1 on COCO's test-dev (table 1)."""
    return maskrcnn_c4(num_classes, in_channels, "resnet101")


def maskrcnn_resnet101_fpn(num_classes: int = 90, in_channels: int = 3) -> MaskRCNN:
    """mask AP 35.7 on COCO's test-dev (table 1)."""
    return maskrcnn_fpn(num_classes, in_channels, "resnet101")


def maskrcnn_resnext101_fpn(num_classes: int = 90, in_channels: int = 3) -> MaskRCNN:
    """mask AP 37.1 on COCO's test-dev (table 1, with 64 groups of 4 channels)."""
    return maskrcnn_fpn(num_classes, in_channels, "resnext101_64x4d")


def keypointrcnn_fpn(
    num_classes: int = 1,
    in_channels: int = 3,
    backbone: str = "resnet50",
    num_keypoints: int = 17,
    width: int = 256,
    hidden: int = 1024,
    smallest: int = 32,
    sampled: int = 512,
    proposals: int | None = None,
    depth: int = 8,
    margin: float = 0.0,
    overlap: float = 0.5,
    rescore: bool = False,
    batch_norm: bool = False,
    smooth: float = 0.0,
) -> KeypointRCNN:
    """On the feature pyramid of any network of the catalogue; options as of `pyramid_parts` and `KeypointRCNN`."""
    parts = pyramid_parts(backbone, num_classes, in_channels, width, hidden, smallest, proposals)
    options = {"num_keypoints": num_keypoints, "depth": depth, "margin": margin, "overlap": overlap}
    return KeypointRCNN(*parts, sampled=sampled, rescore=rescore, batch_norm=batch_norm, smooth=smooth, **options)


def keypointrcnn_resnet50_fpn(num_classes: int = 1, in_channels: int = 3, num_keypoints: int = 17) -> KeypointRCNN:
    """keypoint AP 65.0 on COCO's val2017 with the published weights, as torchvision states it."""
    return keypointrcnn_fpn(num_classes, in_channels, "resnet50", num_keypoints)
