"""What a backbone promises, so that every head, loss and explanation works on every one of them."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from saccade.structures import Preprocessing, Size


class Backbone(nn.Module, ABC):
    """A classifier that can also hand out its feature maps.

    name              in the catalogue, where it is part of something larger: whose published weights fit
    channels          of each map, fine to coarse
    strides           of each map: how many input pixels lie between two of its pixels
    last_layers       how the names of those weights begin in the state dict that another number of classes replaces
    auxiliary         how the names of auxiliary classifiers begin, where there are some; a published file may lack them
    auxiliary_weight  of their losses

    Built with `num_classes=0` it has no classifier, only what `maps` needs: `forward` then averages the last map over
    its pixels, [B, channels[-1]].
    Each use of an activation is a module of its own, so that an explanation can hook it; so is each pooling, so that
    `layers.dilate` finds it.
    """

    name: str = ""
    input_size: Size = (224, 224)
    in_channels: int = 3
    last_layers: tuple[str, ...]
    auxiliary: ClassVar[tuple[str, ...]] = ()
    auxiliary_weight: ClassVar[float] = 0.0

    channels: tuple[int, ...]
    strides: tuple[int, ...]

    def reset_head(self) -> None:
        """Start the last layer at zero, for new classes: in a few hundred steps a random start is never forgotten."""
        for name, parameter in self.named_parameters():
            if name.startswith(tuple(f"{prefix}." for prefix in self.last_layers)):
                nn.init.zeros_(parameter)

    @property
    def trunk(self) -> "Backbone":
        """What starts from a classifier's weights: all of it."""
        return self

    def by_stride(self) -> dict[int, int]:
        """The place of the map of each stride, fine to coarse: of several of one stride the last, which knows most."""
        return {stride: place for place, stride in enumerate(self.strides)}

    def standard_preprocessing(self) -> Preprocessing:
        """What it was designed for."""
        return Preprocessing.standard(self.input_size, "L" if self.in_channels == 1 else "RGB")

    @abstractmethod
    def maps(self, inputs: Tensor) -> list[Tensor]:
        """Feature maps, fine to coarse.

        inputs  [B, C, H, W] float, normalised

        Returns one [B, channels[i], H / strides[i], W / strides[i]] float each (rounded as the layers round).
        """

    @abstractmethod
    def classify(self, coarsest: Tensor) -> Tensor:
        """Logits [B, K] from the last of the maps; without a classifier, that map pooled: [B, channels[-1]]."""

    def training_logits(self, inputs: Tensor) -> list[Tensor]:
        """Logits [B, K] of the classifier, then those of the auxiliary classifiers, which only a loss asks for."""
        return [self(inputs)]

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits [B, K] of inputs [B, C, H, W] float, normalised."""
        return self.classify(self.maps(inputs)[-1])
