"""YOLO: one look at the whole image, a grid of cells, and from each cell a few boxes and one class.

Redmon, Divvala, Girshick and Farhadi, "You Only Look Once: Unified, Real-Time Object Detection", CVPR 2016. Section 2:
S x S cells, each with B boxes of (x, y, width, height, confidence) and K class probabilities, S x S x (5 B + K) numbers
in all, and the confidence of a class (equation 1); 2.1 and figure 3: 24 convolutions and two full connections; 2.2 and
equation 3: the loss; 2.3: prediction. 63.4 % mAP on VOC 2007 at 45 images a second (table 1).

Every convolution has batch norm, which the paper's lack: so have the later configurations of its authors.

The idea that made it matter: detection as one regression from pixels to boxes, so fast that it looks at films.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from saccade.backbones.catalogue import encoder
from saccade.backbones.contract import Backbone
from saccade.backbones.darknet import SLOPE, Layer
from saccade.geometry.boxes import paired_iou, xyxy_from_cxcywh
from saccade.structures import Instances, Preprocessing, Size
from saccade.tasks.detect.one_look import Answers, OneLook

COORDINATES, NOTHING = 5.0, 0.5  # weights of the places of things, and of confidence where there is none (section 2.2)


class Grid(NamedTuple):
    """What the S x S cells say of each image, row by row.

    classes     [B, S * S, K] float32: what is there, if there is something
    confidence  [B, S * S, N] float32: how much the box overlaps a thing
    boxes       [B, S * S, N, 4] float32: the middle (x, y) in shares of the cell, and the square roots of width and
                height in shares of the image
    """

    classes: Tensor
    confidence: Tensor
    boxes: Tensor


class YOLOv1(OneLook):
    """A backbone, four more convolutions, two full connections.

    cells    S: the grid has S x S of them
    boxes    N: of each cell; B in the paper
    width    channels of the four convolutions
    hidden   units of the first full connection
    dropout  behind it
    """

    last_layers = ("connected.3",)
    input_size = (448, 448)
    # Steps of Adam are as large for each of the many weights that go into one unit: more would throw it about.
    recipe: ClassVar[Mapping[str, Any]] = {"learning_rate": 1e-4}

    def __init__(
        self, body: Backbone, cells: int, boxes: int, width: int, hidden: int, dropout: float, num_classes: int
    ) -> None:
        super().__init__()
        self.backbone, self.cells, self.boxes = body, cells, boxes
        self.num_classes, self.in_channels = num_classes, body.in_channels
        self.extra = nn.Sequential(
            Layer(body.channels[-1], width, 3),
            Layer(width, width, 3, 2),
            Layer(width, width, 3),
            Layer(width, width, 3),
        )
        # As large as the grid for inputs of twice the backbone's last stride a cell, 448 pixels in the paper; what is
        # smaller is repeated.
        self.pool = nn.AdaptiveAvgPool2d(cells)
        self.connected = nn.Sequential(
            nn.Linear(width * cells * cells, hidden),
            nn.LeakyReLU(SLOPE),
            nn.Dropout(dropout),
            nn.Linear(hidden, cells * cells * (5 * boxes + num_classes)),
        )
        self.reset_head()

    @property
    def trunk(self) -> Backbone:
        return self.backbone

    def reset_head(self, prefixes: Sequence[str] | None = None) -> None:
        """Not at zero: the boxes of a cell would be one and the same, and only the first of them would ever learn."""
        for name in self.last_layers if prefixes is None else prefixes:
            layer = self.get_submodule(name)
            nn.init.normal_(layer.get_parameter("weight"), std=0.01)
            nn.init.zeros_(layer.get_parameter("bias"))

    def forward(self, inputs: Tensor) -> Grid:
        numbers = self.connected(self.pool(self.extra(self.backbone.maps(inputs)[-1])).flatten(1)).float()
        numbers = numbers.view(len(numbers), self.cells**2, self.num_classes + 5 * self.boxes)
        classes, confidence, boxes = numbers.split([self.num_classes, self.boxes, 4 * self.boxes], dim=-1)
        return Grid(classes, confidence, boxes.unflatten(-1, (self.boxes, 4)))

    def losses(self, inputs: Tensor, sizes: Sequence[Size], truths: Sequence[Instances]) -> dict[str, Tensor]:
        """Equation 3, the mean over the images: squared errors of middles, of the roots of sides, of confidence with
        and without a thing, and of class probabilities. Images are stretched to the input, none is padded."""
        size, said = (inputs.shape[2], inputs.shape[3]), self(inputs)
        parts = [
            loss_of(Grid(*(column[image] for column in said)), truth, size, self.cells)
            for image, truth in enumerate(truths)
        ]
        return {name: torch.stack([part[name] for part in parts]).mean() for name in parts[0]}

    def answers(self, inputs: Tensor) -> Answers:
        """Equation 1: a class's probability times the confidence of the box. Both are learnt as numbers, and may lie
        outside of [0, 1]: two below 0 would make a thing of nothing. For explanations the product as it is, whose
        gradient does not end there."""
        said, size = self(inputs), (inputs.shape[2], inputs.shape[3])
        boxes = boxes_of(said.boxes, size, self.cells).flatten(1, 2)
        classes, confidence = said.classes[:, :, None], said.confidence[..., None]
        scores = classes.clamp(0, 1) * confidence.clamp(0, 1)
        return Answers(boxes, (classes * confidence).flatten(1, 2), scores.flatten(1, 2))

    def standard_preprocessing(self) -> Preprocessing:
        """All of the image, stretched to 448 x 448."""
        return Preprocessing.stretched(self.input_size, "L" if self.in_channels == 1 else "RGB")


def boxes_of(said: Tensor, size: Size, cells: int) -> Tensor:
    """Boxes [..., S * S, N, 4] xyxy, pixels of the input, of what the cells say, as in `Grid`.

    size  (height, width) of the input
    """
    rows, columns = (places.flatten() for places in torch.meshgrid(*[torch.arange(cells)] * 2, indexing="ij"))
    corners = torch.stack([columns, rows], dim=-1).to(said)[:, None]
    sides = said.new_tensor([size[1], size[0]])
    middles = (said[..., :2] + corners) / cells * sides
    # A negative root is no smaller a box than its square: none at all.
    return xyxy_from_cxcywh(torch.cat([middles, said[..., 2:].clamp(min=0) ** 2 * sides], dim=-1))


def loss_of(said: Grid, truth: Instances, size: Size, cells: int) -> dict[str, Tensor]:
    """The terms of equation 3 for one image.

    said   of one image: [S * S, ...]
    truth  pixels of the input
    size   (height, width) of the input

    A thing belongs to the cell where its middle lies; of two in one cell the larger. Of the cell's boxes the one that
    overlaps it most is responsible, and its confidence should be that overlap.
    """
    device, sides = said.boxes.device, torch.tensor([size[1], size[0]], dtype=torch.float32)
    own = torch.as_tensor(truth.boxes, dtype=torch.float32)
    order = ((own[:, 2] - own[:, 0]) * (own[:, 3] - own[:, 1])).argsort()
    own, labels = own[order], torch.as_tensor(truth.labels)[order]
    middles, lengths = (own[:, :2] + own[:, 2:]) / 2 / sides * cells, (own[:, 2:] - own[:, :2]) / sides
    columns, rows = middles.floor().clamp(0, cells - 1).long().unbind(1)
    # The larger come later, and have the last word.
    of_cell = dict(zip((rows * cells + columns).tolist(), range(len(own)), strict=True))
    place = torch.tensor(list(of_cell), dtype=torch.int64, device=device)
    which = torch.tensor(list(of_cell.values()), dtype=torch.int64)
    inside = torch.stack([columns, rows], 1)
    target = torch.cat([middles - inside, lengths.clamp(min=0).sqrt()], 1)[which].to(device)

    with torch.no_grad():
        boxes = boxes_of(said.boxes, size, cells)[place]
        overlap = paired_iou(boxes, own[which].to(device)[:, None])
        # Where none overlaps at all, the one that is nearest in its four numbers.
        apart = ((said.boxes[place] - target[:, None]) ** 2).sum(-1)
        responsible = torch.where(overlap.amax(1) > 0, overlap.argmax(1), apart.argmin(1))
    at = torch.arange(len(place), device=device)
    found, confidence = said.boxes[place, responsible], said.confidence[place, responsible]
    kinds = nn.functional.one_hot(labels[which], said.classes.shape[-1]).float().to(device)
    nobody = torch.ones_like(said.confidence)
    nobody[place, responsible] = 0
    return {
        "middles": COORDINATES * ((found[:, :2] - target[:, :2]) ** 2).sum(),
        "sides": COORDINATES * ((found[:, 2:] - target[:, 2:]) ** 2).sum(),
        "thing": ((confidence - overlap[at, responsible]) ** 2).sum(),
        "nothing": NOTHING * (nobody * said.confidence**2).sum(),
        "class": ((said.classes[place] - kinds) ** 2).sum(),
    }


def yolov1(
    num_classes: int = 20,
    in_channels: int = 3,
    backbone: str = "extraction",
    cells: int = 7,
    boxes: int = 2,
    width: int = 1024,
    hidden: int = 4096,
    dropout: float = 0.5,
    encoder_options: Mapping[str, Any] | None = None,
) -> YOLOv1:
    """On the paper's own backbone 272 million weights, most of them in the first full connection.

    backbone         the paper's first 20 convolutions, or any network of the catalogue
    cells, boxes     S and B of the paper
    width            channels of the four convolutions behind the backbone
    hidden           units of the first full connection
    encoder_options  what the backbone's builder takes besides
    """
    body = encoder(backbone, in_channels, **dict(encoder_options or {}))
    return YOLOv1(body, cells, boxes, width, hidden, dropout, num_classes)
