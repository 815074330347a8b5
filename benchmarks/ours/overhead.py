"""What our loop adds to the arithmetic: one network, optimiser and precision, inside it and without it, alternating."""

import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from benchmarks.ours.training import BATCH, about, make_job, timed_round
from benchmarks.worker import serve
from saccade import precision
from saccade.training.loop import Job

STEPS = 2


def bare_round(job: Job, batches: list[tuple[torch.Tensor, torch.Tensor]]) -> tuple[int, float]:
    """Forward, backward, step, and nothing else, on inputs that are ready."""
    dtype = precision.choose(job.config.precision, job.accelerator.device)
    job.model.train()
    started = time.perf_counter()
    for inputs, targets in batches:
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            logits = job.model(inputs)
        F.cross_entropy(logits.float(), targets).backward()
        job.optimiser.step()
        job.optimiser.zero_grad()
    return len(batches) * BATCH, time.perf_counter() - started


def main() -> None:
    """A round is two steps, so that both sides see the same state of a noisy machine; one of each goes before."""
    with tempfile.TemporaryDirectory() as folder:
        job = make_job("resnet18", STEPS, Path(folder))
        batches = [(job.preprocess(batch.images), batch.targets) for batch in job.train.epoch()]
        timed_round(job)
        bare_round(job, batches)
        serve({"ours": lambda: timed_round(job), "peer": lambda: bare_round(job, batches)}, about())


if __name__ == "__main__":
    main()
