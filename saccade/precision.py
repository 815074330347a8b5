"""Which number format the machine is fast in."""

import torch

from saccade.errors import unknown

WANTED = ("auto", "float32", "bfloat16")


def choose(wanted: str, device: torch.device) -> torch.dtype:
    """bfloat16 or float32.

    wanted  "auto", "float32" or "bfloat16". "auto" takes bfloat16 only where the hardware multiplies in it: other
            processors emulate it, several times slower than float32.

    Raises UsageError for anything else.
    """
    if wanted not in WANTED:
        raise unknown("precision", wanted, WANTED)
    if wanted == "auto":
        return torch.bfloat16 if fast_bfloat16(device) else torch.float32
    return torch.bfloat16 if wanted == "bfloat16" else torch.float32


def fast_bfloat16(device: torch.device) -> bool:
    """Whether this device has bfloat16 multiplication."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        return any(_cpu_has(feature) for feature in ("amx_tile", "avx512_bf16"))
    return False


def _cpu_has(feature: str) -> bool:
    # torch keeps these questions private, but has no other way to ask.
    ask = getattr(torch.cpu, f"_is_{feature}_supported", None)
    return bool(ask and ask())
