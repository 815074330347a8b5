"""Two images in one, and what is known of both: mixup and CutMix, on batches as they come from the loader."""

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from saccade.structures import Batch, joined


def mix(batch: Batch, classes: int, mixup: float, cutmix: float, rng: np.random.Generator) -> Batch:
    """Every image mixed with another of the batch, by mixup or CutMix; half of the batches each where both are on.

    batch    targets [B] int64, labels 0..K-1
    classes  K
    mixup    alpha of the Beta distribution of the share, 0 for none; 0.2 for ImageNet (Zhang et al. 2018, section 3.1)
    cutmix   likewise; 1.0 (Yun et al. 2019, section 3.1)

    The share is one for the whole batch, and images meet in a random order, perhaps themselves, as in the papers' code.
    Views, ids and truths stay those of the first image. Without either, nothing is drawn, only targets change.

    Returns a batch of images [B, C, H, W] uint8, channels-last, and targets [B, K] float32, each row with sum 1.
    """
    if mixup < 0 or cutmix < 0:
        raise ValueError(f"mixup and cutmix must be 0 or more but got {mixup} and {cutmix}")
    if not isinstance(batch.targets, Tensor) or batch.targets.dtype != torch.int64 or batch.targets.ndim != 1:
        raise ValueError(f"mix needs the labels of whole images, [B] int64, but got {type(batch.targets).__name__}")
    targets = functional.one_hot(batch.targets, classes).float()
    if not mixup and not cutmix:
        return replace(batch, targets=targets)
    paste = cutmix > 0 and (mixup == 0 or rng.random() < 0.5)
    alpha = cutmix if paste else mixup
    share = float(rng.beta(alpha, alpha))
    partner = torch.from_numpy(rng.permutation(len(batch))).to(batch.images.device)
    if paste:
        images, share = _pasted(batch.images, partner, share, rng)
    else:
        images = _blended(batch.images, partner, share)
    return replace(batch, images=images, targets=share * targets + (1 - share) * targets[partner])


def mix_objects(batch: Batch, alpha: float, rng: np.random.Generator) -> Batch:
    """Every image mixed with another of the batch, with the things of both.

    batch  targets one `Instances` an image
    alpha  of the Beta distribution of the share; 1.5 in Zhang, He, Zhang, Zhang, Xie and Li, "Bag of Freebies for
           Training Object Detection Neural Networks", arXiv:1902.04103, section 3.1

    All things count alike, however faint; all images are as large as the batch, padding too.
    """
    share, size = float(rng.beta(alpha, alpha)), (batch.images.shape[2], batch.images.shape[3])
    partner = rng.permutation(len(batch))
    images = _blended(batch.images, torch.from_numpy(partner).to(batch.images.device), share)
    own = [target.padded(size) for target in batch.targets]
    pairs = zip(own, partner, strict=True)
    targets = [one if place == other else joined([one, own[other]]) for place, (one, other) in enumerate(pairs)]
    return replace(batch, images=images, targets=targets, views=[replace(view, size=size) for view in batch.views])


def _blended(images: Tensor, partner: Tensor, share: float) -> Tensor:
    """[B, C, H, W] uint8: so much of each image, and the rest of its partner."""
    plain = images.float()
    return (share * plain + (1 - share) * plain[partner]).round().to(torch.uint8, memory_format=torch.channels_last)


def _pasted(images: Tensor, partner: Tensor, share: float, rng: np.random.Generator) -> tuple[Tensor, float]:
    """A rectangle of the partner pasted over each image [B, C, H, W] uint8, and the share of it that is still seen.

    The rectangle has the image's shape and 1 - share of its area; its middle lies anywhere, and what reaches beyond
    the image is cut off (Yun et al. 2019, equation 2).
    """
    height, width = images.shape[2:]
    half = math.sqrt(1 - share) / 2
    y, x = rng.uniform(0, height), rng.uniform(0, width)
    top, bottom = (min(max(round(y + sign * half * height), 0), height) for sign in (-1, 1))
    left, right = (min(max(round(x + sign * half * width), 0), width) for sign in (-1, 1))
    pasted = images.clone()
    pasted[:, :, top:bottom, left:right] = images[partner, :, top:bottom, left:right]
    return pasted, 1 - (bottom - top) * (right - left) / (height * width)
