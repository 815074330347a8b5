"""The two errors a person meets. Each says what came, what was expected and what to do."""

import difflib
import re
from collections.abc import Iterable

MOST_NAMED = 40  # of the names that are known, where none is near


class SaccadeError(Exception):
    """The data, a file or the machine does not allow what was asked (exit code 1)."""


class UsageError(SaccadeError):
    """What was asked has no meaning here: an unknown name, option or path (exit code 2)."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for a name that is not there, with those that have it as one of their words, else the nearest one."""
    known = list(known)
    word = re.compile(rf"\b{re.escape(name)}\b", re.IGNORECASE)
    near = [one for one in known if name and word.search(one)][:3]
    near = near or difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.4)
    if near:
        *others, last = map(repr, near)
        advice = f"did you mean {', '.join(others)}{' or ' if others else ''}{last}?"
    else:
        more = f" and {len(known) - MOST_NAMED:,} more" if len(known) > MOST_NAMED else ""
        advice = f"known are: {', '.join(known[:MOST_NAMED]) or 'none'}{more}."
    return UsageError(f"There is no {kind} {name!r}; {advice}")
