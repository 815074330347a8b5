"""What a feature map holds inside each of many boxes, as maps of one size: RoIPool and RoIAlign.

Both are one `embedding_bag`: the map is a table with a row of C channels for each pixel, and a bin of the output is the
sum (with weights) or the maximum of a bag of rows. So they run on every build of torch and every device, with gradients
to the map, and no extension has to be compiled. There are none to the boxes, as in the papers.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.structures import Size


def roi_align(
    maps: Tensor, boxes: Tensor, images: Tensor, size: Size, scale: float, samples: int = 2, aligned: bool = False
) -> Tensor:
    """RoIAlign (He et al. 2017, "Mask R-CNN", section 3): each bin is the mean of points between the pixels.

    maps     [B, C, H, W] float
    boxes    [N, 4] xyxy, pixels of the network's input
    images   [N] int64, 0..B-1: which map each box is on
    size     (height, width) of the output, in bins
    scale    pixels of the map for one of the input: 1 / its stride
    samples  points down and across a bin; each is read from the four pixels around it
    aligned  pixel (0, 0) of the map has its centre at (0.5, 0.5), as is right by the coordinate law. False as in the
             paper's code and in torchvision's detectors, where it is at (0, 0)

    A box counts as at least one pixel of the map wide and high, unless `aligned`. Points farther than a pixel outside
    the map count as 0.

    Returns [N, C, *size], of the type of the maps.
    """
    count, channels, (height, width) = len(boxes), maps.shape[1], maps.shape[2:]
    if not count:
        return maps.new_zeros(0, channels, *size)
    boxes = boxes.detach().float() * scale - (0.5 if aligned else 0.0)
    down = _points(boxes[:, 1], boxes[:, 3], size[0], samples, height, aligned)
    across = _points(boxes[:, 0], boxes[:, 2], size[1], samples, width, aligned)
    # Of [N, bins down, bins across, points down, 2, points across, 2] all pairs of a row and a column.
    rows = (images[:, None, None, None] * height + down[0]) * width
    indices = rows[:, :, None, :, :, None, None] + across[0][:, None, :, None, None]
    weights = down[1][:, :, None, :, :, None, None] * across[1][:, None, :, None, None]
    bag = 4 * samples * samples
    # Gradients of hundreds of points add up in a pixel: in bfloat16 they would be off by 4 %, in float32 by 0.2.
    table = _table(maps).float() if maps.requires_grad else _table(maps)
    pooled = F.embedding_bag(
        indices.reshape(-1, bag), table, mode="sum", per_sample_weights=weights.reshape(-1, bag).to(table.dtype)
    )
    return pooled.view(count, *size, channels).permute(0, 3, 1, 2).to(maps.dtype)


def roi_pool(maps: Tensor, boxes: Tensor, images: Tensor, size: Size, scale: float) -> Tensor:
    """RoIPool (Girshick 2015, "Fast R-CNN", section 2.1): each bin is the maximum of the whole pixels in it.

    Arguments and result as of `roi_align`. Boxes are rounded to whole pixels of the map, both edges included, and so
    are the bins, which may share a row; a bin outside the map is 0.
    """
    (height, width), device = maps.shape[2:], maps.device
    if not len(boxes):
        return maps.new_zeros(0, maps.shape[1], *size)
    # Half a pixel rounds up, as in the paper's code.
    edges = (boxes.detach().float() * scale + 0.5).floor().long()
    top, bottom = _bins(edges[:, 1], edges[:, 3], size[0], height)
    left, right = _bins(edges[:, 0], edges[:, 2], size[1], width)
    high = (bottom - top)[:, :, None].expand(-1, -1, size[1]).reshape(-1)
    wide = (right - left)[:, None, :].expand(-1, size[0], -1).reshape(-1)
    counts = high * wide
    starts = counts.cumsum(0) - counts
    # Every bag lists its pixels row by row.
    bag = torch.repeat_interleave(counts)
    place = torch.arange(len(bag), device=device) - starts[bag]
    row = place // wide[bag] + top[:, :, None].expand(-1, -1, size[1]).reshape(-1)[bag]
    column = place % wide[bag] + left[:, None, :].expand(-1, size[0], -1).reshape(-1)[bag]
    image = images.repeat_interleave(size[0] * size[1])[bag]
    pooled = F.embedding_bag((image * height + row) * width + column, _table(maps).float(), starts, mode="max")
    return pooled.view(len(boxes), *size, -1).permute(0, 3, 1, 2).to(maps.dtype)


def _table(maps: Tensor) -> Tensor:
    """[B * H * W, C]: a row for each pixel; no copy where the maps are channels-last in memory."""
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])


def _points(low: Tensor, high: Tensor, bins: int, samples: int, length: int, aligned: bool) -> tuple[Tensor, Tensor]:
    """Where the points of each bin lie along one axis: between which two pixels, and how much each of them counts.

    low, high  [N] float, the edges of the boxes in pixels of the map
    length     of the map along this axis

    Returns indices int64 and weights float, both [N, bins, samples, 2]; the weights of a bin add up to 1,
    less where points lie outside the map.
    """
    span = high - low if aligned else (high - low).clamp(min=1)
    steps = (torch.arange(bins * samples, device=low.device) + 0.5) / (bins * samples)
    at = low[:, None] + span[:, None] * steps
    inside = (at >= -1) & (at <= length)
    at = at.clamp(0, length - 1)
    first = at.floor().long()
    share = at - first
    indices = torch.stack([first, (first + 1).clamp(max=length - 1)], dim=-1)
    weights = torch.stack([1 - share, share], dim=-1) * (inside / samples)[..., None]
    return indices.view(-1, bins, samples, 2), weights.view(-1, bins, samples, 2)


def _bins(first: Tensor, last: Tensor, bins: int, length: int) -> tuple[Tensor, Tensor]:
    """The first pixel of each bin and the one behind its last, [N, bins] int64, inside the map.

    first, last  [N] int64, the first and the last pixel of each box
    """
    span = (last - first + 1).clamp(min=1)[:, None]
    place = torch.arange(bins, device=first.device)
    low = first[:, None] + place * span // bins
    high = first[:, None] - (-(place + 1) * span // bins)
    low, high = low.clamp(0, length), high.clamp(0, length)
    return low, high.clamp(min=low)
