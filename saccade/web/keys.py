"""Keys that programs show to be let in: a file of names and hashes, from which no key can be read back."""

import hashlib
import hmac
import secrets
from pathlib import Path

from saccade.errors import UsageError

PREFIX = "saccade_"


class Keys:
    """Who may ask. The file has a line a key: its name, a space, and the SHA-256 of the key in hexadecimal.

    The keys are 256 random bits, so that a plain hash keeps them as safe as a slow one would.
    """

    def __init__(self, path: Path) -> None:
        """Raises UsageError where the file cannot be read or is none of keys."""
        self._hashes: dict[str, bytes] = {}
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"the keys in {path} cannot be read ({error}); --new-key NAME makes the file") from None
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.startswith("#"):
                continue
            name, _, written = line.strip().rpartition(" ")
            if not name or len(written) != 64 or set(written) - set("0123456789abcdef"):
                raise UsageError(
                    f"{path}, line {number}: expected a name and the SHA-256 of a key in 64 hexadecimal digits; "
                    f"--new-key NAME writes such a line"
                )
            self._hashes[name] = bytes.fromhex(written)
        if not self._hashes:
            raise UsageError(f"{path} has no key, so that nobody could ask; --new-key NAME adds one")

    def name_of(self, key: str) -> str | None:
        """Whose key this is; None where it is nobody's. Takes as long whichever key it is nearest to."""
        given, found = hashlib.sha256(key.encode()).digest(), None
        for name, known in self._hashes.items():
            if hmac.compare_digest(given, known):
                found = name
        return found


def add_key(path: Path, name: str) -> str:
    """Make a key, keep its hash in the file, and return it: nobody can tell it later.

    Raises UsageError for a name that has no letters or is taken.
    """
    if not name.strip() or name != " ".join(name.split()) or name.startswith("#"):
        raise UsageError(f"a key needs a name, such as laptop; got {name!r}")
    known = ""
    if path.exists():
        known = path.read_text(encoding="utf-8")
        if any(line.rpartition(" ")[0] == name for line in known.splitlines()):
            raise UsageError(f"{path} has a key called {name!r} already; take its line out to make a new one")
    key = PREFIX + secrets.token_urlsafe(32)
    with path.open("a", encoding="utf-8") as file:
        path.chmod(0o600)
        file.write("\n" if known and not known.endswith("\n") else "")
        file.write(f"{name} {hashlib.sha256(key.encode()).hexdigest()}\n")
    return key
