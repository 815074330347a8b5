"""VGG.

Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015. Table 1: the
networks A to E; table 2: 133, 133, 134, 138 and 144 million weights; table 3: D has 25.6 % top-1 and 8.1 % top-5 error
on ImageNet's validation pictures, E 25.5 and 8.0 %. D takes 15.5e9 multiply-adds, E 19.6e9.

The idea that made it matter: nothing but 3 x 3 filters, and many of them: two in a row see 5 x 5 pixels, three 7 x 7,
with fewer weights and more rectifiers than one large filter.

State-dict keys and shapes are torchvision's, which also gave it batch norm (`_bn`), younger than the paper; those of
`vgg11_lrn` are `vgg11`'s. The paper starts deep networks from trained shallow ones; He initialisation, here as in
torchvision, does without.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from saccade.backbones.contract import Backbone
from saccade.layers.initialise import initialise_he
from saccade.layers.local_response_norm import local_response_norm


class VGG(Backbone):
    """Five stages of 3 x 3 convolutions, each before a pooling: maps at strides 1, 2, 4, 8 and 16.

    counts        of convolutions a stage (table 1)
    ends          where in `features` each stage ends and its pooling stands
    width         channels of the first stage; the paper has 64
    batch_norm    after each convolution
    local_norm    local response normalisation after the first stage
    third_kernel  size of the third filter of a stage
    global_pool   classify the mean of the last map by one linear layer, without the two full connections before it, as
                  Zhou et al. 2016 do for CAM (section 2): for pictures so small that the last map has no 7 x 7 places
    """

    last_layers = ("classifier.6",)

    def __init__(
        self,
        counts: Sequence[int],
        num_classes: int,
        in_channels: int,
        dropout: float,
        width: int,
        *,
        batch_norm: bool = False,
        local_norm: bool = False,
        third_kernel: int = 3,
        global_pool: bool = False,
    ) -> None:
        super().__init__()
        self.channels = (width, 2 * width, 4 * width, 8 * width, 8 * width)
        self.strides, self.counts = (1, 2, 4, 8, 16), tuple(counts)
        layers: list[nn.Module] = []
        self.ends: list[int] = []
        channels = in_channels
        for out, count in zip(self.channels, counts, strict=True):
            for position in range(count):
                kernel = third_kernel if position == 2 else 3
                layers.append(nn.Conv2d(channels, out, kernel, padding=kernel // 2))
                layers += [nn.BatchNorm2d(out), nn.ReLU()] if batch_norm else [nn.ReLU()]
                channels = out
            self.ends.append(len(layers))
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.norm = local_response_norm() if local_norm else nn.Identity()
        self.global_pool = global_pool or not num_classes
        if not num_classes:
            self.classifier = nn.Identity()
        elif global_pool:
            self.last_layers, self.classifier = ("classifier",), nn.Linear(channels, num_classes)
        else:
            self.avgpool = nn.AdaptiveAvgPool2d(7)  # nothing at 224 x 224
            self.classifier = nn.Sequential(
                nn.Linear(channels * 7 * 7, 4096),
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.Linear(4096, 4096),
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.Linear(4096, num_classes),
            )
        initialise_he(self)

    @property
    def stages(self) -> list[tuple[nn.Sequential, nn.MaxPool2d]]:
        """The layers of each stage, and the pooling after it."""
        starts, stages = [0, *(end + 1 for end in self.ends)], []
        for start, end in zip(starts, self.ends, strict=False):
            pool = self.features[end]
            assert isinstance(pool, nn.MaxPool2d)
            after = [] if start else [self.norm]
            stages.append((nn.Sequential(*list(self.features)[start:end], *after), pool))
        return stages

    def maps(self, inputs: Tensor) -> list[Tensor]:
        maps = [self.norm(self.features[: self.ends[0]](inputs))]
        for start, end in zip(self.ends, self.ends[1:], strict=False):
            maps.append(self.features[start:end](maps[-1]))
        return maps

    def classify(self, coarsest: Tensor) -> Tensor:
        if self.global_pool:
            return self.classifier(coarsest.mean((2, 3)))
        return self.classifier(self.avgpool(self.features[-1](coarsest)).flatten(1))


def vgg11(
    num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5, width: int = 64, global_pool: bool = False
) -> VGG:
    """A: 133 million weights, 7.6e9 multiply-adds."""
    return VGG((1, 1, 2, 2, 2), num_classes, in_channels, dropout, width, global_pool=global_pool)


def vgg11_lrn(
    num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5, width: int = 64, global_pool: bool = False
) -> VGG:
    """A-LRN: A with AlexNet's local response normalisation after the first stage."""
    return VGG((1, 1, 2, 2, 2), num_classes, in_channels, dropout, width, local_norm=True, global_pool=global_pool)


def vgg11_bn(
    num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5, width: int = 64, global_pool: bool = False
) -> VGG:
    """A with batch norm."""
    return VGG((1, 1, 2, 2, 2), num_classes, in_channels, dropout, width, batch_norm=True, global_pool=global_pool)


def vgg13(
    num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5, width: int = 64, global_pool: bool = False
) -> VGG:
    """B: 133 million weights, 11.3e9 multiply-adds."""
    return VGG((2, 2, 2, 2, 2), num_classes, in_channels, dropout, width, global_pool=global_pool)


def vgg13_bn(
    num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5, width: int = 64, global_pool: bool = False
) -> VGG:
    """B with batch norm."""
    return VGG((2, 2, 2, 2, 2), num_classes, in_channels, dropout, width, batch_norm=True, global_pool=global_pool)


def vgg16_c(
    num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5, width: int = 64, global_pool: bool = False
) -> VGG:
    """C: 134 million weights, 11.8e9 multiply-adds; the third filter of a stage is 1 x 1."""
    return VGG((2, 2, 3, 3, 3), num_classes, in_channels, dropout, width, third_kernel=1, global_pool=global_pool)


def vgg16(
    num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5, width: int = 64, global_pool: bool = False
) -> VGG:
    """D: 138 million weights, 15.5e9 multiply-adds."""
    return VGG((2, 2, 3, 3, 3), num_classes, in_channels, dropout, width, global_pool=global_pool)


def vgg16_bn(
    num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5, width: int = 64, global_pool: bool = False
) -> VGG:
    """D with batch norm."""
    return VGG((2, 2, 3, 3, 3), num_classes, in_channels, dropout, width, batch_norm=True, global_pool=global_pool)


def vgg19(
    num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5, width: int = 64, global_pool: bool = False
) -> VGG:
    """E: 144 million weights, 19.6e9 multiply-adds."""
    return VGG((2, 2, 4, 4, 4), num_classes, in_channels, dropout, width, global_pool=global_pool)


def vgg19_bn(
    num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5, width: int = 64, global_pool: bool = False
) -> VGG:
    """E with batch norm."""
    return VGG((2, 2, 4, 4, 4), num_classes, in_channels, dropout, width, batch_norm=True, global_pool=global_pool)
