"""What is wrong with data: each thing with its place, the reason, and what to do."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from saccade.errors import SaccadeError

TOLD = 10  # findings, where an error tells of them


class DataError(SaccadeError):
    """A data set that cannot be used as it is."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    kind    "broken image", "box outside the image" ...
    where   the file, and in it the line or the annotation
    reason  what came and what was expected
    advice  what to do
    images  which images to look at, (split, index) each, where it is known
    object  which object of the first of these images is meant, 0..n-1 in it
    done    what the reader did, where it went on: "left out"; nothing where all is as it was
    """

    kind: str
    where: str
    reason: str
    advice: str
    images: tuple[tuple[str, int], ...] = ()
    object: int | None = None
    done: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}; {self.advice}"


@dataclass
class Findings:
    """Where a reader of annotations says what is wrong with one of them.

    strict  True: the first finding stops the reading with a DataError. False: it is kept, the reader leaves the
            annotation out, or does what `done` says, and goes on (as `check` and --skip-broken want it)
    """

    strict: bool = True
    kept: list[Finding] = field(default_factory=list)

    def add(self, kind: str, where: str, reason: str, advice: str, done: str = "left out") -> None:
        """One more; raises DataError when strict."""
        finding = Finding(kind, where, reason, advice, done=done)
        if self.strict:
            raise DataError(str(finding))
        self.kept.append(finding)


def told(findings: Sequence[Finding]) -> str:
    """The first of them, a line each, and how many more there are."""
    lines = [f"{finding.kind}: {finding}" for finding in findings[:TOLD]]
    return "\n".join(lines + [f"and {len(findings) - TOLD:,} more"] * (len(findings) > TOLD))
