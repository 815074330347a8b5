"""What a network takes on this machine: time and memory for one image."""

import contextlib
import re
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import torch

from saccade.geometry.view import Size
from saccade.models import create_model

SECONDS, LEAST, MOST = 1.0, 5, 200


@dataclass(frozen=True)
class Measured:
    """milliseconds     median time of one image, batch 1, float32, all cores
    peak_megabytes   most memory the process took beyond what it had before the network was made
    """

    milliseconds: float
    peak_megabytes: float


def measure(name: str, size: Size | None = None) -> Measured:
    """Run a network with random weights, in a process of its own, so that its memory is its own.

    size  (height, width) of the input; None for the one it was designed for
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_measure, name, size).result()


def _measure(name: str, size: Size | None) -> Measured:
    before = _forget_peak()
    model = create_model(name).eval()
    inputs = torch.zeros(1, model.in_channels, *(size or model.input_size))
    inputs = inputs.to(memory_format=torch.channels_last)
    times: list[float] = []
    with torch.inference_mode():
        model(inputs)
        while len(times) < LEAST or (sum(times) < SECONDS and len(times) < MOST):
            started = time.perf_counter()
            model(inputs)
            times.append(time.perf_counter() - started)
    return Measured(1e3 * statistics.median(times), (_peak_memory() - before) / 1e6)


def _forget_peak() -> int:
    """Bytes in memory now, from where the peak is counted; Linux can forget the peak of importing."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak_memory()


def _peak_memory() -> int:
    """Bytes, the most this process has had in memory at once; 0 where the system does not tell."""
    with contextlib.suppress(OSError, IndexError):
        status = Path("/proc/self/status").read_text()
        return 1024 * int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0])
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
