"""torchvision's non-maximum suppression in C++: python -m benchmarks.peers.torchvision_nms, arguments as ours."""

import torch
from torchvision.ops import nms

from benchmarks.candidates import rounds
from benchmarks.worker import serve, versions

if __name__ == "__main__":
    work = rounds(lambda boxes, scores, t: len(nms(torch.from_numpy(boxes), torch.from_numpy(scores), t)))
    serve({"peer": work}, versions("torch", "torchvision"))
