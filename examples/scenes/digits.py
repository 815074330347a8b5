"""What a backbone without weights at hand starts from: it learns the digits of the training scenes one by one.

Used by `detectors.py`. All learn them as any classifier does, by `saccade.fit`; VGG-16 does as `vgg16_bn`, whose norms
are folded into its convolutions after that.
"""

from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save
from torch import nn

import saccade
from saccade.checkpoint import write
from saccade.data.source import Source, Split
from saccade.geometry.affine import scaling
from saccade.geometry.view import View

SIDE = 48  # pixels of a side of one digit
# By backbone: epochs, the rate, and options of the network.
LESSONS: dict[str, tuple[int, float, dict[str, Any]]] = {
    "resnet18": (5, 1e-3, {}),
    "resnet50": (4, 1e-3, {}),
    "resnet101": (5, 1e-3, {}),
    "resnext101_64x4d": (4, 1e-3, {}),
    "vgg16_bn": (3, 5e-4, {"global_pool": True}),
}


def digits_of(data: str) -> Source:
    """Every thing of the training pictures by itself, a little of what is around it with it."""
    source = saccade.read(data)
    split = source.splits["train"]
    assert split.objects is not None
    digits = []
    for index in range(len(split)):
        picture = split.open(index).pixels("RGB")[0]
        for left, top, right, bottom in split.objects[index].boxes:
            side = 1.25 * max(right - left, bottom - top)
            corner = (top + bottom - side) / 2, (left + right - side) / 2
            window = View.identity(picture.shape[:2]).cropped(*corner, (SIDE, SIDE))
            digits.append(window.then(scaling(SIDE / side, SIDE / side)).apply(picture))
    names = [str(number) for number in range(len(digits))]
    train = Split(np.stack(digits), names, labels=split.objects.labels)
    return Source(f"digits of {data}", "array", source.classes, {"train": train})


def teach(backbone: str, data: str, folder: Path, augmentation: dict[str, Any]) -> Path:
    """What `fit` takes as weights, made where it is not there yet: below the folder, by the name of the backbone."""
    if backbone == "vgg16":
        file = folder / "vgg16.safetensors"
        if not file.exists():
            fold(teach("vgg16_bn", data, folder, augmentation), file)
        return file
    epochs, rate, options = LESSONS[backbone]
    if not (folder / backbone / "report.html").exists():
        saccade.fit(
            digits_of(data),
            model=backbone,
            out=folder / backbone,
            resume=True,
            quiet=True,
            epochs=epochs,
            learning_rate=rate,
            size=SIDE,
            hold_out=0.03,
            network=options,
            augmentation=augmentation | {"zoom": (1.0, 1.0), "scale": (0.7, 1.1), "shift": 0.1},
        )
    return folder / backbone


def fold(learnt: Path, file: Path) -> None:
    """The weights of a whole VGG-16 whose convolutions are those of a `vgg16_bn` with its norms.

    Plain VGG-16 does not begin to learn here. Nor does either under fc6 and fc7: of so small a digit the last pooling
    leaves one place, of which fc6 would see 7 x 7 copies. These two layers start at random in the detector.
    """
    plain, taught = saccade.create_model("vgg16"), saccade.load(learnt).fused
    for own, its in zip(convolutions(plain), convolutions(taught), strict=True):
        own.load_state_dict(its.state_dict())
    write(file, save({key: value.contiguous() for key, value in plain.state_dict().items()}))


def convolutions(network: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
