"""The balance: what an account has, as R-LED-1 lists it, computed from its lots.

After a reset, spent tokens of a pack do not come back: 50 monthly and 25 of a pack, 60 used, leave 15; next
month there are 65, not 75 (readings). So everything is summed over lots, and what a lot had spent before the
period began is left out.

Requirement ids: R-LED-1, R-LIC-1, R-PLAN-8.
"""

from __future__ import annotations

from msgspec import Struct

from tokentill.rules.account import PLAN_PRIORITY, Account
from tokentill.rules.catalog import Catalog
from tokentill.rules.entries import Standing
from tokentill.rules.warnings import Notice, notice


class Balance(Struct, frozen=True):
    """The balance as R-LED-1 lists it; remaining + set_aside = monthly + additional - used - reserved, always.

    monthly: this period's plan tokens, carried ones included. additional: bought and given tokens as they
    stood when the period began, plus what came since. used, reserved: of these, in this period. remaining:
    free to spend now. set_aside: kept and not to be spent: everything while payment is failed, and at any time
    `lots_set_aside`, what single lots have that a refund or a dispute in progress is about. `held` also counts
    holds that outlived their lot or reach beyond it. `credit` is money credit in minor units.
    `overage_amount` is what this period's overage costs so far, `overage_credit` what its bill will be less by.
    `simulated`: the account has a clock of its own, which stands at `time`.
    `billed`: a payment provider bills the plan; `renewal_due`: the period is over and its next invoice waited for.
    `notice` is what a customer with a low balance is told, None while nothing is low (R-PLAN-8).
    """

    plan: str | None
    standing: Standing
    monthly: int
    additional: int
    used: int
    reserved: int
    remaining: int
    set_aside: int
    held: int
    holds: int
    credit: int
    overage_tokens: int
    overage_amount: int
    cap: int | None
    grace_used: int
    unlimited_used: int
    period_start: int | None
    reset_at: int | None
    scheduled: bool
    scheduled_plan: str | None
    seq: int
    time: int
    notice: Notice | None = None
    lots_set_aside: int = 0
    simulated: bool = False
    billed: bool = False
    renewal_due: bool = False
    overage_credit: int = 0


def balance(
    account: Account,
    catalog: Catalog,
    now: int | None = None,
    closed: frozenset[tuple[str, str]] = frozenset(),
) -> Balance:
    """The balance at `now` (default: the account's own time) of an account with everything due applied (R-LED-1).

    `closed`: what the organization cannot buy now, and no notice shall offer.
    """
    state = account.state
    monthly = additional = used = reserved = credit = 0
    for lot in state.lots.values():
        if lot.lapsed:
            continue
        if lot.unit == "money":
            credit += lot.available
            continue
        spent = lot.spent - lot.spent_before
        brought = lot.available + lot.held + spent
        used += spent
        reserved += lot.held
        if lot.priority == PLAN_PRIORITY:
            monthly += brought
        else:
            additional += brought
    frozen = state.failed_at is not None
    return Balance(
        plan=state.plan,
        standing=state.standing,
        monthly=monthly,
        additional=additional,
        used=used,
        reserved=reserved,
        remaining=0 if frozen else account.free,
        set_aside=account.aside + (account.free if frozen else 0),
        held=account.held,
        holds=len(state.holds),
        credit=credit,
        overage_tokens=state.overage_tokens,
        overage_amount=state.overage_amount,
        cap=state.cap,
        grace_used=state.grace_used,
        unlimited_used=state.unlimited_used,
        period_start=None if state.period is None else state.period.start,
        reset_at=None if state.period is None else state.period.end,
        scheduled=state.scheduled,
        scheduled_plan=state.scheduled_plan,
        seq=state.seq,
        time=state.time,
        notice=notice(account, catalog, state.time if now is None else now, closed),
        lots_set_aside=account.aside,
        simulated=state.simulated,
        overage_credit=state.overage_credit,
        billed=state.paid_until is not None,
        renewal_due=state.paid_until is not None and state.paid_until <= (state.time if now is None else now),
    )
