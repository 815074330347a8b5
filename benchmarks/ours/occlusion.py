"""Occlusion on one of our networks, as `saccade explain` asks for it: python -m benchmarks.ours.occlusion NAME."""

import torch

from benchmarks import covering, regions
from benchmarks.worker import serve, versions
from saccade.explain.occlusion import occlusion
from saccade.explain.score import of_class
from saccade.memory import keep_freed_memory
from saccade.models import create_model


def cover(name: str) -> object:
    torch.manual_seed(0)
    keep_freed_memory()
    score, image = of_class(create_model(name).eval(), covering.TARGET), covering.image()

    def work() -> int:
        occlusion(score, image, covering.SQUARE, covering.STRIDE).drop()
        return covering.PLACES

    return regions.timed(work)


if __name__ == "__main__":
    serve({"ours": cover(regions.asked())}, f"{versions('torch')}, float32, channels-last, 32 places at a time")
