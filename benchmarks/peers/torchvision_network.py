"""One of torchvision's networks, as it hands them out: python -m benchmarks.peers.torchvision_network MODEL WORK."""

import sys

import torchvision

from benchmarks.networks import serve_network
from benchmarks.worker import versions

if __name__ == "__main__":
    name, work = sys.argv[1:]
    options = {"aux_logits": True, "init_weights": False} if name == "googlenet" else {}
    model = torchvision.models.get_model(name, weights=None, **options)
    serve_network(model, work, f"{versions('torch', 'torchvision')}, float32, contiguous", channels_last=False)
