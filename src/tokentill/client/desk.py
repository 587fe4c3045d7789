"""The desk: what an operator does with accounts and asks about them, the same in this process and over HTTP.

Requirement ids: R-LED-1, R-LED-5, R-LED-8, R-LED-9, R-LIC-1, R-LIC-3, R-LIC-4, R-PLAN-4,
R-PLAN-6, R-ABU-6, R-ABU-8, R-SALE-8.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeVar

from msgspec import UNSET, UnsetType

from tokentill.client.caring import Caring
from tokentill.client.errors import Refused, unknown_organization
from tokentill.client.refunds import Refunds
from tokentill.client.transport import Transport
from tokentill.ports import Heads, Health, Ids, OperatorKey, Verdict
from tokentill.rules import commands as c
from tokentill.rules import names, wellformed
from tokentill.rules.balance import Balance
from tokentill.rules.entries import LotUnit
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Refusal
from tokentill.wiring import (
    CatalogView,
    Charging,
    Checks,
    Features,
    JournalView,
    NewOperatorKey,
    OperationView,
)

T = TypeVar("T")
GrantOrigin = Literal["grant", "pack", "bonus", "credit"]
When = Literal["auto", "now", "period_end"]


class Desk(Refunds, Caring):
    """What a till can do beside running operations. `actor` stands on the record of what is done by hand."""

    def __init__(self, transport: Transport, charging: Charging, ids: Ids, actor: str) -> None:
        self._transport = transport
        self._charging = charging
        self._ids = ids
        self._actor = actor

    async def open(
        self,
        organization: str,
        *,
        plan: str | UnsetType | None = UNSET,
        anchor: int | None = None,
        simulated: bool = False,
        idempotency_key: str | None = None,
    ) -> Receipt:
        """Open an account, on the catalog's default plan unless `plan` names another (None: no plan).

        `simulated`: its clock stands still and is moved by `move_clock`; refused without test payments.
        """
        command = c.Open(plan=plan, anchor=anchor, simulated=simulated)
        return await self._submit(organization, command, idempotency_key)

    async def grant(
        self,
        organization: str,
        tokens: int,
        *,
        origin: GrantOrigin = "grant",
        expires_at: int | None = None,
        unit: LotUnit = "token",
        reference: str | None = None,
        reason: str | None = None,
        idempotency_key: str | None = None,
    ) -> Receipt:
        """Add tokens, or money credit in minor units; they never expire unless `expires_at` says when."""
        command = c.Grant(
            tokens=tokens,
            origin=origin,
            expires_at=expires_at,
            unit=unit,
            reference=reference,
            reason=reason,
            actor=self._actor,
        )
        return await self._submit(organization, command, idempotency_key)

    async def adjust(
        self, organization: str, tokens: int, reason: str, *, idempotency_key: str | None = None
    ) -> Receipt:
        """Correct the balance by hand, up or down, on the record (R-LED-8)."""
        command = c.Adjust(tokens=tokens, reason=reason, actor=self._actor)
        return await self._submit(organization, command, idempotency_key)

    async def plan(
        self, organization: str, plan: str | None, *, when: When = "auto", idempotency_key: str | None = None
    ) -> Receipt:
        """Move to `plan` (None cancels); upgrades take effect now, others at the period's end (R-PLAN-4)."""
        return await self._submit(organization, c.ChangePlan(plan=plan, when=when), idempotency_key)

    async def freeze(
        self,
        organization: str,
        *,
        failed_at: int | None = None,
        reason: str | None = None,
        idempotency_key: str | None = None,
    ) -> Receipt:
        """Payment has failed: AI off, tokens set aside until `restore`, whatever invoice is paid (R-LIC-1, R-LIC-3)."""
        return await self._submit(organization, c.Freeze(failed_at=failed_at, reason=reason), idempotency_key)

    async def restore(
        self, organization: str, *, reason: str | None = None, idempotency_key: str | None = None
    ) -> Receipt:
        """Payment is fixed: everything back at once (R-LIC-3)."""
        return await self._submit(organization, c.Restore(reason=reason), idempotency_key)

    async def reset(
        self,
        organization: str,
        *,
        end: int | None = None,
        reason: str | None = None,
        idempotency_key: str | None = None,
    ) -> Receipt:
        """Begin a new period now, until `end` or by the plan's cycle (R-PLAN-4)."""
        return await self._submit(organization, c.Reset(end=end, reason=reason), idempotency_key)

    async def cap(self, organization: str, cap: int | None, *, idempotency_key: str | None = None) -> Receipt:
        """Set the customer's spending cap for overage in minor units; None: the plan's own (R-PLAN-6)."""
        return await self._submit(organization, c.SetCap(cap=cap), idempotency_key)

    async def unblock(
        self, organization: str, user: str, reason: str, *, idempotency_key: str | None = None
    ) -> Receipt:
        """Lift a user's block (R-ABU-6)."""
        command = c.Unblock(user=user, reason=reason, actor=self._actor)
        return await self._submit(organization, command, idempotency_key)

    # ---- asking --------------------------------------------------------------------------------------

    async def balance(self, organization: str) -> Balance:
        """The balance as of the last commit (R-LED-1)."""
        return _known(await self._transport.balance(organization))

    async def journal(self, organization: str, *, before: str | None = None, limit: int = 50) -> JournalView:
        """A page of the journal, newest first (R-LED-5); `before` is the `next` of the page before."""
        _may(wellformed.page_refused(limit, wellformed.ENTRIES_A_PAGE_MAX))
        return _known(await self._transport.journal(organization, before, limit))

    async def operation(self, organization: str, operation: str) -> OperationView | None:
        """Everything that happened to one operation; None if it or its organization is unknown."""
        return await self._transport.operation(organization, operation)

    async def organizations(self, *, after: str = "", limit: int = 100) -> Sequence[str]:
        """Organization ids in order, after the id `after`."""
        _may(wellformed.page_refused(limit, wellformed.ORGANIZATIONS_A_PAGE_MAX))
        return await self._transport.organizations(after, limit)

    async def features(self, organization: str) -> Features:
        """Which features the organization may run now, and why not the others (R-LIC-4)."""
        return _known(await self._transport.features(organization))

    async def check(
        self,
        organization: str,
        feature: str,
        *,
        user: str | None = None,
        quantity: int = 1,
        tokens: int | None = None,
    ) -> Checks:
        """What every layer would say to this use, changing nothing (`runAbuseCheckBattery`, R-ABU-8)."""
        use = c.Reserve(feature=feature, user=user, quantity=quantity, tokens=tokens)
        answer = await self._transport.check(organization, use)
        if isinstance(answer, Refusal):
            raise Refused(answer)
        return _known(answer)

    async def catalog(self) -> CatalogView:
        """What is sold."""
        return await self._transport.catalog()

    async def health(self) -> Health:
        """How the till is doing."""
        return await self._transport.health()

    async def forget_user(self, organization: str, user: str) -> bool:
        """Erase the name of a user, and what it wrote with refunds; the journal keeps only the opaque id.

        False if there was none.
        """
        return _known(await self._transport.forget_user(organization, user))

    async def create_key(self, name: str, *, idempotency_key: str | None = None) -> NewOperatorKey:
        """A new operator key; its text is shown this once (R-SALE-8)."""
        return await self._transport.create_operator_key(name, idempotency_key or self._ids.operation())

    async def keys(self) -> Sequence[OperatorKey]:
        """Every operator key, oldest first, without its secret."""
        return await self._transport.operator_keys()

    async def revoke_key(self, key_id: str) -> bool:
        """Revoke an operator key; False if it is unknown or revoked already."""
        return await self._transport.revoke_operator_key(key_id)

    async def verify(self, older: Heads | None = None) -> Verdict:
        """Replay the whole journal against what is stored (R-LED-5). Raises `NotHere` over HTTP.

        `older`: what `heads()` of an earlier verdict gave, kept outside the database; then a journal that was
        cut short and an account that was deleted show too.
        """
        return await self._transport.verify(older)

    async def _submit(self, organization: str, command: c.Command, key: str | None) -> Receipt:
        check_key(key)
        envelope = c.Envelope(organization, command, key or self._ids.operation(), keyed=key is not None)
        answer = await self._charging.submit(envelope)
        if isinstance(answer, Refusal):
            raise Refused(answer)
        return answer


def _may(wrong: Refusal | None) -> None:
    if wrong is not None:
        raise Refused(wrong)


def _known(answer: T | None) -> T:
    if answer is None:
        raise unknown_organization()
    return answer


def check_key(key: str | None) -> None:
    """Raise `ValueError` if `key` cannot be an idempotency key: 1 to 255 printable ASCII characters."""
    fault = None if key is None else names.key_fault(key)
    if fault is not None:
        raise ValueError(f"an idempotency key {fault}")
