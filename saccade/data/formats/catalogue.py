"""The formats of data sets: `FORMATS` is the only list. Imported when a set is read or written, not before."""

from pathlib import Path

from saccade.data.findings import DataError
from saccade.data.formats import coco, folder, huggingface, idx, masks, pairs, table, voc, yolo
from saccade.data.formats.writing import whole_folder
from saccade.data.source import Format, Source, Writable
from saccade.errors import UsageError, unknown

# In the order in which they are tried: the more particular first. Class folders are recognised by having folders.
FORMATS: dict[str, Format] = {
    "idx": idx,
    "huggingface": huggingface,
    "coco": coco,
    "yolo": yolo,
    "voc": voc,
    "csv": table,
    "masks": masks,
    "pairs": pairs,
    "folders": folder,
}
WRITABLE: dict[str, Writable] = {
    "coco": coco,
    "voc": voc,
    "yolo": yolo,
    "masks": masks,
    "csv": table,
    "huggingface": huggingface,
    "folders": folder,
}


def write(source: Source, form: str, out: Path) -> list[str]:
    """A copy of a set in the new folder `out`, in one of the `WRITABLE` formats: all of it, or nothing.

    Returns what the format cannot carry, in words, with counts.

    Raises UsageError when the format is unknown or has no place for what the set says, when something is in `out`, or
    when `out` is inside the set's own folder; DataError when an image cannot be copied.
    """
    if form not in WRITABLE:
        raise unknown("format to convert to", form, WRITABLE)
    own = Path(source.name)
    if own.is_dir() and out.resolve().is_relative_to(own.resolve()):
        raise UsageError(f"{out} is inside {own}, which would then hold its own copy; name a folder elsewhere")
    try:
        with whole_folder(out) as folder:
            return WRITABLE[form].write(source, folder)
    except OSError as error:
        raise DataError(f"{out} cannot be written ({error.strerror or error}); nothing of it is left") from None
