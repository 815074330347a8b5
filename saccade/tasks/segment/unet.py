"""U-Net: down to what it is, up to where it is, and at every size a bridge across.

Ronneberger, Fischer and Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015. Figure 1:
four poolings, 64 to 1,024 channels, 3 x 3 filters without padding, up-convolutions of 2 x 2, maps of the way down cut
to size and put beside those of the way up; 31 million weights. Figure 2: no border is padded, so an image is answered
in tiles, continued by its mirror image where it ends. Section 3 and equation 2: the weights of narrow gaps
(`losses.border_weights`), initialisation; 3.1: elastic deformation. Table 1: a pixel error of 6.11 % on the hidden
slices of the ISBI 2012 challenge.

The idea that made it matter: with bridges, and images bent in every way cells could be, thirty pictures are enough.

`padded` borders keep every map's size. With a `backbone`, that network's maps are the way down, and the way up is the
form that became common: nearest neighbours enlarged, then two 3 x 3 layers with batch norm. State-dict keys are ours.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.backbones.catalogue import encoder
from saccade.backbones.contract import Backbone
from saccade.errors import UsageError
from saccade.tasks.segment.contract import Segmenter, check_maps, mirrored

DEPTH = 4  # poolings of figure 1
MARGIN = 92  # pixels that the unpadded network loses at each side, of tiles as it takes them: 16 n + 12 a side
WIDTHS = (256, 128, 64, 32, 16)  # channels on the way up from a backbone, coarse to fine


def _pair(channels: int, out: int, padding: int, batch_norm: bool) -> nn.Sequential:
    """Two 3 x 3 layers."""
    layers: list[nn.Module] = []
    for wide in (channels, out):
        layers.append(nn.Conv2d(wide, out, 3, padding=padding, bias=not batch_norm))
        layers += [nn.BatchNorm2d(out)] if batch_norm else []
        layers += [nn.ReLU()]
    return nn.Sequential(*layers)


class Contraction(Backbone):
    """The way down (figure 1, left): maps at strides 1, 2, 4, 8 and 16, unpadded ones smaller by their borders."""

    last_layers = ()
    name = "unet"

    def __init__(self, width: int, in_channels: int, padding: int, batch_norm: bool, dropout: float) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.channels = tuple(width * 2**level for level in range(DEPTH + 1))
        self.strides = tuple(2**level for level in range(DEPTH + 1))
        wide = (in_channels, *self.channels)
        self.pairs = nn.ModuleList(
            _pair(before, own, padding, batch_norm) for before, own in zip(wide, self.channels, strict=False)
        )
        self.pools = nn.ModuleList(nn.MaxPool2d(2) for _ in range(DEPTH))
        self.dropout = nn.Dropout(dropout)

    def maps(self, inputs: Tensor) -> list[Tensor]:
        maps = [self.pairs[0](inputs)]
        for pool, pair in zip(self.pools, self.pairs[1:], strict=True):
            maps.append(pair(pool(maps[-1])))
        # "Drop-out layers at the end of the contracting path" (section 3.1).
        return [*maps[:-1], self.dropout(maps[-1])]

    def classify(self, coarsest: Tensor) -> Tensor:
        return coarsest.mean((2, 3))


class UNet(Segmenter):
    """As drawn, or padded.

    padded  whether filters see zeros beyond the border, so that every map has the size of its bridge
    """

    last_layers = ("score",)
    multiple = grid = 2**DEPTH

    def __init__(
        self, num_classes: int, in_channels: int, width: int, padded: bool, batch_norm: bool, dropout: float
    ) -> None:
        super().__init__()
        self.num_classes, self.in_channels, self.padded = num_classes, in_channels, padded
        padding = 1 if padded else 0
        self.contraction = Contraction(width, in_channels, padding, batch_norm, dropout)
        wide = self.contraction.channels
        self.ups, self.pairs = nn.ModuleList(), nn.ModuleList()
        for level in range(DEPTH - 1, -1, -1):
            self.ups.append(nn.ConvTranspose2d(wide[level + 1], wide[level], 2, stride=2))
            self.pairs.append(_pair(2 * wide[level], wide[level], padding, batch_norm))
        self.score = nn.Conv2d(width, num_classes, 1)
        for module in self.modules():
            # "Gaussian with a standard deviation of sqrt(2 / N)" (section 3), N the inputs of a neuron.
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    @property
    def trunk(self) -> Backbone:
        return self.contraction

    def forward(self, inputs: Tensor) -> Tensor:
        if self.padded:
            return super().forward(inputs)
        height, width = inputs.shape[2:]
        rows, columns = ((MARGIN, MARGIN + -(length - 4) % 16) for length in (height, width))
        return self.logits(mirrored(inputs, rows, columns))[:, :, :height, :width]

    def logits(self, inputs: Tensor) -> Tensor:
        """Of [B, C, H, W] with sides 16 n: [B, K, H, W]; unpadded of sides 16 n + 12: [B, K, H - 184, W - 184]."""
        *bridges, up = self.contraction.maps(inputs)
        for enlarge, pair, bridge in zip(self.ups, self.pairs, reversed(bridges), strict=True):
            up = enlarge(up)
            top, left = ((long - short) // 2 for long, short in zip(bridge.shape[2:], up.shape[2:], strict=True))
            cut = bridge[:, :, top : top + up.shape[2], left : left + up.shape[3]]
            up = pair(torch.cat([cut, up], 1))
        return self.score(up)


class UNetOnBackbone(Segmenter):
    """The maps of any network as the way down.

    widths  channels on the way up, coarse to fine
    """

    last_layers = ("score",)

    def __init__(self, body: Backbone, num_classes: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.backbone, self.num_classes, self.in_channels = body, num_classes, body.in_channels
        levels = body.by_stride()
        stride, channels = max(levels), body.channels[levels[max(levels)]]
        check_maps(body, list(levels.values()))
        self.coarsest, self.bridges = levels[stride], list[int | None]()
        self.pairs = nn.ModuleList()
        while stride > 1:
            stride //= 2
            bridge, out = levels.get(stride), widths[min(len(self.pairs), len(widths) - 1)]
            self.bridges.append(bridge)
            beside = 0 if bridge is None else body.channels[bridge]
            self.pairs.append(_pair(channels + beside, out, 1, batch_norm=True))
            channels = out
        self.score = nn.Conv2d(channels, num_classes, 3, padding=1)
        for module in [*self.pairs.modules(), self.score]:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @property
    def trunk(self) -> Backbone:
        return self.backbone

    def logits(self, inputs: Tensor) -> Tensor:
        maps = self.backbone.maps(inputs)
        up = maps[self.coarsest]
        for bridge, pair in zip(self.bridges, self.pairs, strict=True):
            up = F.interpolate(up, scale_factor=2.0, mode="nearest")
            up = pair(up if bridge is None else torch.cat([up, maps[bridge]], 1))
        return self.score(up)


def unet(
    num_classes: int = 2,
    in_channels: int = 3,
    backbone: str | None = None,
    width: int = 64,
    widths: Sequence[int] = WIDTHS,
    padded: bool = False,
    batch_norm: bool = False,
    dropout: float = 0.5,
    encoder_options: Mapping[str, Any] | None = None,
) -> Segmenter:
    """As drawn 31 million weights.

    backbone         whose maps are the way down; None for the paper's own
    width            the paper's own: channels of the first map, doubled with each pooling
    widths           on a backbone: channels on the way up, coarse to fine
    padded           the paper's own: whether borders are padded
    batch_norm       the paper's own: after each convolution; it has none
    dropout          the paper's own: at the end of the way down
    encoder_options  what the backbone's builder takes besides
    """
    own = {"width": width, "padded": padded, "batch_norm": batch_norm, "dropout": dropout}
    if backbone is None:
        _check_unused({"widths": (tuple(widths), WIDTHS), "encoder_options": (encoder_options, None)}, "a backbone")
        return UNet(num_classes, in_channels, **own)
    usual = {"width": 64, "padded": False, "batch_norm": False, "dropout": 0.5}
    _check_unused({name: (own[name], usual[name]) for name in own}, "the paper's own U-Net, without a backbone")
    return UNetOnBackbone(encoder(backbone, in_channels, **dict(encoder_options or {})), num_classes, widths)


def _check_unused(options: Mapping[str, tuple[Any, Any]], of: str) -> None:
    """Raise UsageError for an option, (given, usual), that the other form alone has."""
    for name, (given, usual) in options.items():
        if given != usual:
            raise UsageError(f"{name} is an option of {of}; here it would change nothing, so leave it out")


def unet_image(
    num_classes: int = 3,
    in_channels: int = 3,
    backbone: str | None = None,
    width: int = 32,
    widths: Sequence[int] = WIDTHS,
    encoder_options: Mapping[str, Any] | None = None,
) -> Segmenter:
    """The padded form with batch norm, three colours out, which begin at zero: it starts as the image itself.

    Options as of `unet`.
    """
    if backbone is None:
        _check_unused({"widths": (tuple(widths), WIDTHS), "encoder_options": (encoder_options, None)}, "a backbone")
        network = UNet(num_classes, in_channels, width, padded=True, batch_norm=True, dropout=0.0)
    else:
        _check_unused({"width": (width, 32)}, "the U-Net without a backbone")
        body = encoder(backbone, in_channels, **dict(encoder_options or {}))
        network = UNetOnBackbone(body, num_classes, widths)
    network.reset_head()
    return network
