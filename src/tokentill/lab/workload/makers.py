"""One maker of random commands for each operation; each now and then asks for what cannot be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from tokentill.lab.workload.memory import Memory
from tokentill.rules import commands as c
from tokentill.rules.catalog import DAY_MS, AbuseLimits
from tokentill.rules.entries import Origin
from tokentill.rules.entry import ModelUse

USERS = ("ann", "bob", None)
PURCHASES = ("order 1", "order 2", "order 3")
KEY_LIMITS = AbuseLimits(tokens_per_request_max=3, requests_per_minute_max=2, attempts_max=4)
"""What an API key of its own limits would bring."""

PURSES = ("key 1", "key 2")


def open_account(m: Memory) -> c.Open:
    """A begin, on a plan or the default one, anchored now or before."""
    plan = m.pick((*m.catalog.plans, *m.catalog.plans, None, "no such plan"))
    anchor = m.now - m.dice.randrange(90 * DAY_MS) if m.chance(30) else None
    if m.chance(5):
        anchor = m.pick((-1, m.now + DAY_MS))
    if m.chance(30):
        return c.Open(anchor=anchor)
    return c.Open(plan=plan, anchor=anchor, simulated=m.chance(12))


def advance(m: Memory) -> c.Advance:
    """A simulated clock moved on, seldom back or too far."""
    if m.chance(10):
        return c.Advance(to=m.pick((m.now - 1, -1, m.now + 500 * DAY_MS, 10**30)))
    return c.Advance(to=max(m.now, m.time) + m.pick((0, 0, 1, 3_000, 60_000, DAY_MS, 31 * DAY_MS)))


def _use(m: Memory) -> tuple[str, int, int | None]:
    """Feature, quantity and tokens of a use."""
    feature = m.pick((*m.catalog.features, "ask", "goal", "model", "model"))
    metered = m.catalog.features[feature].metered
    quantity = 1 if metered or m.chance(60) else 1 + m.dice.randrange(9)
    tokens = m.amount() if metered else None
    if m.chance(3):
        feature = "no such feature"
    if m.chance(2):
        quantity = m.odd_amount()
    if m.chance(2):
        tokens = None if metered else 5
    return feature, quantity, tokens


def _purse(m: Memory) -> tuple[str | None, int | None]:
    """Sometimes a key with a limit of its own, seldom one that makes no sense."""
    if not m.chance(25):
        return None, None
    if m.chance(4):
        return m.pick(((None, 5), ("", 5), ("key 1", -1), ("key 2", 10**30)))
    return m.pick(PURSES), m.pick((None, 0, 4, 12, 12, 30, 30, 60, 200))


def reserve(m: Memory) -> c.Reserve:
    """A hold, sometimes one that may be cut down."""
    feature, quantity, tokens = _use(m)
    least = 1 + m.dice.randrange(tokens + 1) if tokens and 0 < tokens < 99 and m.chance(30) else None
    if m.chance(3):
        least = m.pick((1, 2, 2, 0, -1, 10**18))
    purse, most = _purse(m)
    timeout = m.pick((None, None, 1, 500, 5_000, 30_000, 600_000))
    if m.chance(2):
        timeout = m.pick((0, -1, 10**18))
    return c.Reserve(
        feature=feature,
        user=m.pick(USERS),
        quantity=quantity,
        tokens=tokens,
        least=least,
        timeout_ms=timeout,
        limits=KEY_LIMITS if m.chance(8) else None,
        purse=purse,
        purse_max=most,
    )


def charge(m: Memory) -> c.Charge:
    """A use in one step."""
    feature, quantity, tokens = _use(m)
    purse, most = _purse(m)
    return c.Charge(
        feature=feature,
        user=m.pick(USERS),
        quantity=quantity,
        tokens=tokens,
        limits=KEY_LIMITS if m.chance(8) else None,
        purse=purse,
        purse_max=most,
    )


def settle(m: Memory) -> c.Settle:
    """The end of a hold, for all of it, a part, or more than it holds."""
    hold = m.hold()
    tokens = None if m.chance(40) else m.dice.randrange(hold.tokens + 1)
    if m.chance(8):
        tokens = hold.tokens + m.pick((1, 5))
    if m.chance(4):
        tokens = m.pick((-1, -9, 10**30))
    # Of what models used nothing depends; every third settle says something of it.
    use = ModelUse(model="m", key="k", read=9, written=tokens) if tokens and tokens % 3 == 0 else None
    written = m.pick((None, None, 10, 50, 51, 900))
    return c.Settle(hold=hold.key, tokens=tokens, output_tokens=written, use=use)


def release(m: Memory) -> c.Release:
    """The end of a hold with nothing charged."""
    end = c.Release(hold=m.hold().key, reason=m.pick(("failed", "timeout", "cancelled")))
    return replace(end, use=ModelUse(model="m", key="k", counted="none")) if end.reason == "failed" else end


def extend(m: Memory) -> c.Extend:
    """More time for a hold."""
    timeout = m.odd_amount() if m.chance(5) else m.pick((1, 1_000, 60_000, 3_600_000))
    return c.Extend(hold=m.hold().key, timeout_ms=timeout)


def refund(m: Memory) -> c.Refund:
    """A charge given back, whole or in part, or something that is no charge."""
    charges = [each for each in m.known if each.kind == "charge"]
    known = m.pick(charges[-15:]) if charges and m.chance(85) else m.hold()
    tokens = None if m.chance(50) else 1 + m.dice.randrange(known.tokens + 2)
    return c.Refund(operation=known.key, tokens=m.odd_amount() if m.chance(4) else tokens)


def grant(m: Memory) -> c.Grant:
    """A lot of any origin, some of money, some that expire soon."""
    origins: tuple[Origin, ...] = ("grant", "pack", "bonus", "credit", "refund")
    expires = None if m.chance(40) else m.now + 1 + m.dice.randrange(40 * DAY_MS)
    if expires is not None and m.chance(30):
        expires = m.now + m.pick((1, 3_000, 60_000, 3_600_000))
    if m.chance(3):
        expires = m.now - m.pick((0, 1, DAY_MS))
    own: tuple[Origin, ...] = ("plan", "rollover")
    return c.Grant(
        tokens=m.amount(),
        origin=m.pick(own) if m.chance(1) else m.pick(origins),
        expires_at=expires,
        unit="money" if m.chance(10) else "token",
        reference=m.pick(PURCHASES) if m.chance(50) else None,
    )


def adjust(m: Memory) -> c.Adjust:
    """A correction, more often down than up."""
    tokens = m.amount()
    return c.Adjust(
        tokens=-tokens if m.chance(60) else tokens, reason=" " if m.chance(3) else "mend", actor="op"
    )


def revoke(m: Memory) -> c.Revoke:
    """Tokens taken back from a lot or a purchase, sometimes from one that never was."""
    lot, tokens = _lot(m)
    if m.chance(60):
        tokens = 1 + m.dice.randrange(5)
    if m.chance(30):
        whole = None if m.chance(50) else tokens
        return c.Revoke(reference=m.pick((*PURCHASES, "no such order")), tokens=whole)
    if m.chance(15):
        share = (1 + m.dice.randrange(5), m.pick((5, 5, 3)))
        return c.Revoke(lot=lot, tokens=2 if m.chance(5) else None, share=share)
    return c.Revoke(lot=lot, tokens=m.odd_amount() if m.chance(5) else tokens)


def _lot(m: Memory) -> tuple[int, int]:
    """A lot and what it brought, now and then one that never was."""
    return m.pick(m.lots[-8:]) if m.lots and m.chance(85) else (m.dice.randrange(40), 3)


def set_aside(m: Memory) -> c.SetAside:
    """A lot or a purchase set aside."""
    if m.chance(50):
        return c.SetAside(lot=_lot(m)[0], reference="case 7")
    return c.SetAside(reference=m.pick((*PURCHASES, *PURCHASES, "no such order", None)))


def give_back(m: Memory) -> c.GiveBack:
    """The same, given back."""
    if m.chance(50):
        return c.GiveBack(lot=_lot(m)[0])
    return c.GiveBack(reference=m.pick((*PURCHASES, *PURCHASES, "no such order", None)))


def spend_credit(m: Memory) -> c.SpendCredit:
    """Something paid with money credit, more often a little than more than there is."""
    few = m.dice.randrange(5)
    return c.SpendCredit(amount=few if m.chance(70) else m.amount(), reference=m.pick(PURCHASES))


def freeze(m: Memory) -> c.Freeze:
    """A failed payment, now or some days ago."""
    failed_at = None if m.chance(60) else m.now - m.dice.randrange(20 * DAY_MS)
    failed_at = m.pick((-1, m.now + 10 * DAY_MS)) if m.chance(5) else failed_at
    return c.Freeze(failed_at=failed_at, by_hand=m.chance(50))


def restore(m: Memory) -> c.Restore:
    """A payment that is fixed, or an operator who says so."""
    return c.Restore(by_hand=m.chance(60))


def _invoice(m: Memory) -> dict[str, Any]:
    """What a provider says of an invoice: often the next, sometimes an old one, seldom nonsense."""
    if m.chance(50):
        return {}
    start = m.now - m.dice.randrange(60 * DAY_MS) if m.chance(60) else m.now
    end = start + (1 + m.dice.randrange(60)) * DAY_MS
    if m.chance(4):
        start = m.pick((end, -1))
    paid = m.pick((None, None, 0, 5_000, -1 if m.chance(10) else 100))
    return {"start": start, "end": end, "paid": paid, "reference": m.pick((*PURCHASES, None))}


def change_plan(m: Memory) -> c.ChangePlan:
    """Another plan, or none."""
    plan = m.pick((*m.catalog.plans, None, "no such plan"))
    end = m.now + 1 + m.dice.randrange(60 * DAY_MS) if m.chance(20) else None
    if m.chance(2):
        end = m.now - 1
    fields = {"end": end, "billed": m.chance(35), **_invoice(m)}
    return c.ChangePlan(plan=plan, when=m.pick(("auto", "auto", "now", "period_end")), **fields)


def reset(m: Memory) -> c.Reset:
    """A period as the payment provider bills it."""
    end = None if m.chance(60) else m.now + 1 + m.dice.randrange(60 * DAY_MS)
    end = m.now - m.pick((0, 1, DAY_MS)) if m.chance(8) else end
    plan = m.pick((None, None, *m.catalog.plans, "no such plan"))
    return c.Reset(**{"end": end, "billed": m.chance(40), "plan": plan, **_invoice(m)})


def set_cap(m: Memory) -> c.SetCap:
    """A spending cap."""
    return c.SetCap(cap=m.pick((None, None, 0, 10, 300, 1_000, 100_000, -1, 10**30)))


def attempt(m: Memory) -> c.Attempt:
    """A request that never became a command."""
    return c.Attempt(user=m.pick(("ann", "bob")), reason="not JSON")


def unblock(m: Memory) -> c.Unblock:
    """A block lifted, whether there is one or not."""
    return c.Unblock(user=m.pick(("ann", "bob", "eve")), reason="" if m.chance(10) else "asked", actor="op")


def count_refusals(m: Memory) -> c.CountRefusals:
    """Refusals that were counted in memory."""
    count = 1 + m.dice.randrange(9)
    code = "no such code" if m.chance(10) else "rate_limited"
    return c.CountRefusals(refusals=tuple((user, code, m.now // 60_000, count) for user in ("ann", None)))


def review(m: Memory) -> c.Review:
    """A settle that could not be stored in time."""
    return c.Review(hold=m.hold().key, tokens=m.odd_amount() if m.chance(10) else 3, reason="late")


def tick(_m: Memory) -> c.Tick:
    """Nothing but the time."""
    return c.Tick()


WEIGHTS: dict[Callable[[Memory], c.Command], int] = {
    open_account: 1,
    advance: 1,
    reserve: 24,
    charge: 16,
    settle: 15,
    release: 5,
    extend: 4,
    refund: 6,
    grant: 9,
    adjust: 4,
    revoke: 4,
    set_aside: 3,
    give_back: 2,
    spend_credit: 2,
    freeze: 2,
    restore: 3,
    change_plan: 4,
    reset: 3,
    set_cap: 2,
    attempt: 3,
    unblock: 2,
    count_refusals: 1,
    review: 1,
    tick: 2,
}
"""How often each kind of command is made, in parts of their sum."""
