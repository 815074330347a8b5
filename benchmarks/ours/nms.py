"""Our non-maximum suppression: python -m benchmarks.ours.nms crowded|scattered COUNT THRESHOLD."""

import torch

from benchmarks.candidates import rounds
from benchmarks.worker import serve, versions
from saccade.geometry.nms import nms

if __name__ == "__main__":
    work = rounds(lambda boxes, scores, t: len(nms(torch.from_numpy(boxes), torch.from_numpy(scores), t)))
    serve({"ours": work}, versions("torch"))
