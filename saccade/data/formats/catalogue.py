"""The formats of data sets: `FORMATS` is the only list. Imported when a set is read or written, not before."""

from saccade.data.formats import coco, folder, huggingface, idx, masks, table, voc, yolo
from saccade.data.source import Format, Writable

# In the order in which they are tried: the more particular first. Class folders are recognised by having folders.
FORMATS: dict[str, Format] = {
    "idx": idx,
    "huggingface": huggingface,
    "coco": coco,
    "yolo": yolo,
    "voc": voc,
    "csv": table,
    "masks": masks,
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
