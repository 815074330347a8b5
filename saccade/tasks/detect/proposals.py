"""RPN: the region proposal network, which says where there might be a thing of any class.

Ren, He, Girshick and Sun, "Faster R-CNN: Towards Real-Time Object Detection with Region Proposal Networks", PAMI 2017
(first at NIPS 2015), section 3.1; on several maps as in Lin et al. 2017, "Feature Pyramid Networks", section 4.1.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.errors import UsageError
from saccade.geometry import boxes as geometry
from saccade.geometry.box_coding import decode, encode
from saccade.geometry.nms import nms
from saccade.structures import Size
from saccade.tasks.detect.anchors import anchors_of
from saccade.tasks.detect.matching import match, sample

OVERLAP = 0.7  # of two proposals, above which only the better stays
SAMPLED, THINGS = 256, 0.5  # anchors an image in the loss, and at most which share of them are things
BETA = 1 / 9  # of the smooth L1 loss: where it turns from square to straight


class Kept(NamedTuple):
    """Proposals an image, the surest.

    before  of each map, before the worse of two that overlap go
    after   of all, after that
    """

    before: int
    after: int


# In training, and in use. On a pyramid as torchvision has it. On one map the second numbers are the papers' (Ren et al.
# 2017, section 4; He et al., "Mask R-CNN", ICCV 2017, section 3.1), the first those of their published code.
PYRAMID = {True: Kept(2000, 2000), False: Kept(1000, 1000)}
ONE_MAP = {True: Kept(12000, 2000), False: Kept(6000, 300)}


class ProposalHead(nn.Module):
    """A 3 x 3 convolution, then for every anchor how likely it is a thing, and how it should be moved."""

    def __init__(self, channels: int, anchors: int) -> None:
        super().__init__()
        # Nested as in torchvision, for its keys.
        self.conv = nn.Sequential(nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU()))
        self.cls_logits = nn.Conv2d(channels, anchors, 1)
        self.bbox_pred = nn.Conv2d(channels, 4 * anchors, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)

    def forward(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Objectness logits [B, A, h, w] and deltas [B, 4 * A, h, w] of each map."""
        hidden = [self.conv(one) for one in maps]
        return [self.cls_logits(one) for one in hidden], [self.bbox_pred(one) for one in hidden]


class RegionProposals(nn.Module):
    """The network and what is made of its outputs.

    of_level  the shapes of the anchors of each map, [A, 4] each (`anchors.shapes`)
    in_use    how many proposals an image at most, when it does not learn; None for as many as the papers have
    """

    def __init__(self, channels: int, of_level: Sequence[Tensor], in_use: int | None = None) -> None:
        super().__init__()
        self.of_level = tuple(of_level)
        self.kept = PYRAMID if len(self.of_level) > 1 else ONE_MAP
        if in_use is not None:
            if in_use < 1:
                raise UsageError(f"there must be at least 1 of the proposals, got {in_use}")
            self.kept = self.kept | {False: self.kept[False]._replace(after=in_use)}
        self.head = ProposalHead(channels, len(of_level[0]))

    def forward(self, maps: Sequence[Tensor], size: Size) -> tuple[list[Tensor], Tensor, Tensor]:
        """The anchors of each map, and the objectness logits [B, N] and deltas [B, N, 4] of all of them, float32.

        size  (height, width) of the network's input
        """
        objectness, deltas = self.head(maps)
        logits = torch.cat([one.permute(0, 2, 3, 1).flatten(1) for one in objectness], dim=1)
        moves = torch.cat([one.permute(0, 2, 3, 1).reshape(len(one), -1, 4) for one in deltas], dim=1)
        return anchors_of(maps, size, self.of_level), logits.float(), moves.float()

    @torch.no_grad()
    def propose(self, anchors: Sequence[Tensor], logits: Tensor, deltas: Tensor, sizes: Sequence[Size]) -> list[Tensor]:
        """The best boxes of each image, [n, 4] xyxy inside it, best first."""
        kept, start = self.kept[self.training], 0
        if logits.is_meta:  # shapes without values, as when layers are counted: as many as there may be
            return [deltas[0, : kept.after]] * len(sizes)
        chosen, levels = [], []
        for level, own in enumerate(anchors):
            count = min(kept.before, len(own))
            chosen.append(logits[:, start : start + len(own)].topk(count, dim=1).indices + start)
            levels.append(torch.full((count,), level, device=logits.device))
            start += len(own)
        best, level = torch.cat(chosen, dim=1), torch.cat(levels)
        everywhere, found = torch.cat(list(anchors)), []
        for image, size in enumerate(sizes):
            mine = best[image]
            boxes = geometry.clip(decode(deltas[image, mine], everywhere[mine]), size)
            there = ((boxes[:, 2:] - boxes[:, :2]) >= 1e-3).all(dim=1)
            boxes, scores = boxes[there], logits[image, mine][there].sigmoid()
            found.append(boxes[nms(boxes, scores, OVERLAP, level[there], kept.after)])
        return found

    def losses(
        self, anchors: Sequence[Tensor], logits: Tensor, deltas: Tensor, truths: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        """Thing or not by binary cross-entropy, and smooth L1 on the moves of those that are (equation 1).

        truths  boxes [M, 4] xyxy of each image

        The second is divided by the number of anchors in the loss, as in the published implementations, in place of
        the paper's number of places, which a factor of about 10 made up for.
        """
        everywhere = torch.cat(list(anchors))
        said, wanted, moved, targets = [], [], [], []
        for image, boxes in enumerate(truths):
            matches = match(everywhere, boxes, 0.3, 0.7, rescue=True)
            things, background = sample(matches, SAMPLED, THINGS)
            said.append(logits[image, torch.cat([things, background])])
            wanted.append(torch.cat([torch.ones_like(things), torch.zeros_like(background)]))
            moved.append(deltas[image, things])
            targets.append(encode(boxes[matches[things]], everywhere[things]))
        answers, truth = torch.cat(said), torch.cat(wanted).float()
        away = F.smooth_l1_loss(torch.cat(moved), torch.cat(targets), beta=BETA, reduction="sum")
        return {
            "rpn_objectness": F.binary_cross_entropy_with_logits(answers, truth),
            "rpn_boxes": away / max(1, len(answers)),
        }
