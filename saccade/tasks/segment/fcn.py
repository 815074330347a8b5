"""FCN: a classifier is a segmenter, once its full connections slide over the image like any filter.

Long, Shelhamer and Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015. Section 3.1: full
connections as convolutions; 3.3: upsampling is a transposed convolution that begins as bilinear interpolation; 4.2 and
figure 3: skips, the scores of finer maps added on the way up (32s, 16s, 8s). Table 2: 59.4, 62.4 and 62.7 % mean IoU on
a part of Pascal VOC 2011's validation images.

The idea that made it matter: one network, end to end, of any image size, from coarse meaning and fine place.

On a VGG, VGG-16 in the paper, everything is the paper's: 100 pixels of padding, fc6 and fc7 as convolutions, scores of
the pooled maps that begin at zero, the last upsampling never learnt. The coarser scores are cut to where the finer ones
lie. On any other backbone its maps of strides 8, 16 and 32 take their place. Both names of the weights are ours; those
of a VGG are torchvision's, full connections too, so that a published classifier fits.

`fcn_resnet50`, with torchvision's keys, is younger: a dilated ResNet, one head, and a second one in training.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.backbones.catalogue import encoder
from saccade.backbones.contract import Backbone
from saccade.backbones.vgg import VGG
from saccade.errors import UsageError
from saccade.tasks.segment.contract import Segmenter, check_maps

PADDING = 100  # of the image, on a VGG, the first filter's own pixel included: fc6 takes 7 x 7 pixels of the last map

STRIDES = (32, 16, 8)


class SlidLinear(nn.Linear):
    """A full connection on windows of `kernel` x `kernel` pixels, slid over the map."""

    def __init__(self, channels: int, out: int, kernel: int) -> None:
        super().__init__(channels * kernel**2, out)
        self.kernel = kernel

    def forward(self, input: Tensor) -> Tensor:
        filters = self.weight.view(self.out_features, -1, self.kernel, self.kernel)
        return F.conv2d(input, filters, self.bias)


class Upsampling(nn.ConvTranspose2d):
    """`factor` times as many pixels each way: learnt, from bilinear interpolation on (section 3.3)."""

    def __init__(self, channels: int, factor: int, padding: int = 0) -> None:
        super().__init__(channels, channels, 2 * factor, factor, padding, bias=False)
        self.reset()

    @torch.no_grad()
    def reset(self) -> None:
        """Begin again as interpolation."""
        nn.init.zeros_(self.weight)
        for channel in range(len(self.weight)):
            self.weight[channel, channel] = bilinear(self.kernel_size[0])


class Interpolation(nn.Module):
    """The same, never learnt: the last step to the image's own pixels (section 4.3).

    Interpolation of the map with a border of zeros is that transposed convolution, and many times as fast.
    """

    def __init__(self, factor: int, padding: int = 0) -> None:
        super().__init__()
        self.factor, self.padding = factor, padding

    def forward(self, inputs: Tensor) -> Tensor:
        enlarged = F.interpolate(F.pad(inputs, [1] * 4), scale_factor=float(self.factor), mode="bilinear")
        start = self.factor // 2 + self.padding
        height, width = ((side + 1) * self.factor - 2 * self.padding for side in inputs.shape[2:])
        return enlarged[:, :, start : start + height, start : start + width]


def bilinear(side: int) -> Tensor:
    """The filter [side, side] float32 whose transposed convolution with a stride of side / 2 interpolates linearly."""
    away = (torch.arange(side) + 0.5 - side / 2).abs()
    ramp = 1 - away / (side / 2)
    return ramp[:, None] * ramp


class FCN(Segmenter):
    """Scores of the coarsest map and, for finer strides, of the maps before it, added up on the way to the image.

    stride   of the finest map that is scored: 32, 16 or 8
    hidden   units of fc6 and fc7, on a VGG
    """

    last_layers = ("score_fr", "score_pool4", "score_pool3", "upscore2", "upscore_pool4")

    def __init__(self, body: Backbone, stride: int, num_classes: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.backbone, self.stride, self.num_classes = body, stride, num_classes
        self.in_channels, self.padded = body.in_channels, isinstance(body, VGG)
        channels = _slide(body, hidden, dropout) if isinstance(body, VGG) else self._channels(body)
        inset = 0 if self.padded else stride // 2
        self.score_fr = nn.Conv2d(channels[0], num_classes, 1)
        if stride <= 16:
            self.score_pool4 = nn.Conv2d(channels[1], num_classes, 1)
            self.upscore2 = Upsampling(num_classes, 2, 0 if self.padded else 1)
        if stride <= 8:
            self.score_pool3 = nn.Conv2d(channels[2], num_classes, 1)
            self.upscore_pool4 = Upsampling(num_classes, 2, 0 if self.padded else 1)
        self.upscore = Interpolation(stride, inset)
        self.reset_head()

    def _channels(self, body: Backbone) -> list[int]:
        """Of the maps of strides 32, 16 and 8."""
        levels = body.by_stride()
        missing = [stride for stride in STRIDES if stride >= self.stride and stride not in levels]
        if missing:
            raise UsageError(
                f"fcn{self.stride}s scores maps of stride {missing[0]}, but those of {body.name} have {body.strides}; "
                f"choose another backbone"
            )
        self.levels = [levels[stride] for stride in STRIDES if stride >= self.stride]
        check_maps(body, self.levels)
        return [body.channels[place] for place in self.levels]

    @property
    def trunk(self) -> Backbone:
        return self.backbone

    def reset_head(self, prefixes: Sequence[str] | None = None) -> None:
        """Scores at zero (section 4.3), upsampling as interpolation."""
        super().reset_head(prefixes)
        for module in self.modules():
            if isinstance(module, Upsampling):
                module.reset()

    def logits(self, inputs: Tensor) -> Tensor:
        height, width = inputs.shape[2:]
        coarse, *finer = self._maps(inputs)
        scores = self.score_fr(coarse)
        # Where the finer map's first pixel lies in the coarser scores, brought up: on a VGG, fc6 takes no padding.
        steps = zip(("upscore2", "upscore_pool4"), ("score_pool4", "score_pool3"), (5, 9), finer, strict=False)
        for upscore, score, start, own in steps:
            scores = getattr(self, upscore)(scores)
            if self.padded:
                own = own[:, :, start : start + scores.shape[2], start : start + scores.shape[3]]
            scores = scores + getattr(self, score)(own)
        start = {32: 19, 16: 27, 8: 31}[self.stride] if self.padded else 0
        return self.upscore(scores)[:, :, start : start + height, start : start + width]

    def _maps(self, inputs: Tensor) -> list[Tensor]:
        """The maps that are scored, coarse to fine."""
        body = self.backbone
        if not isinstance(body, VGG):
            maps = body.maps(inputs)
            return [maps[place] for place in self.levels]
        inputs, pooled = F.pad(inputs, [PADDING - 1] * 4), []
        for layers, pool in body.stages:
            inputs = pool(layers(inputs))
            pooled.append(inputs)
        scored = [body.classifier(inputs), pooled[3], pooled[2]]
        return [own for own, stride in zip(scored, STRIDES, strict=True) if stride >= self.stride]


def _slide(body: VGG, hidden: int, dropout: float) -> list[int]:
    """Give a headless VGG its full connections back, slid; returns the channels of fc7 and of the last two skips."""
    body.classifier = nn.Sequential(
        SlidLinear(body.channels[-1], hidden, 7),
        nn.ReLU(),
        nn.Dropout(dropout),
        SlidLinear(hidden, hidden, 1),
        nn.ReLU(),
        nn.Dropout(dropout),
    )
    for layer in body.classifier:
        if isinstance(layer, SlidLinear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    for _, pool in body.stages:
        # As the paper's framework pools: what is left over at the edge is a pixel too.
        pool.ceil_mode = True
    return [hidden, body.channels[3], body.channels[2]]


class Head(nn.Sequential):
    """3 x 3 to a quarter of the channels, then 1 x 1 to the classes: torchvision's FCN head, PSPNet's auxiliary one."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__(
            nn.Conv2d(channels, channels // 4, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels // 4),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Conv2d(channels // 4, num_classes, 1),
        )


