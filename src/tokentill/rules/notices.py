"""Notices: which entries of the journal a customer or another system is told of, and the facts that they are told.

A notice is read off one entry, so reading the journal twice tells nothing twice: its id is the entry's. The receipt of
what brings no lot of its own (a plan, a renewal, an upgrade, a bill of overage) is read off its purchase, whose id it
has. The type is part of the public interface; a webhook carries exactly `Notice` as JSON.

    balance.low          the balance fell to 20 % of the allowance, or to 10 tokens, and not to nothing: once for
                         each crossing
    balance.exhausted    nothing is left
    tokens.expiring      bought tokens will expire soon
    purchase.delivered   a purchase is paid and what it brings is there: the receipt, with the balance after it
    purchase.ready       what was bought can be used: the delivery message, where models are sold
    tokens.taken_back    tokens of a purchase were taken back, by a refund or a lost dispute
    tokens.set_aside     tokens of a purchase cannot be spent for now
    tokens.given_back    they can be spent again
    payment.failed       the payment of the plan failed: AI is off
    payment.recovered    it was mended: everything is back
    licence.changed      the next rung of the ladder of an unpaid plan was reached
    period.started       a new period began
    overage.billed       the period's overage is due
    plan.changed         the plan is another one
    topup.stopped        the automatic top-up stopped itself: why, and what to do (`tokentill.rules.topups`)
    refund.…             how a refund stands (`tokentill.rules.refund_notices`)

Times epoch milliseconds, money minor units.

Requirement ids: R-PLAN-8, R-PACK-7, R-SALE-4, R-LIC-1, R-LIC-3.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from tokentill.rules import entries as e
from tokentill.rules.purchases import Purchase

Type = Literal[
    "balance.low", "balance.exhausted", "tokens.expiring", "purchase.delivered", "purchase.ready", "tokens.taken_back",
    "tokens.set_aside", "tokens.given_back", "payment.failed", "payment.recovered", "licence.changed",
    "period.started", "overage.billed", "plan.changed", "refund.waiting", "refund.settled", "refund.denied",
    "refund.failed", "topup.stopped",
]  # fmt: skip
TYPES: tuple[str, ...] = Type.__args__  # type: ignore[attr-defined]  # a Literal has them

ALWAYS = frozenset(
    {
        "purchase.delivered", "payment.failed",
        "refund.waiting", "refund.settled", "refund.denied", "refund.failed",
    }
)  # fmt: skip
"""E-mails that a customer cannot turn off: what was paid, what was not, and the answer to a refund asked for."""

MAILED = frozenset(TYPES) - {"licence.changed", "tokens.set_aside", "tokens.given_back", "plan.changed"}
"""Notices that are sent by e-mail; webhooks get all of them."""


class Notice(Struct, frozen=True, kw_only=True):
    """What happened. `id`: the organization's entry; `data`: its figures, by the names of the type."""

    id: str
    type: Type
    organization: str
    at: int
    balance: int
    data: dict[str, Any]


def notice_of(organization: str, entry: e.Entry) -> Notice | None:
    """The notice that an entry is worth, None for most of them."""
    found = _read(entry)
    if found is None:
        return None
    kind, data = found
    return Notice(
        id=f"{organization}:{entry.seq}",
        type=kind,
        organization=organization,
        at=entry.time,
        balance=entry.balance + getattr(entry, "brings", 0),
        data=data,
    )


def receipt_of(purchase: Purchase, at: int, balance: int) -> Notice:
    """The receipt of a plan, renewal, upgrade or bill of overage, and the `balance` after it (R-PACK-7)."""
    return Notice(
        id=f"{purchase.organization}:{purchase.id}",
        type="purchase.delivered",
        organization=purchase.organization,
        at=at,
        balance=balance,
        data={
            "purchase": purchase.id, "kind": purchase.kind, "item": purchase.item, "tokens": purchase.tokens,
            "bonus": purchase.bonus, "amount": purchase.amount, "currency": purchase.currency,
            "start": purchase.plan_start, "end": purchase.plan_end,
        },
    )  # fmt: skip


def ready_of(purchase: Purchase, at: int, balance: int) -> Notice:
    """That what was bought can be used (R-SALE-4). The message itself is put together when it is sent."""
    return Notice(
        id=f"{purchase.organization}:{purchase.id}:ready",
        type="purchase.ready",
        organization=purchase.organization,
        at=at,
        balance=balance,
        data={"purchase": purchase.id},
    )


def _read(entry: e.Entry) -> tuple[Type, dict[str, Any]] | None:
    if isinstance(entry, e.Warned):
        return _warning(entry)
    if isinstance(entry, e.Granted):
        if entry.origin != "pack" or entry.unit != "token":
            return None
        return "purchase.delivered", {
            "purchase": entry.reference, "tokens": entry.tokens, "expires_at": entry.expires_at, "lot": entry.lot,
        }  # fmt: skip
    if isinstance(entry, e.Revoked):
        if entry.origin == "adjustment" or entry.unit != "token" or not entry.tokens:
            return None
        return "tokens.taken_back", {
            "purchase": entry.reference, "tokens": entry.tokens, "origin": entry.origin,
        }  # fmt: skip
    if isinstance(entry, e.Frozen):
        return (
            None
            if entry.again
            else ("payment.failed", {"failed_at": entry.failed_at, "tokens": entry.tokens})
        )
    if isinstance(entry, e.Restored):
        return "payment.recovered", {"tokens": entry.tokens + entry.brings}
    return _plan(entry) or _aside(entry)


def _warning(entry: e.Warned) -> tuple[Type, dict[str, Any]] | None:
    if entry.code == "exhausted":
        return "balance.exhausted", {}
    if entry.code in ("percent", "tokens"):
        if entry.tokens <= 0:
            return None  # one fall, one notice: that nothing is left says it
        return "balance.low", {"code": entry.code, "threshold": entry.threshold}
    return "tokens.expiring", {
        "tokens": entry.tokens, "lot": getattr(entry, "lot", None), "expires_at": getattr(entry, "expires_at", None),
    }  # fmt: skip


def _plan(entry: e.Entry) -> tuple[Type, dict[str, Any]] | None:
    if isinstance(entry, e.PeriodStarted):
        if entry.unpaid:
            return None
        return "period.started", {
            "plan": entry.plan, "tokens": entry.tokens, "start": entry.start, "end": entry.end,
        }  # fmt: skip
    if isinstance(entry, e.StandingChanged):
        return "licence.changed", {"standing": entry.standing, "off": list(entry.off)}
    if isinstance(entry, e.OverageBilled):
        return "overage.billed", {
            "tokens": entry.tokens, "amount": entry.amount, "currency": entry.currency, "start": entry.start,
            "end": entry.end,
        }  # fmt: skip
    if isinstance(entry, e.PlanChanged):
        return "plan.changed", {
            "plan": entry.plan,
            "before": entry.before,
            "due": entry.due,
            "credit": entry.credit,
        }
    return None


def _aside(entry: e.Entry) -> tuple[Type, dict[str, Any]] | None:
    kind = e.movement(entry)
    if kind not in ("set_aside", "give_back"):
        return None
    what: Type = "tokens.set_aside" if kind == "set_aside" else "tokens.given_back"
    return what, {"tokens": entry.tokens, "purchase": getattr(entry, "reference", None)}
