"""Our detector: python -m benchmarks.ours.detector pool|predict|step|look."""

import math

import numpy as np
import torch

from benchmarks import regions
from benchmarks.ours.training import about, one_step
from benchmarks.worker import serve
from saccade.checkpoint import Card
from saccade.data.loader import Dataset, Loader
from saccade.data.objects import Objects, starts_of
from saccade.data.source import Split
from saccade.layers.preprocess import Preprocess
from saccade.layers.roi_pool import roi_align
from saccade.models import create_model
from saccade.predict import Predictor
from saccade.structures import Preprocessing
from saccade.tasks.detect.aligned import Aligned

BATCH = 2
CLASSES = tuple(str(n) for n in range(90))


def pool() -> object:
    images = torch.zeros(regions.BOXES, dtype=torch.int64)
    size, scale = (regions.BINS, regions.BINS), 1 / regions.STRIDE
    return regions.pool_round(lambda maps, boxes: roi_align(maps, boxes, images, size, scale), channels_last=True)


def predict() -> object:
    """What `saccade.load(RUN, precision="auto")` does with one picture."""
    torch.manual_seed(0)
    model = create_model("fasterrcnn_resnet50_fpn")
    predictor = Predictor(
        model, Card("fasterrcnn_resnet50_fpn", "detect", CLASSES, Preprocessing.whole(800, 1333)), precision="auto"
    )
    picture = regions.image(1)[0]

    def work() -> int:
        for _ in range(2):
            predictor(picture)
        return 2

    return regions.timed(work)


def step() -> object:
    """What the loop does with a batch of two pictures: from uint8 to a step of the optimiser."""
    torch.manual_seed(0)
    model = create_model("fasterrcnn_resnet50_fpn")
    boxes, labels = regions.things()
    count = BATCH * len(boxes)
    objects = Objects(
        starts=starts_of([len(boxes)] * BATCH),
        sizes=np.array([(regions.HEIGHT, regions.WIDTH)] * BATCH, dtype=np.int32),
        boxes=np.tile(boxes.astype(np.float64), (BATCH, 1)),
        labels=np.tile(labels, BATCH),
        crowd=np.zeros(count, dtype=bool),
        difficult=np.zeros(count, dtype=bool),
        areas=np.full(count, np.nan),
        masks=None,
        keypoints=None,
        skeleton=None,
        ids=np.arange(count),
        noun="object",
        files=["memory"],
    )
    split = Split(regions.image(BATCH), [str(n) for n in range(BATCH)], objects=objects)
    preprocessing = Preprocessing.whole(800, 1333)
    loader = Loader(Dataset(split, preprocessing, known="objects"), BATCH, shuffle=False)
    # Evaluation's batch has its targets in original pixels, which are the network's own here.
    return regions.timed(one_step(model, "detect", len(CLASSES), loader))


def look() -> object:
    """What `saccade.load(RUN, precision="auto")` does with one picture, and a detector that looks once."""
    torch.manual_seed(0)
    model = create_model("aligned_nano", len(CLASSES))
    assert isinstance(model, Aligned)
    preprocessing = Preprocessing.whole(regions.SMALL, regions.SMALL)
    pictures = regions.small_images(4)
    inputs = Preprocess(preprocessing)(torch.from_numpy(pictures).permute(0, 3, 1, 2))
    regions.settle(model, lambda: model(inputs))
    predictor = Predictor(model, Card("aligned_nano", "detect", CLASSES, preprocessing), precision="auto")
    heads = [head.get_submodule("classes") for head in model.heads]
    with torch.no_grad(), torch.autocast("cpu", predictor.dtype, enabled=predictor.dtype != torch.float32):
        for head in heads:
            head.get_parameter("weight").mul_(10)  # what a new head says hardly differs from place to place
        # So much more that as many answers as with the peer are compared.
        least = model.answers(inputs[:1]).logits.flatten().topk(regions.CANDIDATES).values[-1]
        for head in heads:
            head.get_parameter("bias").add_(math.log(model.sure / (1 - model.sure)) - least)
        count = int((model.answers(inputs[:1]).scores > model.sure).sum())
    assert 0.8 * regions.CANDIDATES < count < 1.2 * regions.CANDIDATES, count

    def work() -> int:
        for _ in range(20):
            predictor(pictures[0])
        return 20

    return regions.timed(work)


if __name__ == "__main__":
    serve({"ours": {"pool": pool, "predict": predict, "step": step, "look": look}[regions.asked()]()}, about())