class Dilated(Segmenter):
    """A head on the last map of a dilated backbone, an auxiliary one on the map before, interpolated to the image.

    State-dict keys are torchvision's.
    """

    multiple = 1
    grid = 8
    last_layers = ("classifier.4", "aux_classifier.4")
    auxiliary = ("aux_classifier",)
    auxiliary_weight = 0.5

    def __init__(self, body: Backbone, classifier: nn.Module, num_classes: int, auxiliary: bool) -> None:
        super().__init__()
        check_maps(body, [-1], least=0.9)
        self.backbone, self.classifier = body, classifier
        self.num_classes, self.in_channels = num_classes, body.in_channels
        self.aux_classifier = Head(body.channels[-2], num_classes) if auxiliary else None

    @property
    def trunk(self) -> Backbone:
        return self.backbone

    def logits(self, inputs: Tensor) -> Tensor:
        return self._enlarged(self.classifier(self.backbone.maps(inputs)[-1]), inputs)

    def training_logits(self, inputs: Tensor) -> list[Tensor]:
        maps = self.backbone.maps(inputs)
        main = self._enlarged(self.classifier(maps[-1]), inputs)
        if self.aux_classifier is None:
            return [main]
        return [main, self._enlarged(self.aux_classifier(maps[-2]), inputs)]

    def _enlarged(self, logits: Tensor, inputs: Tensor) -> Tensor:
        """To the size of the image, a pixel to as many as its stride. What filters without a border and dilated
        poolings lose, they lose on both sides alike: there the outermost answers go on."""
        height, width = inputs.shape[2:]
        high, wide = min(height, self.grid * logits.shape[2]), min(width, self.grid * logits.shape[3])
        up = F.interpolate(logits, size=(high, wide), mode="bilinear", align_corners=False)
        if (high, wide) == (height, width):
            return up
        top, left = (height - high) // 2, (width - wide) // 2
        return F.pad(up, (left, width - wide - left, top, height - high - top), mode="replicate")


