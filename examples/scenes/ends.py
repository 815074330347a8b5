"""How well can the keypoints of `scenes` be seen, if nothing has to be found? A small network is shown each digit, cut
out by its true box as the head of a detector would see it, and says where its three ends are.

    python examples/scenes/ends.py

Ten minutes on two cores. What a detector with two stages reaches on the same scenes stands in docs/results.md.
"""

import argparse
import time
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import saccade
from saccade.data.formats.scenes import SKELETON

SIDE, MARGIN = 56, 0.15  # pixels of a crop; how much wider than its box it is, to each side
SCALE, SHIFT = 0.12, 0.06  # how much boxes vary in training, in shares of them
BATCH, RATE = 64, 4e-3


@dataclass(frozen=True, eq=False)
class Crops:
    """N digits.

    images     [N, 3, SIDE, SIDE] uint8
    keypoints  [N, 3, 2] float32 (x, y), pixels of the crop
    areas      [N] float32, square pixels of the scene
    pixel      [N, 2] float32: how many pixels of the scene a pixel of the crop is wide and high
    """

    images: Tensor
    keypoints: Tensor
    areas: Tensor
    pixel: Tensor


def crops_of(split: str) -> Crops:
    """All digits of a split of `scenes-128`, by their true boxes."""
    own = saccade.read("scenes-128").splits[split]
    assert own.objects is not None
    images, keypoints, areas, pixels = [], [], [], []
    for number in range(len(own)):
        picture, things = own.open(number).pixels("RGB")[0], own.objects[number]
        assert things.keypoints is not None and things.areas is not None
        for box, points, area in zip(things.boxes, things.keypoints, things.areas, strict=True):
            size = (1 + 2 * MARGIN) * (box[2:] - box[:2])
            low, times = box[:2] - MARGIN * (box[2:] - box[:2]), SIDE / size
            way = np.column_stack([np.diag(times), (0.5 - low) * times - 0.5])
            images.append(cv2.warpAffine(picture, way, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE))
            keypoints.append((points[:, :2] - low) * times)
            areas.append(area)
            pixels.append(1 / times)
    return Crops(
        torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous(),
        *(torch.tensor(np.array(values), dtype=torch.float32) for values in (keypoints, areas, pixels)),
    )


class Block(nn.Sequential):
    def __init__(self, channels: int, out: int, stride: int = 1) -> None:
        super().__init__(nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU())


class Ends(nn.Module):
    """Down to 7 x 7 and up again to a map of 56 x 56 for each end."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Sequential(Block(3, 24), Block(24, 32, 2))
        self.middle = nn.Sequential(Block(32, 64), Block(64, 64), Block(64, 96, 2))
        self.coarse = nn.Sequential(Block(96, 128), Block(128, 192, 2), Block(192, 192), Block(192, 192))
        self.up, self.up_again = nn.ConvTranspose2d(192, 96, 2, 2), nn.ConvTranspose2d(96, 48, 2, 2)
        self.join, self.join_again = Block(192, 96), Block(80, 48)
        self.say = nn.Conv2d(48, 3, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, 3, 56, 56] of images [B, 3, 56, 56] uint8."""
        fine = self.fine((images.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last))
        middle = self.middle(fine)
        up = self.join(torch.cat([self.up(self.coarse(middle)), middle], 1))
        up = self.join_again(torch.cat([self.up_again(up), fine], 1))
        return F.interpolate(self.say(up).float(), scale_factor=2.0, mode="bilinear")


def varied(images: Tensor, keypoints: Tensor) -> tuple[Tensor, Tensor]:
    """As if the boxes had been found, not known: other sizes and places; and other light."""
    count = len(images)
    scale, shift = 1 + SCALE * (2 * torch.rand(count, 2) - 1), SHIFT * (2 * torch.rand(count, 2) - 1)
    back = torch.cat([torch.diag_embed(1 / scale), (-shift / scale)[:, :, None]], 2)
    grid = F.affine_grid(back, list(images.shape), align_corners=False)
    moved = F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)
    light = 1 + 0.4 * (torch.rand(count, 3, 1, 1) - 0.5), 255 * 0.15 * (torch.rand(count, 3, 1, 1) - 0.5)
    places = (2 * keypoints / SIDE - 1) * scale[:, None] + shift[:, None]
    return moved * light[0] + light[1], (places + 1) / 2 * SIDE


def train(crops: Crops, epochs: int) -> Ends:
    network, count = Ends().to(memory_format=torch.channels_last), len(crops.images)
    optimiser = torch.optim.AdamW(network.parameters(), RATE / 25, weight_decay=0.05)
    steps = count // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=epochs * steps)
    for epoch in range(epochs):
        begun, total = time.perf_counter(), 0.0
        for batch in torch.randperm(count)[: steps * BATCH].view(steps, BATCH):
            images, places = varied(crops.images[batch], crops.keypoints[batch])
            cells = places.floor().long()
            inside = ((cells >= 0) & (cells < SIDE)).all(-1)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits = network(images)
            loss = F.cross_entropy(logits.flatten(2)[inside], (cells[..., 1] * SIDE + cells[..., 0])[inside])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1}/{epochs}  loss {total / steps:.3f}  {time.perf_counter() - begun:.0f} s", flush=True)
    return network.eval()


@torch.no_grad()
def measure(network: Ends, crops: Crops) -> None:
    """The share of digits whose OKS is above COCO's ten thresholds: what an AP could be if each digit were found and
    named, and those whose ends are right came first."""
    best = torch.cat([network(part).flatten(2).argmax(-1) for part in crops.images.split(256)])
    said = torch.stack([best % SIDE + 0.5, best // SIDE + 0.5], -1)
    away = ((said - crops.keypoints) * crops.pixel[:, None]).square().sum(-1)
    sigma = torch.tensor(SKELETON.sigmas)
    oks = torch.exp(-away / (2 * crops.areas[:, None] * (2 * sigma) ** 2)).mean(1)
    shares = [float((oks > threshold).float().mean()) for threshold in np.arange(0.5, 1, 0.05)]
    print(f"right at 0.50 to 0.95: {100 * np.mean(shares):.1f} %, at 0.50: {100 * shares[0]:.1f} %")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=24)
    asked = parser.parse_args()
    torch.manual_seed(0)
    measure(train(crops_of("train"), asked.epochs), crops_of("test"))


if __name__ == "__main__":
    main()
