"""A training step of our segmenters: python -m benchmarks.ours.segmenter fcn_resnet50|unet."""

import tempfile
from pathlib import Path

import torch
from accelerate import Accelerator

from benchmarks import pixels, regions
from benchmarks.ours.training import about
from benchmarks.worker import serve
from saccade.data.label_maps import LabelMaps
from saccade.data.loader import Dataset, Loader
from saccade.data.source import Split
from saccade.layers.preprocess import Preprocess
from saccade.models import create_model, create_task
from saccade.structures import Preprocessing
from saccade.training.config import Config
from saccade.training.freeze import Freeze
from saccade.training.loop import Job, take_step, wrap
from saccade.training.memory import keep_freed_memory
from saccade.training.optim import make_optimiser, parameter_groups

OPTIONS = {"fcn_resnet50": {}, "unet": {"backbone": "mobilenet_v2"}}


def step(name: str) -> object:
    """What the loop does with a batch: from uint8 to a step of the optimiser."""
    torch.manual_seed(0)
    keep_freed_memory()
    classes = tuple(str(n) for n in range(pixels.CLASSES))
    images, labels = pixels.batch()
    model = create_model(name, pixels.CLASSES, **OPTIONS[name])
    maps = LabelMaps(list(labels), classes, {k: k for k in range(pixels.CLASSES)})
    split = Split(images, [str(n) for n in range(pixels.BATCH)], label_maps=maps)
    preprocessing = Preprocessing.windows(pixels.SIDE)
    loader = Loader(Dataset(split, preprocessing, known="label_maps"), pixels.BATCH, shuffle=True)
    config = Config(epochs=1, batch_size=pixels.BATCH, optimiser="sgd", learning_rate=1e-4, weight_decay=0.0, warmup=0)
    job = Job(
        model=model,
        task=create_task("segment", classes, model),
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

    def work() -> int:
        take_step(job, network, batch, 1e-4, 0, 0)
        return pixels.BATCH

    return regions.timed(work)


if __name__ == "__main__":
    serve({"ours": step(regions.asked())}, about())
