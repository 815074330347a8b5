"""The formats of data sets: `FORMATS` is the only list. Imported when a set is read or written, not before."""

from saccade.data.formats import folder, idx
from saccade.data.source import Format, Writable

# In the order in which they are tried: the more particular first. Class folders are recognised by having folders.
FORMATS: dict[str, Format] = {
    "idx": idx,
    "folders": folder,
}
WRITABLE: dict[str, Writable] = {
    "folders": folder,
}
