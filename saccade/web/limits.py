"""How much one service does for one stranger: every limit, in one place."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from saccade.errors import UsageError, unknown

MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Limits:
    """Each has a default that suits two cores and pictures from a phone.

    body            bytes of a request, all its files together
    files           pictures of one request
    pixels          of one picture, or of one frame of a film
    frames          of one film
    seconds         from a request's first byte to its answer; explanations may take `explain_seconds`
    decode_seconds  one picture may take to be decoded, or one frame
    decode_memory   bytes a decoding process may hold
    queue           requests under way at a time; what comes beyond is told to come back
    jobs            films of one client that wait or are looked at, and as many that are kept
    all_jobs        likewise of all clients together
    keep_seconds    what was made of a film is kept
    link_body       bytes that are fetched from a link
    link_seconds    fetching may take
    batch           the most pictures that are looked at together, where that is faster
    batch_wait      seconds that a picture waits for others to be looked at with
    drain_seconds   that what has begun may still take when the service is told to stop
    """

    body: int = 100 * MEGABYTE
    files: int = 64
    pixels: int = 100_000_000
    frames: int = 20_000
    seconds: float = 60.0
    explain_seconds: float = 300.0
    decode_seconds: float = 20.0
    decode_memory: int = 2_000 * MEGABYTE
    queue: int = 128
    jobs: int = 4
    all_jobs: int = 32
    keep_seconds: float = 3600.0
    link_body: int = 50 * MEGABYTE
    link_seconds: float = 15.0
    batch: int = 16
    batch_wait: float = 0.005
    drain_seconds: float = 60.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < (0 if name == "batch_wait" else 1):
                raise ValueError(f"Limits.{name} must be at least 1 but got {value}")


def limits_of(settings: Sequence[str]) -> Limits:
    """Limits as "name=number". Raises UsageError for an unknown name, or what is no number."""
    values: dict[str, float] = {}
    known = {field.name: field.type for field in fields(Limits)}
    for setting in settings:
        name, _, text = setting.partition("=")
        if name not in known:
            raise unknown("limit", name, known)
        try:
            values[name] = int(text) if known[name] in (int, "int") else float(text)
        except ValueError:
            raise UsageError(f"{name} is a number, such as {name}={vars(Limits())[name]:g}; got {setting!r}") from None
    try:
        return Limits(**values)  # type: ignore[arg-type]
    except ValueError as error:
        raise UsageError(str(error)) from None
