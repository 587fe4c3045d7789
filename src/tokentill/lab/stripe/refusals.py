"""What Stripe answers when it refuses: an error object with a type, a code, a parameter."""

from __future__ import annotations

from typing import Any


class Refused(Exception):
    """A request that is refused; `body` is what the client gets."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        **more: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error: dict[str, Any] = {"message": message, "type": kind, **more}
        if code is not None:
            self.error["code"] = code
            self.error["doc_url"] = f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}"
        if param is not None:
            self.error["param"] = param

    def body(self) -> dict[str, Any]:
        """The answer's body."""
        return {"error": self.error}


def missing(kind: str, ident: str, param: str = "id") -> Refused:
    """There is no object of this id."""
    noun = kind.rpartition(".")[2].replace("_", " ")
    return Refused(f"No such {noun}: '{ident}'", status=404, code="resource_missing", param=param)


def unauthorized(message: str) -> Refused:
    """The key is missing or wrong."""
    return Refused(message, status=401)


def card_error(code: str, message: str, **more: Any) -> Refused:
    """The card was declined, or its bank wants the customer."""
    return Refused(message, status=402, kind="card_error", code=code, **more)
