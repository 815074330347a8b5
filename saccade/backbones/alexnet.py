"""AlexNet: the network of 2012, and its one-tower form of 2014.

Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep Convolutional Neural Networks", NIPS 2012. Figure 2
and section 3: 60 million weights (60,965,224 here), 0.72e9 multiply-adds; table 2: 40.7 % top-1 and 18.2 % top-5 error
on ImageNet's validation pictures. Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014:
all filters on one device, 61.1 million weights; torchvision's file has 43.5 % and 20.9 %.

The idea that made it matter: eight layers of rectifiers, learned from raw pixels on GPUs with dropout, beat features
designed by hand.

`alexnet` has torchvision's state-dict keys. `alexnet_2012` names its layers as Caffe's reference does; it normalises
over all channels, where two GPUs would each normalise over its own.
"""

from torch import Tensor, nn

from saccade.backbones.contract import Backbone
from saccade.layers.initialise import initialise_he
from saccade.layers.local_response_norm import local_response_norm
from saccade.layers.stages import stage_maps


class AlexNet(Backbone):
    """One tower, no normalisation. Maps at strides 4, 8 and 16."""

    last_layers = ("classifier.6",)

    def __init__(self, num_classes: int, in_channels: int, dropout: float) -> None:
        super().__init__()
        self.channels, self.strides = (64, 192, 256), (4, 8, 16)
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 64, 11, stride=4, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
        )
        self.headless = not num_classes
        if not self.headless:
            self.avgpool = nn.AdaptiveAvgPool2d(6)  # nothing at 224 x 224
            self.classifier = nn.Sequential(
                nn.Dropout(dropout),
                nn.Linear(256 * 6 * 6, 4096),
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.Linear(4096, 4096),
                nn.ReLU(),
                nn.Linear(4096, num_classes),
            )
        # The paper says nothing: He's for the filters, and for the rest what the network of 2012 has.
        initialise_he(self)

    def maps(self, inputs: Tensor) -> list[Tensor]:
        return stage_maps(self.features, (2, 5, 12), inputs)

    def classify(self, coarsest: Tensor) -> Tensor:
        if self.headless:
            return coarsest.mean((2, 3))
        return self.classifier(self.avgpool(self.features[12](coarsest)).flatten(1))


class AlexNet2012(Backbone):
    """Two towers that meet in conv3 and in the full connections (figure 2). Maps at strides 4, 8 and 16."""

    last_layers = ("fc8",)

    def __init__(self, num_classes: int, in_channels: int, dropout: float) -> None:
        super().__init__()
        self.channels, self.strides = (96, 256, 256), (4, 8, 16)
        # The paper's 55 x 55 maps need two more pixels a side than its 224 x 224 have.
        self.conv1 = nn.Conv2d(in_channels, 96, 11, stride=4, padding=2)
        self.relu1 = nn.ReLU()
        self.norm1 = local_response_norm()
        self.pool1 = nn.MaxPool2d(3, stride=2)
        self.conv2 = nn.Conv2d(96, 256, 5, padding=2, groups=2)
        self.relu2 = nn.ReLU()
        self.norm2 = local_response_norm()
        self.pool2 = nn.MaxPool2d(3, stride=2)
        self.conv3 = nn.Conv2d(256, 384, 3, padding=1)
        self.relu3 = nn.ReLU()
        self.conv4 = nn.Conv2d(384, 384, 3, padding=1, groups=2)
        self.relu4 = nn.ReLU()
        self.conv5 = nn.Conv2d(384, 256, 3, padding=1, groups=2)
        self.relu5 = nn.ReLU()
        self.headless = not num_classes
        if not self.headless:
            self.pool5 = nn.MaxPool2d(3, stride=2)
            self.avgpool = nn.AdaptiveAvgPool2d(6)  # nothing at 224 x 224
            self.fc6 = nn.Linear(256 * 6 * 6, 4096)
            self.relu6 = nn.ReLU()
            self.drop6 = nn.Dropout(dropout)
            self.fc7 = nn.Linear(4096, 4096)
            self.relu7 = nn.ReLU()
            self.drop7 = nn.Dropout(dropout)
            self.fc8 = nn.Linear(4096, num_classes)
        self._initialise()

    def _initialise(self) -> None:
        """Section 5: biases of one let these rectifiers see positive inputs from the start."""
        for name, module in self.named_children():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                if module.bias is not None:
                    nn.init.constant_(module.bias, float(name in ("conv2", "conv4", "conv5", "fc6", "fc7")))

    def maps(self, inputs: Tensor) -> list[Tensor]:
        fine = self.norm1(self.relu1(self.conv1(inputs)))
        middle = self.norm2(self.relu2(self.conv2(self.pool1(fine))))
        coarse = self.relu3(self.conv3(self.pool2(middle)))
        coarse = self.relu4(self.conv4(coarse))
        return [fine, middle, self.relu5(self.conv5(coarse))]

    def classify(self, coarsest: Tensor) -> Tensor:
        if self.headless:
            return coarsest.mean((2, 3))
        hidden = self.avgpool(self.pool5(coarsest)).flatten(1)
        hidden = self.drop6(self.relu6(self.fc6(hidden)))
        hidden = self.drop7(self.relu7(self.fc7(hidden)))
        return self.fc8(hidden)


def alexnet(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> AlexNet:
    """One tower: 61.1 million weights, 0.71e9 multiply-adds."""
    return AlexNet(num_classes, in_channels, dropout)


def alexnet_2012(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> AlexNet2012:
    """Two towers, as published: 61.0 million weights, 0.72e9 multiply-adds."""
    return AlexNet2012(num_classes, in_channels, dropout)
