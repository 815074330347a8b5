"""The loop of PyTorch's transfer-learning tutorial: python -m benchmarks.peers.torchvision_training MODEL.

Plain float32, contiguous [B, C, H, W], the images ready in memory as normalised tensors.
"""

import sys
import time

import torch
import torchvision
from torch import nn

from benchmarks.worker import serve, versions

BATCH, STEPS = 32, 4


def main(name: str) -> None:
    """A round is four steps; one step goes before, to warm up."""
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)
    batches = [(torch.randn(BATCH, 3, 224, 224), torch.randint(1000, (BATCH,))) for _ in range(STEPS)]

    def steps(count: int) -> tuple[int, float]:
        model.train()
        started = time.perf_counter()
        running_loss, running_corrects = 0.0, 0
        for inputs, labels in batches[:count]:
            optimizer.zero_grad()
            outputs = model(inputs)
            _, predicted = torch.max(outputs, 1)
            loss = criterion(outputs, labels)
            loss.backward()
            optimizer.step()
            running_loss += loss.item() * inputs.size(0)
            running_corrects += torch.sum(predicted == labels.data)
        return count * BATCH, time.perf_counter() - started

    steps(1)
    serve({"peer": lambda: steps(STEPS)}, f"{versions('torch', 'torchvision')}, float32")


if __name__ == "__main__":
    main(sys.argv[1])
