"""A linear classifier on the features of any network: what a probe trains.

How much a network's features know is asked with the simplest classifier there is (Alain and Bengio, "Understanding
intermediate layers using linear classifier probes", 2016): all that the task needs beyond the encoder is one matrix.
"""

from torch import Tensor, nn

from saccade.backbones.contract import Backbone


def without_probe(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The encoder's weights of a `Probed`, under their own names."""
    return {key.removeprefix("encoder."): value for key, value in state.items() if key.startswith("encoder.")}


class Probed(Backbone):
    """An encoder, and a linear layer on the mean of one of its maps.

    encoder  a network built with `num_classes=0`
    layer    which of its maps, fine to coarse; -1 for the last
    """

    last_layers = ("linear",)

    def __init__(self, encoder: Backbone, num_classes: int, layer: int = -1) -> None:
        super().__init__()
        count = len(encoder.channels)
        if not -count <= layer < count:
            raise ValueError(f"layer must be one of the encoder's {count} maps, {-count} to {count - 1}, got {layer}")
        self.input_size, self.in_channels = encoder.input_size, encoder.in_channels
        self.encoder, self.used = encoder, layer % count + 1
        self.channels, self.strides = encoder.channels[: self.used], encoder.strides[: self.used]
        self.linear = nn.Linear(self.channels[-1], num_classes)

    def maps(self, inputs: Tensor) -> list[Tensor]:
        return self.encoder.maps(inputs)[: self.used]

    def features(self, inputs: Tensor) -> Tensor:
        """What the linear layer is given, [B, channels[-1]]: the mean of the map over its pixels."""
        return self.maps(inputs)[-1].mean((2, 3))

    def classify(self, coarsest: Tensor) -> Tensor:
        return self.linear(coarsest.mean((2, 3)))
