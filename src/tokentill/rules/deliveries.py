"""Deliveries: what each step of a purchase asks of the account.

A step may have been taken already, or have become pointless meanwhile: tokens to be set aside are spent, a
payment to be restored is not failed, an invoice pays for a time that is over. Such a refusal ends the step as well as
a receipt does (`answered`); any other means that a person must look.

Requirement ids: R-PACK-3, R-PACK-10, R-PLAN-4, R-LIC-1, R-LIC-3, R-REF-6, R-LED-6.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tokentill.rules import commands as c
from tokentill.rules.catalog import DAY_MS
from tokentill.rules.claims import DISPUTE, LOST, spending
from tokentill.rules.entries import Origin
from tokentill.rules.invoices import OLDER, OVER
from tokentill.rules.legs import Taking
from tokentill.rules.purchases import BILLED, Purchase, Step, is_trial
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Code, Refusal

POINTLESS: dict[Step, frozenset[Code]] = {
    "restore": frozenset({Code.NOT_POSSIBLE}),
    "set_aside": frozenset({Code.UNKNOWN_LOT, Code.NOT_POSSIBLE}),
    "give_back": frozenset({Code.UNKNOWN_LOT, Code.NOT_POSSIBLE}),
    "take_back": frozenset({Code.UNKNOWN_LOT, Code.NOT_POSSIBLE}),
}
"""Refusals that mean that there is nothing left to do in a step."""

Commands = tuple[tuple[str, c.Command], ...]


def step_commands(purchase: Purchase, now: int) -> Commands:
    """The commands of the step in `doing`, each with the part of its key. `now` is the account's time.

    Send them in order, each under `step_key(purchase, part)` with `retry` set: what was done is answered again,
    even where `now` is another by then.
    """
    reference, why = purchase.id, f"invoice {purchase.invoice}"
    command: c.Command
    if purchase.doing == "deliver":
        return _delivery(purchase, now)
    if purchase.doing == "freeze":
        failed_at = now if purchase.failed_at is None else min(purchase.failed_at, now)
        command = c.Freeze(failed_at=failed_at, reason=why, by_hand=False)
    elif purchase.doing == "restore":
        command = c.Restore(reason=why, by_hand=False)
    elif purchase.doing == "set_aside":
        why = "dispute" if purchase.state in ("disputed", "charged_back") else "refund"
        return _each(purchase, lambda reference: c.SetAside(reference=reference, reason=why))
    elif purchase.doing == "give_back":
        won = any(dispute.state == "won" for dispute in purchase.disputes)
        over = "dispute won" if won else "refund over"
        return _each(purchase, lambda reference: c.GiveBack(reference=reference, reason=over))
    elif purchase.doing == "spend_credit":
        command = c.SpendCredit(amount=spending(purchase), reference=reference, reason=purchase.title)
        # What was given up stays so under its key, so that each further try has one of its own.
        return ((str(len(purchase.further) or ""), command),)
    elif purchase.doing == "return_credit":
        command = c.Grant(
            tokens=purchase.credit_used, origin="credit", unit="money", reference=reference, reason="not paid"
        )
    else:
        assert purchase.doing == "take_back", "no step was begun"
        assert purchase.taking is not None, "what is taken was written down with the step"
        return _each(purchase, partial(_revoke, purchase.taking))
    return (("", command),)


def _each(purchase: Purchase, command: Callable[[str], c.Command]) -> Commands:
    """A command for the lots of the purchase and, of a larger pack, those of each pack that it took the place of."""
    earlier = [(leg.purchase, command(leg.purchase)) for leg in purchase.earlier]
    return (("", command(purchase.id)), *earlier)


def _revoke(taking: Taking, reference: str) -> c.Command:
    lost = taking.cause in (DISPUTE, LOST)
    return c.Revoke(
        origin="dispute" if lost else "refund",
        share=(taking.part, taking.whole) if taking.whole else None,
        reference=reference,
        reason="dispute lost" if lost else "paid back",
    )


def answered(purchase: Purchase, reply: Receipt | Refusal) -> bool:
    """Whether the step in `doing` is done with this reply."""
    if isinstance(reply, Receipt):
        return True
    assert purchase.doing is not None, "no step was begun"
    if purchase.doing == "deliver":
        return reply.detail in (OLDER, OVER)
    return reply.code in POINTLESS.get(purchase.doing, frozenset())


def came_late(purchase: Purchase, reply: Receipt | Refusal) -> bool:
    """Whether the period that was paid for is over, so that nothing began. It may have mended a failed payment still."""
    if isinstance(reply, Refusal):
        return reply.detail == OVER
    return purchase.kind == "renewal" and purchase.doing == "deliver" and reply.kind in ("restore", "freeze")


def _delivery(purchase: Purchase, now: int) -> Commands:
    if purchase.kind == "overage":
        return ()  # what it pays for was used long ago
    if purchase.kind not in BILLED:
        tokens = _grant(purchase, purchase.tokens - (purchase.carried or 0), "pack", now)
        return (*tokens, *_grant(purchase, purchase.bonus, "bonus", now))
    fields: dict[str, Any] = {
        "plan": purchase.item,
        "billed": purchase.mode != "free",
        "start": purchase.plan_start,
        "end": purchase.plan_end,
        "paid": 0 if is_trial(purchase) else purchase.list_amount or purchase.amount,
        "reference": purchase.id,
    }
    plan: c.Command = c.Reset(**fields, reason=purchase.title)
    if purchase.kind != "renewal":
        plan = c.ChangePlan(**fields, when="now")
    return (("", plan), *_rest(purchase), *_grant(purchase, purchase.bonus, "bonus", now))


def _rest(purchase: Purchase) -> Commands:
    """What an upgrade's unused share was worth above the price of the new plan, as credit in money."""
    rest = purchase.credit - purchase.list_amount
    if purchase.kind != "upgrade" or rest <= 0:
        return ()
    why = f"unused share above the price of {purchase.title}"
    grant = c.Grant(tokens=rest, origin="credit", unit="money", reference=purchase.id, reason=why)
    return (("rest", grant),)


def _grant(purchase: Purchase, tokens: int, origin: Origin, now: int) -> Commands:
    """The lot of a pack or of what comes with a purchase, if there is any."""
    if tokens <= 0:
        return ()
    days = purchase.valid_days
    grant = c.Grant(
        tokens=tokens,
        origin=origin,
        expires_at=None if days is None else now + days * DAY_MS,
        reference=purchase.id,
        reason=purchase.title,
    )
    return (("bonus" if origin == "bonus" else "", grant),)
