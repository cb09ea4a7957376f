"""Why a request is not answered, in the shape of OpenAI's errors."""

from typing import Any

from comem_core.synthesis.generator import ServerGone

INVALID, SERVER = "invalid_request_error", "server_error"


class RequestFault(Exception):
    """A request that is refused or not answered: the HTTP status, a message, and the field that it is about."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ):
        super().__init__(message)
        self.status, self.message, self.param, self.code, self.retry_after = status, message, param, code, retry_after

    @property
    def body(self) -> dict[str, Any]:
        kind = INVALID if self.status < 500 else SERVER
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    @property
    def headers(self) -> dict[str, str]:
        """Return `Retry-After` where asking again helps, and how a client says who it is where it did not."""
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return headers | ({"WWW-Authenticate": "Bearer"} if self.status == 401 else {})


def make_fault(error: BaseException) -> RequestFault:
    """Return the fault of a request whose answering failed with an error."""
    match error:
        case RequestFault():
            return error
        case ServerGone():
            return RequestFault(503, "the reader's server does not answer", code="reader_gone", retry_after=5)
        case KeyError():
            return RequestFault(400, str(error.args[0]), param="comem.item_ids", code="unknown_item")
        case ValueError():
            return RequestFault(400, str(error), code="invalid_value")
    return RequestFault(500, "the answer failed; the service's log says why", code="internal_error")
