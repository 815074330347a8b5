"""What a measurement was made on: a ratio means little without it."""

import os
import platform
from pathlib import Path
from typing import Any

# What decides whether bfloat16 pays, and what the vector units can do.
TELLING = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16")


def describe() -> dict[str, Any]:
    """The processor, its cores and flags, and how busy the machine was when the run began."""
    facts = _cpuinfo()
    flags = set(facts.get("flags", "").split())
    return {
        "processor": facts.get("model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "flags": {name: name in flags for name in TELLING},
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "load": round(os.getloadavg()[0], 2),
    }


def _cpuinfo() -> dict[str, str]:
    """The first processor of Linux' list; nothing elsewhere."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    first = path.read_text().split("\n\n")[0]
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}