class DilatedFCN(Dilated):
    """The plain head on a dilated backbone."""

    def __init__(self, body: Backbone, num_classes: int, auxiliary: bool) -> None:
        super().__init__(body, Head(body.channels[-1], num_classes), num_classes, auxiliary)


Options = Mapping[str, Any] | None


def _scored(stride: int, results: str) -> Callable[..., FCN]:
    """The builder of one of the paper's three."""

    def build(
        num_classes: int = 21,
        in_channels: int = 3,
        backbone: str = "vgg16",
        hidden: int = 4096,
        dropout: float = 0.5,
        encoder_options: Options = None,
    ) -> FCN:
        body = encoder(backbone, in_channels, **dict(encoder_options or {}))
        if not isinstance(body, VGG) and (hidden, dropout) != (4096, 0.5):
            raise UsageError(f"hidden and dropout are of fc6 and fc7 of a VGG, and {backbone} has none; leave them out")
        return FCN(body, stride, num_classes, hidden, dropout)

    build.__name__ = f"fcn{stride}s"
    build.__doc__ = f"""{results} On VGG-16 134 million weights.

    backbone         a VGG, for the paper's own, or any other
    hidden           units of fc6 and fc7, on a VGG
    dropout          behind each of these
    encoder_options  what the backbone's builder takes besides, such as {{"width": 16}}
    """
    return build


fcn32s = _scored(32, "Scores of the coarsest map alone: 59.4 % mean IoU on VOC 2011 (table 2).")
fcn16s = _scored(16, "And of the map before: 62.4 %.")
fcn8s = _scored(8, "And of the one before that: 62.7 %.")


def fcn(
    num_classes: int = 21,
    in_channels: int = 3,
    backbone: str = "resnet50",
    auxiliary: bool = True,
    encoder_options: Options = None,
) -> DilatedFCN:
    """The plain head on any backbone, dilated to a stride of 8.

    auxiliary  whether there is a second head, on the map before, in training
    """
    return DilatedFCN(encoder(backbone, in_channels, 8, **dict(encoder_options or {})), num_classes, auxiliary)


def fcn_resnet50(num_classes: int = 21, in_channels: int = 3) -> DilatedFCN:
    """torchvision's: 60.5 % mean IoU on COCO's val2017, VOC's classes, with the published weights, as it states."""
    return fcn(num_classes, in_channels)


def fcn_resnet101(num_classes: int = 21, in_channels: int = 3) -> DilatedFCN:
    """torchvision's: 63.7 % likewise."""
    return fcn(num_classes, in_channels, "resnet101")
