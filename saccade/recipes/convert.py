"""A data set in another format."""

from dataclasses import dataclass
from pathlib import Path

from saccade.data.findings import Finding, Findings
from saccade.data.formats.catalogue import WRITABLE, write
from saccade.data.formats.writing import refuse_filled
from saccade.data.source import Source, read
from saccade.errors import unknown


@dataclass(frozen=True)
class Conversion:
    """What became of a set.

    source   what was read
    lost     what the new format cannot carry, in words
    skipped  annotations that were left out because they cannot be read
    """

    source: Source
    lost: list[str]
    skipped: list[Finding]


def convert(data: str | Path, to: str, out: Path, skip_broken: bool = False) -> Conversion:
    """Write DATA into the new folder `out` in the format `to`; images are copied as they are.

    skip_broken  go on without annotations that cannot be read; else the first one is an error

    Raises UsageError for an unknown format or a folder that is not empty, DataError when the set cannot be used.
    """
    if to not in WRITABLE:
        raise unknown("format to convert to", to, WRITABLE)
    refuse_filled(out)
    findings = Findings(strict=not skip_broken)
    source = read(data, findings)
    return Conversion(source, write(source, to, out), findings.kept)
