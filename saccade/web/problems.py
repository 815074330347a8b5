"""Every answer that is none: a status, a word for programs, and what came, what was expected and what to do."""

from typing import Any

from fastapi.responses import JSONResponse

from saccade.data.decode import DecodeError, TooLarge, UnknownKind
from saccade.errors import SaccadeError, UsageError
from saccade.web.answers import Problem
from saccade.web.jobs import TooMany
from saccade.web.links import LinkError
from saccade.web.runner import Late

RETRY_AFTER = 2  # seconds, when there is too much to do


class Refusal(Exception):
    """A request that gets no answer.

    status  of HTTP
    code    one word for programs
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message

    def problem(self, request: str) -> dict[str, Any]:
        """As it stands in the answer."""
        return Problem(code=self.code, message=self.message, request=request).model_dump()

    def response(self, request: str) -> JSONResponse:
        """The answer itself."""
        headers = {"Retry-After": str(RETRY_AFTER)} if self.status in (429, 503) else {}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse({"error": self.problem(request)}, self.status, headers)


def refusal_of(error: Exception) -> Refusal | None:
    """What an error of ours is to a client; None for what is nobody's fault but ours."""
    match error:
        case Refusal():
            return error
        case TooLarge():
            return Refusal(413, "too_large", f"the file {error.reason}")
        case UnknownKind():
            return Refusal(415, "unsupported", f"the file {error.reason}")
        case DecodeError():
            return Refusal(422, "unreadable", f"the file {error.reason}")
        case LinkError(large=True):
            return Refusal(413, "too_large", str(error))
        case LinkError(late=True):
            return Refusal(504, "link_late", str(error))
        case LinkError():
            return Refusal(422, "link_refused", str(error))
        case TooMany():
            return Refusal(
                429, "too_many_films", "as many films are looked at as may be at a time; stop one, or come later"
            )
        case Late() | TimeoutError():
            return Refusal(504, "late", "there was too much to do before it; come again")
        case UsageError():
            return Refusal(422, "no_meaning", str(error))
        case SaccadeError():
            return Refusal(422, "impossible", str(error))
    return None
