"""Pairs of images: what is there, and what it should become.

    inputs/ + targets/                  also input, target
    inputs/train/ + targets/train/      and val, test
    train/inputs/ + train/targets/      and val, test

The target of inputs/a/1.jpg is targets/a/1 with any ending, an image as large. Inputs without a target, and targets
without an input, are faults.
"""

from pathlib import Path

from saccade.data.findings import DataError, Findings
from saccade.data.formats.folder import SPLIT_NAMES
from saccade.data.formats.side_by_side import by_stem, child, differ, files_below
from saccade.data.sizes import upright_sizes
from saccade.data.source import Source, Split
from saccade.structures import COLOURS

NAME = "pairs of images"
INPUTS, TARGETS = ("inputs", "input"), ("targets", "target")


def recognises(path: Path) -> bool:
    """Whether `path` has folders of inputs and of targets beside each other."""
    try:
        return path.is_dir() and bool(_folders(path))
    except OSError:
        return False
    except DataError:  # reading says it
        return True


def read(path: Path, findings: Findings) -> Source:
    """The set at `path`. An input without a target of its size is left out where `findings` goes on."""
    splits = {name: _split(inputs, targets, findings) for name, (inputs, targets) in _folders(path).items()}
    splits = {name: split for name, split in splits.items() if len(split)}
    if not splits:
        raise DataError(f"{path} has no image with a target; expected inputs/1.png and targets/1.png")
    return Source(str(path), NAME, COLOURS, splits)


def _folders(path: Path) -> dict[str, tuple[Path, Path]]:
    """The folders of inputs and of targets of each split."""
    inputs, targets = child(path, INPUTS), child(path, TARGETS)
    if inputs and targets:
        own = {entry.name.lower(): entry for entry in sorted(inputs.iterdir()) if entry.is_dir()}
        if own and all(name in SPLIT_NAMES for name in own):
            differ(own)
            return {SPLIT_NAMES[name]: (entry, targets / entry.name) for name, entry in own.items()}
        return {"all": (inputs, targets)}
    pairs: dict[str, tuple[Path, Path]] = {}
    for entry in sorted(path.iterdir()):
        if entry.is_dir() and entry.name.lower() in SPLIT_NAMES:
            inputs, targets = child(entry, INPUTS), child(entry, TARGETS)
            if inputs and targets:
                pairs[entry.name.lower()] = (inputs, targets)
    differ({name: inputs.parent for name, (inputs, _) in pairs.items()})
    return {SPLIT_NAMES[name]: pair for name, pair in pairs.items()}


def _split(inputs: Path, targets: Path, findings: Findings) -> Split:
    waiting = by_stem(targets, "two targets", findings)
    ids, images, others = [], [], []
    claimed: set[str] = set()
    for id, image in files_below(inputs).items():
        stem = id.rpartition(".")[0]
        if stem in claimed or stem not in waiting:
            reason = "shares its target with another input" if stem in claimed else f"has no target {targets / stem}"
            findings.add("missing target", str(image), reason, "add the target, or remove the input")
            continue
        claimed.add(stem)
        ids.append(id)
        images.append(image)
        others.append(waiting[stem])
    for stem in sorted(set(waiting) - claimed):
        reason = f"there is no input {stem} in {inputs}"
        findings.add("missing input", str(waiting[stem]), reason, "add the input, or remove the target")
    sizes, other_sizes = upright_sizes(images), upright_sizes(others, "measuring targets")
    kept = []
    for index, (size, other) in enumerate(zip(sizes.tolist(), other_sizes.tolist(), strict=True)):
        # An image that cannot be read has no size, and is found when it is read.
        if all(size) and all(other) and size != other:
            reason = f"is {other[1]} x {other[0]}, but its input is {size[1]} x {size[0]}"
            findings.add("target of another size", str(others[index]), reason, "make it as large as the input")
        else:
            kept.append(index)
    return Split([images[i] for i in kept], [ids[i] for i in kept], targets=[others[i] for i in kept])
