"""LeNet-5, in the form people train today.

LeCun, Bottou, Bengio and Haffner, "Gradient-Based Learning Applied to Document Recognition", Proceedings of the IEEE,
1998. Figure 2: 6 and 16 maps of 5 x 5 filters, then 120, 84 and 10 units on 32 x 32 pixels.

The idea that made it matter: filters that are learned, shared over the whole image and stacked with subsampling.

Today's form has ReLU, max pooling, full connections between the maps and a softmax, where the paper has scaled
tanh, trained subsampling, a sparse connection table and radial basis functions. It has 61,706 weights.
"""

from torch import Tensor, nn

from saccade.backbones.contract import Backbone


class LeNet(Backbone):
    """LeNet-5. Maps at strides 2 and 4; other input sizes than 32 x 32 are pooled to its 5 x 5."""

    input_size = (32, 32)
    in_channels = 1
    last_layers = ("fc3",)

    def __init__(self, num_classes: int = 10, in_channels: int = 1) -> None:
        super().__init__()
        self.channels, self.strides = (6, 16), (2, 4)
        self.conv1 = nn.Conv2d(in_channels, 6, 5)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.relu2 = nn.ReLU()
        self.pool2 = nn.MaxPool2d(2)
        self.headless = not num_classes
        if self.headless:
            return
        self.avgpool = nn.AdaptiveAvgPool2d(5)
        self.fc1 = nn.Linear(400, 120)
        self.relu3 = nn.ReLU()
        self.fc2 = nn.Linear(120, 84)
        self.relu4 = nn.ReLU()
        self.fc3 = nn.Linear(84, num_classes)

    def maps(self, inputs: Tensor) -> list[Tensor]:
        fine = self.pool1(self.relu1(self.conv1(inputs)))
        return [fine, self.pool2(self.relu2(self.conv2(fine)))]

    def classify(self, coarsest: Tensor) -> Tensor:
        if self.headless:
            return coarsest.mean((2, 3))
        hidden = self.relu3(self.fc1(self.avgpool(coarsest).flatten(1)))
        return self.fc3(self.relu4(self.fc2(hidden)))


def lenet(num_classes: int = 10, in_channels: int = 1) -> LeNet:
    """LeNet-5 on 32 x 32 grey pixels."""
    return LeNet(num_classes, in_channels)
