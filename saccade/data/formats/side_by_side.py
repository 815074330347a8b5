"""Folders that lie beside each other: images, and for each of them another file of the same name."""

import os
from pathlib import Path

from saccade.data.decode import SUFFIXES


def child(folder: Path, names: tuple[str, ...]) -> Path | None:
    """The first of these sub-folders, in upper or lower case."""
    here = {entry.name.lower(): entry for entry in sorted(folder.iterdir()) if entry.is_dir()}
    return next((here[name] for name in names if name in here), None)


def files_below(folder: Path) -> dict[str, Path]:
    """The images below a folder, by their path in it; hidden ones are none."""
    found: dict[str, Path] = {}
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                found[Path(here, name).relative_to(folder).as_posix()] = Path(here, name)
    return found
