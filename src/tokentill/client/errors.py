"""What a client raises. A refusal is a value everywhere else; here, where a developer calls, it is raised.

Requirement ids: R-PLAN-7, R-ABU-7.
"""

from __future__ import annotations

from tokentill.rules import refusals
from tokentill.rules.refusals import Code, Refusal


class Refused(Exception):
    """The till refused; nothing was changed. `refusal` says why, when to retry, and every way out."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal
        super().__init__(refusal.message)

    @property
    def code(self) -> Code:
        """The reason, for a program."""
        return self.refusal.code


class NotAllowed(Exception):
    """The till does not take the operator key: missing, wrong, revoked, or too many wrong ones before it."""


class Fault(Exception):
    """The till answered what no client can act on: a bug there, or something else answers at its address."""


class NotHere(Exception):
    """This can only be done where the database is, not over HTTP."""


def unknown_organization() -> Refused:
    """What a question about an organization that does not exist is answered with."""
    return Refused(refusals.unknown_organization())
