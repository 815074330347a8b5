"""ZFNet.

Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014. Figure 3: maps of 110, 55, 26, 13
and 6 pixels a side; table 2: 38.4 % top-1 and 16.5 % top-5 error on ImageNet's validation pictures, where their
AlexNet has 40.5 and 18.1 %. The paper counts no weights; there are 62,357,608.

The idea that made it matter: look at what the filters see, and mend the network accordingly. AlexNet's first filters
were too large and strode too far; these are 7 x 7, two pixels apart.

The paper does not say how it normalises "across feature maps", nor its padding: here as in AlexNet, after pooling as in
figure 3, and such that the maps have the sizes of figure 3. While training, the paper also shrinks filters whose root
mean square grows beyond 0.1, which is not done here. The layers are named as AlexNet's.
"""

from torch import Tensor, nn

from saccade.backbones.contract import Backbone
from saccade.layers.local_response_norm import local_response_norm


def _pool() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)


class ZFNet(Backbone):
    """Five convolutions, all channels connected, and three full connections. Maps at strides 2, 4, 8 and 16."""

    last_layers = ("fc8",)

    def __init__(self, num_classes: int, in_channels: int, dropout: float) -> None:
        super().__init__()
        self.channels, self.strides = (96, 96, 256, 256), (2, 4, 8, 16)
        self.conv1 = nn.Conv2d(in_channels, 96, 7, stride=2, padding=1)
        self.relu1 = nn.ReLU()
        self.pool1 = _pool()
        self.norm1 = local_response_norm()
        self.conv2 = nn.Conv2d(96, 256, 5, stride=2)
        self.relu2 = nn.ReLU()
        self.pool2 = _pool()
        self.norm2 = local_response_norm()
        self.conv3 = nn.Conv2d(256, 384, 3, padding=1)
        self.relu3 = nn.ReLU()
        self.conv4 = nn.Conv2d(384, 384, 3, padding=1)
        self.relu4 = nn.ReLU()
        self.conv5 = nn.Conv2d(384, 256, 3, padding=1)
        self.relu5 = nn.ReLU()
        self.headless = not num_classes
        if not self.headless:
            self.pool5 = _pool()
            self.avgpool = nn.AdaptiveAvgPool2d(6)  # nothing at 224 x 224
            self.fc6 = nn.Linear(256 * 6 * 6, 4096)
            self.relu6 = nn.ReLU()
            self.drop6 = nn.Dropout(dropout)
            self.fc7 = nn.Linear(4096, 4096)
            self.relu7 = nn.ReLU()
            self.drop7 = nn.Dropout(dropout)
            self.fc8 = nn.Linear(4096, num_classes)
        for module in self.modules():
            # Section 3: weights of 1e-2, which we read as their deviation, and biases of zero.
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def maps(self, inputs: Tensor) -> list[Tensor]:
        first = self.relu1(self.conv1(inputs))
        pooled = self.norm1(self.pool1(first))
        second = self.relu2(self.conv2(pooled))
        coarse = self.relu3(self.conv3(self.norm2(self.pool2(second))))
        coarse = self.relu4(self.conv4(coarse))
        return [first, pooled, second, self.relu5(self.conv5(coarse))]

    def classify(self, coarsest: Tensor) -> Tensor:
        if self.headless:
            return coarsest.mean((2, 3))
        hidden = self.avgpool(self.pool5(coarsest)).flatten(1)
        hidden = self.drop6(self.relu6(self.fc6(hidden)))
        hidden = self.drop7(self.relu7(self.fc7(hidden)))
        return self.fc8(hidden)


def zfnet(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> ZFNet:
    """62.4 million weights, 1.2e9 multiply-adds."""
    return ZFNet(num_classes, in_channels, dropout)
