"""What a backbone without weights at hand starts from: it learns the digits of the training scenes one by one.

Used by `detectors.py`. A ResNet learns them as any classifier does, by `saccade.fit`; VGG-16 needs a way of its own.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from rich.progress import track
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

import saccade
from saccade.backbones.contract import Backbone
from saccade.checkpoint import write
from saccade.data.source import Source, Split
from saccade.layers.preprocess import Preprocess

SIDE = 48  # pixels of a side of one digit
# By backbone: epochs, and the rate.
LESSONS = {
    "resnet18": (5, 1e-3),
    "resnet50": (4, 1e-3),
    "resnet101": (5, 1e-3),
    "resnext101_64x4d": (4, 1e-3),
}
VGG_STEPS, VGG_BATCH, VGG_RATE = 750, 32, 5e-4
KEPT_BACK = 256  # digits that VGG-16 is asked about in the end


def digits_of(data: str) -> Source:
    """Every thing of the training pictures by itself, a little of what is around it with it."""
    source = saccade.read(data)
    split = source.splits["train"]
    assert split.objects is not None
    digits = []
    for index in range(len(split)):
        picture = Image.fromarray(split.open(index).pixels("RGB")[0])
        for left, top, right, bottom in split.objects[index].boxes:
            half = 1.25 * max(right - left, bottom - top) / 2
            across, down = (left + right) / 2, (top + bottom) / 2
            square = (across - half, down - half, across + half, down + half)
            digit = picture.transform((SIDE, SIDE), Image.Transform.EXTENT, square, Image.Resampling.BILINEAR)
            digits.append(np.asarray(digit))
    names = [str(number) for number in range(len(digits))]
    train = Split(np.stack(digits), names, labels=split.objects.labels)
    return Source(f"digits of {data}", "array", source.classes, {"train": train})


def teach(backbone: str, data: str, folder: Path, augmentation: dict[str, Any]) -> Path:
    """What `fit` takes as weights, made where it is not there yet: below the folder, by the name of the backbone."""
    if backbone == "vgg16":
        return teach_vgg(data, folder / "vgg16.safetensors")
    epochs, rate = LESSONS[backbone]
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
            augmentation=augmentation | {"zoom": (1.0, 1.0), "scale": (0.7, 1.1), "shift": 0.1},
        )
    return folder / backbone


def teach_vgg(data: str, file: Path) -> Path:
    """As `teach`: a file of the weights of a whole VGG-16, of which the convolutions have learnt the digits.

    Plain VGG-16 does not begin to learn here, so `vgg16_bn` does, and its norms are folded into its convolutions. Both
    learn without the fully connected layers: of so small a digit there is one cell, of which fc6 would see 49 copies.
    These layers start at random in the detector.
    """
    if file.exists():
        return file
    source = digits_of(data)
    split = source.splits["train"]
    pictures = torch.from_numpy(np.stack([split.open(index).pixels("RGB")[0] for index in range(len(split))]))
    pictures, labels = pictures.permute(0, 3, 1, 2), torch.as_tensor(split.labels).long()
    torch.manual_seed(0)
    body = saccade.create_model("vgg16_bn", num_classes=0)
    preprocess = Preprocess(body.standard_preprocessing())
    network = nn.Sequential(body, nn.Linear(body.channels[-1], len(source.classes)))
    optimiser = torch.optim.AdamW(network.parameters(), VGG_RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, VGG_RATE, total_steps=VGG_STEPS, pct_start=0.1)
    for _ in track(range(VGG_STEPS), "VGG-16 learns the digits"):
        chosen = torch.randint(len(pictures) - KEPT_BACK, (VGG_BATCH,))
        loss = F.cross_entropy(network(jittered(preprocess(pictures[chosen]))), labels[chosen])
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        schedule.step()
    plain = saccade.create_model("vgg16", num_classes=len(source.classes))
    assert isinstance(plain, Backbone)
    fold_norms(body.eval(), plain)
    with torch.no_grad():
        features = plain.maps(preprocess(pictures[-KEPT_BACK:]))[-1].mean((2, 3))
        wrong = (network[-1](features).argmax(1) != labels[-KEPT_BACK:]).float().mean().item()
    print(f"VGG-16, its norms folded, errs in {wrong:.1%} of {KEPT_BACK} digits that were kept back", flush=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    write(file, save({key: value.contiguous() for key, value in plain.state_dict().items()}))
    return file


def jittered(inputs: Tensor) -> Tensor:
    """Each of [B, C, H, W] turned by up to 10 degrees, 0.7 to 1.1 times as large, and up to a tenth of it aside."""
    count = len(inputs)
    turns, sizes = (torch.rand(count) - 0.5) * 0.35, 1 / (0.7 + 0.4 * torch.rand(count))
    across, along = sizes * turns.cos(), sizes * turns.sin()
    matrices = torch.stack((torch.stack((across, -along), 1), torch.stack((along, across), 1)), 1)
    away = (torch.rand(count, 2, 1) - 0.5) * 0.4
    grid = F.affine_grid(torch.cat((matrices, away), 2), list(inputs.shape), align_corners=False)
    return F.grid_sample(inputs, grid, padding_mode="reflection", align_corners=False)


def fold_norms(normed: nn.Module, plain: nn.Module) -> None:
    """The convolutions of a network without norms from those of one with them: in evaluation they give the same."""
    layers = [layer for layer in normed.modules() if isinstance(layer, nn.Conv2d | nn.BatchNorm2d)]
    own = [layer for layer in plain.modules() if isinstance(layer, nn.Conv2d)]
    for convolution, norm, target in zip(layers[::2], layers[1::2], own, strict=True):
        target.load_state_dict(fuse_conv_bn_eval(convolution, norm).state_dict())
