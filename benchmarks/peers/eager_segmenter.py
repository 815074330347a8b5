"""A step of others' segmenters, eager, float32: python -m benchmarks.peers.eager_segmenter fcn_resnet50|unet."""

import torch
import torch.nn.functional as F

from benchmarks import pixels, regions
from benchmarks.worker import serve, versions


def model_of(name: str) -> torch.nn.Module:
    """torchvision's FCN, or the U-Net of segmentation_models_pytorch on the same backbone as ours."""
    if name == "fcn_resnet50":
        from torchvision.models.segmentation import fcn_resnet50

        return fcn_resnet50(weights=None, weights_backbone=None, num_classes=pixels.CLASSES, aux_loss=True)
    from segmentation_models_pytorch import Unet

    return Unet("mobilenet_v2", encoder_weights=None, classes=pixels.CLASSES)


def step(name: str) -> object:
    torch.manual_seed(0)
    model = model_of(name).train()
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    images, labels = (torch.from_numpy(array) for array in pixels.batch())
    inputs, wanted = images.permute(0, 3, 1, 2).float().contiguous() / 255, labels.long()

    def work() -> int:
        optimiser.zero_grad()
        said = model(inputs)
        if isinstance(said, dict):
            loss = F.cross_entropy(said["out"], wanted) + 0.5 * F.cross_entropy(said["aux"], wanted)
        else:
            loss = F.cross_entropy(said, wanted)
        loss.backward()
        optimiser.step()
        return pixels.BATCH

    return regions.timed(work)


if __name__ == "__main__":
    names = ("torch", "torchvision" if regions.asked() == "fcn_resnet50" else "segmentation-models-pytorch")
    serve({"peer": step(regions.asked())}, f"{versions(*names)}, float32, contiguous")
