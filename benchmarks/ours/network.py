"""One of our networks, as `create_model` hands it out: python -m benchmarks.ours.network MODEL forward|step."""

import sys

from benchmarks.networks import serve_network
from benchmarks.worker import versions
from saccade.models import create_model

if __name__ == "__main__":
    name, work = sys.argv[1:]
    serve_network(create_model(name), work, f"{versions('torch')}, float32, channels-last", channels_last=True)
