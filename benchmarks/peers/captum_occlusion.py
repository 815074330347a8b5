"""captum's Occlusion with its defaults, on torchvision's networks: python -m benchmarks.peers.captum_occlusion NAME."""

import torch
import torchvision
from captum.attr import Occlusion

from benchmarks import covering, regions
from benchmarks.worker import serve, versions


def cover(name: str) -> object:
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None).eval()
    method, image = Occlusion(model), covering.image()
    window, step = (3, covering.SQUARE, covering.SQUARE), (3, covering.STRIDE, covering.STRIDE)

    def work() -> int:
        method.attribute(image, target=covering.TARGET, sliding_window_shapes=window, strides=step)
        return covering.PLACES

    return regions.timed(work)


if __name__ == "__main__":
    serve(
        {"peer": cover(regions.asked())}, f"{versions('torch', 'torchvision', 'captum')}, float32, one place at a time"
    )
