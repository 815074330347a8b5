"""Our detector: python -m benchmarks.ours.detector pool|predict|step."""

import tempfile
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator

from benchmarks import regions
from benchmarks.ours.training import about
from benchmarks.worker import serve
from saccade.checkpoint import Card
from saccade.data.loader import Dataset, Loader
from saccade.data.objects import Objects, starts_of
from saccade.data.source import Split
from saccade.layers.preprocess import Preprocess
from saccade.layers.roi_pool import roi_align
from saccade.models import create_model, create_task
from saccade.predict import Predictor
from saccade.structures import Preprocessing
from saccade.training.config import Config
from saccade.training.freeze import Freeze
from saccade.training.loop import Job, take_step, wrap
from saccade.training.memory import keep_freed_memory
from saccade.training.optim import make_optimiser, parameter_groups

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
    keep_freed_memory()
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
    config = Config(epochs=1, batch_size=BATCH, optimiser="sgd", learning_rate=1e-4, weight_decay=0.0, warmup=0)
    job = Job(
        model=model,
        task=create_task("detect", CLASSES, model),
        preprocess=Preprocess(preprocessing),
        optimiser=make_optimiser(parameter_groups(model, {}, config, Freeze()), config),
        train=loader,
        val=None,
        config=config,
        folder=Path(tempfile.gettempdir()),
        accelerator=Accelerator(cpu=True),
        fingerprint="",
    )
    model.train()
    network, batch = wrap(job), next(iter(loader.epoch()))
    # Evaluation's batch has its targets in original pixels, which are the network's own here.

    def work() -> int:
        take_step(job, network, batch, 1e-4, 0, 0)
        return BATCH

    return regions.timed(work)


if __name__ == "__main__":
    serve({"ours": {"pool": pool, "predict": predict, "step": step}[regions.asked()]()}, about())
