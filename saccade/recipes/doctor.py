"""What does this machine have, and is anything wrong with it?"""

import importlib.metadata
import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from packaging.requirements import Requirement

from saccade import __version__, precision
from saccade.backbones.weights import cache_folder


@dataclass(frozen=True)
class Health:
    """Facts by name, and what is wrong in words."""

    facts: dict[str, str]
    problems: list[str]


def examine() -> Health:
    """Versions, processors, precision, folders."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    fast = precision.fast_bfloat16(device)
    shelf = os.environ.get("SACCADE_WEIGHTS")
    facts = {
        "saccade": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "processor": f"{os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}",
        "device": torch.cuda.get_device_name()
        if device.type == "cuda"
        else "no GPU that torch can use; the processor is used",
        "precision": "bfloat16" if fast else "float32 (no fast bfloat16 here)",
        "weights cache": str(cache_folder()),
        "SACCADE_WEIGHTS": shelf or "not set",
        "free disk": f"{shutil.disk_usage(Path.cwd()).free / 1e9:.0f} GB here",
    }
    problems = _unmet_requirements()
    if shelf and not Path(shelf).is_dir():
        problems.append(f"SACCADE_WEIGHTS names {shelf}, which is not a folder")
    return Health(facts, problems)


def _unmet_requirements() -> list[str]:
    """What saccade needs and does not find, or finds too old."""
    problems = []
    for line in importlib.metadata.requires("saccade") or []:
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            problems.append(f"{requirement} is not installed; pip install '{requirement}'")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            problems.append(f"{requirement.name} {version} is installed, {requirement} is needed")
    return problems
