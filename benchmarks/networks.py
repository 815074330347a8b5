"""A round of the same work for any implementation of a network: forward passes, or training steps, on ready inputs.

Torch only, because the peers use it too, in their own environment.
"""

import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BATCH, SIDE = 16, 224


def serve_network(model: nn.Module, work: str, about: str, channels_last: bool) -> None:
    """Answer with the speed of `work`, "forward" or "step"; one round goes before, to warm up.

    channels_last  the order of memory this implementation is handed out in
    """
    from benchmarks.worker import serve

    torch.manual_seed(0)
    inputs, targets = torch.randn(BATCH, 3, SIDE, SIDE), torch.randint(1000, (BATCH,))
    if channels_last:
        inputs = inputs.to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)

    def forward() -> tuple[int, float]:
        model.eval()
        started = time.perf_counter()
        with torch.inference_mode():
            for _ in range(2):
                model(inputs)
        return 2 * BATCH, time.perf_counter() - started

    def step() -> tuple[int, float]:
        model.train()
        started = time.perf_counter()
        optimiser.zero_grad()
        _loss(model, inputs, targets).backward()
        optimiser.step()
        return BATCH, time.perf_counter() - started

    round = {"forward": forward, "step": step}[work]
    round()
    serve({"ours": round, "peer": round}, about)


def _loss(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy; auxiliary classifiers by 0.3, however the implementation hands them out."""
    outputs = model.training_logits(inputs) if hasattr(model, "training_logits") else model(inputs)  # pyright: ignore
    main, *others = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    return F.cross_entropy(main, targets) + sum(0.3 * F.cross_entropy(other, targets) for other in others)
