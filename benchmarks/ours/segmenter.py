"""A training step of our segmenters: python -m benchmarks.ours.segmenter fcn_resnet50|unet."""

import torch

from benchmarks import pixels, regions
from benchmarks.ours.training import about, one_step
from benchmarks.worker import serve
from saccade.data.label_maps import LabelMaps
from saccade.data.loader import Dataset, Loader
from saccade.data.source import Split
from saccade.models import create_model
from saccade.structures import Preprocessing

OPTIONS = {"fcn_resnet50": {}, "unet": {"backbone": "mobilenet_v2"}}


def step(name: str) -> object:
    torch.manual_seed(0)
    classes = tuple(str(n) for n in range(pixels.CLASSES))
    images, labels = pixels.batch()
    maps = LabelMaps(list(labels), classes, {k: k for k in range(pixels.CLASSES)})
    split = Split(images, [str(n) for n in range(pixels.BATCH)], label_maps=maps)
    data = Dataset(split, Preprocessing.windows(pixels.SIDE), known="label_maps")
    loader = Loader(data, pixels.BATCH, shuffle=True)
    model = create_model(name, pixels.CLASSES, **OPTIONS[name])
    return regions.timed(one_step(model, "segment", pixels.CLASSES, loader))


if __name__ == "__main__":
    serve({"ours": step(regions.asked())}, about())
