"""The two errors a person meets. Each says what came, what was expected and what to do."""

import difflib
from collections.abc import Iterable


class SaccadeError(Exception):
    """The data, a file or the machine does not allow what was asked (exit code 1)."""


class UsageError(SaccadeError):
    """What was asked has no meaning here: an unknown name, option or path (exit code 2)."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for a name that is not there, with the nearest one that is."""
    known = list(known)
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.4)
    advice = f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(known) or 'none'}."
    return UsageError(f"There is no {kind} {name!r}; {advice}")
