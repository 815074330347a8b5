"""Our training loop on images in memory: python -m benchmarks.ours.training MODEL."""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator

from benchmarks.worker import serve, versions
from saccade import precision
from saccade.data.loader import Dataset, Loader
from saccade.data.source import Split
from saccade.layers.preprocess import Preprocess
from saccade.memory import keep_freed_memory
from saccade.models import Model, create_model, create_task
from saccade.structures import Batch, Preprocessing
from saccade.training.config import Config
from saccade.training.display import Display
from saccade.training.freeze import Freeze
from saccade.training.loop import Job, take_step, train, wrap
from saccade.training.optim import make_optimiser, parameter_groups

BATCH, STEPS, CLASSES = 32, 4, 1000


class TimedLoader(Loader):
    """A loader with a clock: it runs from the first batch being asked for until the loop comes back for one too many.

    So everything in a step counts, and the files that an epoch ends with do not: real epochs are far longer than these.
    """

    seconds = 0.0

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        started = time.perf_counter()
        yield from super().epoch(epoch, start)
        self.seconds = time.perf_counter() - started


def make_job(name: str, steps: int, folder: Path) -> Job:
    """What `fit` would hand to the loop (precision "auto"), but on noise in memory, so that no decoding is measured."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(steps * BATCH, 224, 224, 3), dtype=np.uint8)
    split = Split(images, [str(index) for index in range(len(images))], rng.integers(CLASSES, size=len(images)))
    data = Dataset(split, Preprocessing(size=(224, 224), resize=224))
    model = create_model(name, CLASSES)
    return bare_job(model, "classify", CLASSES, TimedLoader(data, BATCH, shuffle=True), folder)


def bare_job(model: Model, task: str, classes: int, loader: Loader, folder: Path, rate: float = 1e-3) -> Job:
    """A job of one epoch, by SGD at a steady rate, that evaluates nothing."""
    config = Config(epochs=1, batch_size=BATCH, optimiser="sgd", learning_rate=rate, weight_decay=0.0, warmup=0)
    return Job(
        model=model,
        task=create_task(task, [str(label) for label in range(classes)], model),
        preprocess=Preprocess(loader.dataset.preprocessing),
        optimiser=make_optimiser(parameter_groups(model, {}, config, Freeze()), config),
        train=loader,
        val=None,
        config=config,
        folder=folder,
        accelerator=Accelerator(cpu=True),
        fingerprint="",
        display=Display(quiet=True),
    )


def one_step(model: Model, task: str, classes: int, loader: Loader) -> Callable[[], int]:
    """What the loop does with the loader's first batch: from uint8 to a step of the optimiser."""
    keep_freed_memory()
    job = bare_job(model, task, classes, loader, Path(tempfile.gettempdir()), rate=1e-4)
    model.train()
    network, batch = wrap(job), next(iter(loader.epoch()))

    def work() -> int:
        take_step(job, network, batch, 1e-4, 0, 0)
        return len(batch)

    return work


def timed_round(job: Job) -> tuple[int, float]:
    """One epoch of the loop: how many images, in how many seconds."""
    train(job, resume=False)
    return len(job.train) * BATCH, job.train.seconds


def about() -> str:
    """The versions, the precision, and why that one."""
    if precision.fast_bfloat16(torch.device("cpu")):
        why = "bfloat16, because this processor multiplies in it"
    else:
        why = "float32, because this processor has neither amx_tile nor avx512_bf16"
    return f"{versions('torch', 'accelerate')}, {why}"


def main(name: str) -> None:
    """A round is four steps; one step goes before, to warm up."""
    with tempfile.TemporaryDirectory() as folder:
        job = make_job(name, STEPS, Path(folder))
        data = job.train.dataset
        one_batch = replace(data, split=data.split.take(range(BATCH)))
        timed_round(replace(job, train=TimedLoader(one_batch, BATCH, shuffle=True)))
        serve({"ours": lambda: timed_round(job)}, about())


if __name__ == "__main__":
    main(sys.argv[1])
