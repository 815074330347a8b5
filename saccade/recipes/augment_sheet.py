"""A sheet of augmentation: images as evaluation sees them, and some of the random views that training will see."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from saccade import checkpoint
from saccade.data.augment import Augmentation, Look
from saccade.data.bend import move_instances, move_labels
from saccade.data.decode import DecodeError, render
from saccade.data.findings import DataError, Findings
from saccade.data.policies import POLICIES
from saccade.data.policy_steps import in_words
from saccade.data.source import Source, Split, read
from saccade.errors import UsageError, unknown
from saccade.keyed import generator
from saccade.progress import track
from saccade.recipes.contact_sheet import choose
from saccade.report.draw import draw
from saccade.report.page import Block, Code, Fact, Page, Pictures, Prose, Section, Tile
from saccade.report.page import render as render_page
from saccade.report.sheet import grid
from saccade.structures import Preprocessing
from saccade.training.config import explain_validation


@dataclass(frozen=True, eq=False)
class Row:
    """One image of the sheet.

    kinds    with the things drawn, with the label map, or as it is; of each first as evaluation sees it, then the views
    problem  why it cannot be shown
    """

    split: str
    id: str
    kinds: list[list[Tile]]
    problem: str = ""


@dataclass(frozen=True, eq=False)
class AugmentSheet:
    """A sheet that was written."""

    path: Path
    source: Source
    augmentation: Augmentation
    rows: list[Row]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        images = [{"split": row.split, "id": row.id, "problem": row.problem or None} for row in self.rows]
        return {
            "data": self.source.name,
            "out": str(self.path),
            "augmentation": self.augmentation.model_dump(exclude_unset=True),
            "images": images,
        }


def make_augment_sheet(
    data: str | Path,
    out: Path,
    policy: str,
    amounts: Mapping[str, Any] | None = None,
    *,
    count: int = 8,
    views: int = 5,
    size: int = 224,
    split: str | None = None,
    seed: int = 0,
) -> AugmentSheet:
    """Draw `views` random views each of `count` images of DATA, as a network of this input size will see them.

    out      a page (.html) or a picture (.png)
    policy   a name of `POLICIES`, or "none"
    amounts  those of `Augmentation` that are to differ from the policy's
    size     side in pixels of what the network sees
    split    whose images; None takes "train" where there is one, else the first

    Raises UsageError for an unknown policy, amount, split or kind of file.
    """
    if out.suffix.lower() not in (".html", ".png"):
        raise UsageError(f"a sheet of augmentation is a page or a picture, .html or .png, but --out is {out}")
    if min(count, views, size) < 1:
        raise UsageError(
            f"expected 1 image, view and pixel or more, got --count {count}, --views {views}, --size {size}"
        )
    augmentation = augmentation_of(policy, amounts or {})
    source = read(data, Findings(strict=False))
    split = split or ("train" if "train" in source.splits else next(iter(source.splits)))
    if split not in source.splits:
        raise unknown("split", split, source.splits)
    chosen = choose(source.splits[split], source, count, None, split)
    drawn = (_row(source, split, index, augmentation, views, size, seed) for index in chosen)
    sheet = AugmentSheet(out, source, augmentation, list(track(drawn, "drawing", len(chosen))))
    content = _as_png(sheet) if out.suffix.lower() == ".png" else _as_page(sheet, policy, size).encode()
    checkpoint.write(out, content)
    return sheet


def augmentation_of(policy: str, amounts: Mapping[str, Any]) -> Augmentation:
    """A policy by its name, with some amounts changed. Raises UsageError that names what is wrong."""
    if policy != "none" and policy not in POLICIES:
        raise unknown("policy", policy, ["none", *POLICIES])
    for name in amounts:
        if name not in Augmentation.model_fields:
            raise unknown("amount", name, Augmentation.model_fields)
    base = POLICIES[policy].model_dump(exclude_unset=True) if policy != "none" else {}
    try:
        return Augmentation.model_validate(base | dict(amounts))
    except ValidationError as error:
        raise UsageError(explain_validation(error)) from None


def _row(source: Source, name: str, index: int, augmentation: Augmentation, views: int, size: int, seed: int) -> Row:
    """One image; what is wrong with it is said, not raised."""
    split, preprocessing = source.splits[name], Preprocessing.standard((size, size))
    id = str(split.ids[index])
    try:
        picture = split.open(index)
        plain = preprocessing.view(picture.size)
        looks = [("as evaluated", Look(render(picture, plain, preprocessing), plain, None, ()))]
        for number in range(views):
            # A file can be decoded only once.
            look = augmentation.look(split.open(index), preprocessing, generator(seed, number, index))
            looks.append((in_words(look.steps) or f"view {number + 1}", look))
        drawn = [list(_drawn(source, split, index, look, picture.size)) for _, look in looks]
    except DecodeError as error:
        return Row(name, id, [], f"cannot be read: {error.reason}")
    except (DataError, ValueError) as error:
        return Row(name, id, [], str(error))
    titles = [title for title, _ in looks]
    kinds = [list(map(Tile, kind, titles)) for kind in zip(*drawn, strict=True)]
    return Row(name, id, kinds)


def _drawn(source: Source, split: Split, index: int, look: Look, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """The image [h, w, 3] uint8 with its things, and with its label map; as it is where it has neither.

    size  (height, width) of the original
    """
    if split.objects is not None:
        things = split.objects[index]
        things = replace(things, size=size) if things.size == (0, 0) else things
        moved = move_instances(things, look.view, look.field, split.objects.skeleton)
        # Names of what has left the image would only pile up along its edge.
        left, top, right, bottom = moved.boxes.T
        height, width = moved.size
        seen = (left < width) & (top < height) & (right > 0) & (bottom > 0)
        yield draw(look.image, moved.take(seen), source.classes, split.objects.skeleton)
    if split.label_maps is not None:
        known = split.label_maps[index]
        if known.labels.shape != size:
            raise DataError(f"marked on an image of (height, width) {known.labels.shape}, not {size}")
        yield draw(look.image, move_labels(known, look.view, look.field), known.classes)
    if split.objects is None and split.label_maps is None:
        yield look.image


def _as_page(sheet: AugmentSheet, policy: str, size: int) -> str:
    amounts = sheet.augmentation.model_dump(exclude_unset=True)
    facts = [
        Fact("policy", policy, ", ".join(amounts) or "nothing varies"),
        Fact("network pixels", f"{size} × {size}", "height × width"),
    ]
    sections = []
    for row in sheet.rows:
        large = any(not tile.tiny for kind in row.kinds for tile in kind)
        blocks: list[Block] = [Pictures(kind, "", large) for kind in row.kinds]
        sections.append(Section(row.id, blocks or [Prose(row.problem)]))
    told = "\n".join(f"{name} = {_as_toml(value)}" for name, value in amounts.items()) or "# nothing varies"
    sections.append(Section("Amounts", [Code(told)]))
    subtitle = "Augmentation: each image as evaluation sees it, then as training does"
    return render_page(Page(Path(sheet.source.name).name, subtitle, facts, sections))


def _as_toml(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    return str(list(value)) if isinstance(value, tuple) else str(value)


def _as_png(sheet: AugmentSheet) -> bytes:
    """A row an image and kind."""
    kinds = [(row.id, kind) for row in sheet.rows for kind in row.kinds]
    if not kinds:
        raise DataError(
            "none of the images can be shown:\n" + "\n".join(f"{row.id}: {row.problem}" for row in sheet.rows)
        )
    return grid([replace(tile, detail=id) for id, kind in kinds for tile in kind], len(kinds[0][1]))
