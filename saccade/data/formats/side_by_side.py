"""Folders that lie beside each other: images, and for each of them another file of the same name."""

import os
from pathlib import Path

from saccade.data.decode import SUFFIXES
from saccade.data.findings import DataError, Findings
from saccade.data.formats.folder import SPLIT_NAMES


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


def by_stem(folder: Path, twice: str, findings: Findings) -> dict[str, Path]:
    """The images below a folder, by their path in it without the end; of two with one name the first.

    twice  what a second one is called among the findings
    """
    found: dict[str, Path] = {}
    for name, file in files_below(folder).items():
        stem = name.rpartition(".")[0]
        if stem in found:
            reason = f"{found[stem].name} has the same name but for the end"
            findings.add(twice, str(file), reason, "remove one of them")
        found.setdefault(stem, file)
    return found


def differ(folders: dict[str, Path]) -> None:
    """Raise DataError when two of these folders, by their names, are one and the same split."""
    splits = [SPLIT_NAMES[name] for name in folders]
    if len(set(splits)) < len(splits):
        listed = " and ".join(str(folder) for folder in folders.values())
        raise DataError(f"{listed}: two of these are the same split; keep one of them")
