"""Exhaustion: what happens when the balance is below the cost of an operation (R-PLAN-6, R-PLAN-7).

A use is covered from the lots first. What the lots cannot cover may come from beyond them, in this order:
an unlimited plan (metered, up to its fair use), a grace use (as many a period as the plan gives), overage
(up to the spending cap). An unlimited plan covers the whole use, so that packs are not spent under it.

Where nothing covers it the refusal says what stands in the way: only holds of running operations (wait,
never pay), the spending cap (raise it), or exhaustion, with every way out and its price. Ways that bring
enough come first, cheapest first; waiting for the reset last.

Requirement ids: R-PLAN-6, R-PLAN-7, R-PLAN-9, R-LIC-5.
"""

from __future__ import annotations

from msgspec import Struct

from tokentill.rules.account import Account, State
from tokentill.rules.catalog import Catalog, Pack, Plan
from tokentill.rules.entries import Beyond, Moves
from tokentill.rules.money import format_amount, per_token
from tokentill.rules.periods import days_left
from tokentill.rules.prices import price_now
from tokentill.rules.refusals import Code, Refusal, WayOut

RETRY_MS = 1_000
"""When to try again where only running operations stand in the way: most end within seconds."""

HOLDS_SUMMED_MAX = 1_000
"""Up to so many holds are looked at one by one to tell what will come back; beyond, all of it is taken to."""


class Cover(Struct, frozen=True, gc=False):
    """Where the tokens of a use come from: `moves` out of lots, `beyond` of them out of no lot."""

    tokens: int
    moves: Moves
    beyond: int = 0
    beyond_kind: Beyond | None = None
    price: int = 0


def draw(account: Account, tokens: int) -> Moves:
    """Take `tokens` out of the lots in burn order; the caller has seen that so many are free (R-LED-2)."""
    lots = account.state.lots
    order = account.order
    if not tokens:
        return ()
    first = lots[order[0][2]]
    if first.available >= tokens:
        return ((first.id, tokens),)
    moves = []
    for _, _, number in order:
        take = min(tokens, lots[number].available)
        moves.append((number, take))
        tokens -= take
        if not tokens:
            break
    return tuple(moves)


def cover(account: Account, plan: Plan | None, tokens: int, least: int | None) -> Cover | None:
    """How `tokens` can be covered now, None if they cannot.

    `least`: where the whole is not affordable, as much as is free, if that is at least so many.
    """
    if plan is not None and plan.unlimited and _within_fair_use(account.state, plan, tokens):
        return Cover(tokens, (), tokens, "unlimited")
    free = account.free
    if free >= tokens:
        return Cover(tokens, draw(account, tokens))
    if plan is not None:
        reached = _beyond(account.state, plan, tokens - free)
        if reached is not None:
            kind, price = reached
            return Cover(tokens, draw(account, free), tokens - free, kind, price)
    if least is not None and free >= least:
        return Cover(free, draw(account, free))
    return None


def _within_fair_use(state: State, plan: Plan, tokens: int) -> bool:
    return plan.fair_use is None or state.unlimited_used + state.unlimited_held + tokens <= plan.fair_use


def _beyond(state: State, plan: Plan, tokens: int) -> tuple[Beyond, int] | None:
    policy = plan.exhaustion
    if policy.grace_uses > state.grace_used:
        return "grace", 0
    if policy.overage is None:
        return None
    room = room_under_cap(state, plan)
    if room is not None and tokens * policy.overage.price > room:
        return None
    return "overage", policy.overage.price


def room_under_cap(state: State, plan: Plan) -> int | None:
    """Minor units of overage still allowed this period, None without a cap. Running holds count."""
    overage = plan.exhaustion.overage
    cap = state.cap if state.cap is not None or overage is None else overage.cap
    return None if cap is None else max(0, cap - state.overage_amount - state.overage_held)


def refuse(account: Account, catalog: Catalog, plan: Plan | None, tokens: int, now: int) -> Refusal:
    """Why `tokens` cannot be covered, and every way out (R-PLAN-7)."""
    state = account.state
    texts = catalog.texts
    end = None if state.period is None else state.period.end
    if state.holds and _comes_back(account, plan, tokens):
        return Refusal(
            Code.HELD,
            "The tokens for this are held by operations that are still running. They come back or are "
            "spent when those end; send it again then.",
            retry_after_ms=RETRY_MS,
            balance=account.free,
            needed=tokens,
            held=account.held,
            reset_at=end,
        )
    capped = plan is not None and plan.exhaustion.overage is not None
    return Refusal(
        Code.SPENDING_CAP if capped else Code.EXHAUSTED,
        texts.exhausted,
        headline=texts.headline,
        balance=account.free,
        needed=tokens,
        held=account.held,
        reset_at=end,
        purchase_link=texts.purchase_link,
        ways_out=ways_out(account, catalog, plan, tokens, now),
    )


def _comes_back(account: Account, plan: Plan | None, tokens: int) -> bool:
    """Whether only running operations stand in the way: what they hold, if it all came back, would cover it."""
    state = account.state
    fair_use = plan.fair_use if plan is not None and plan.unlimited else None
    if fair_use is not None and state.unlimited_used + tokens <= fair_use:
        return True
    returning = (
        sum(
            n
            for hold in state.holds.values()
            for lot, n in hold.moves
            if not state.lots[lot].lapsed and lot not in state.aside
        )
        if len(state.holds) <= HOLDS_SUMMED_MAX
        else account.held
    )
    short = tokens - account.free - returning
    if short <= 0:
        return True
    overage = None if plan is None else plan.exhaustion.overage
    if overage is None or not state.overage_held:
        return False
    cap = overage.cap if state.cap is None else state.cap
    return cap is None or state.overage_amount + short * overage.price <= cap


def ways_out(
    account: Account, catalog: Catalog, plan: Plan | None, needed: int, now: int
) -> tuple[WayOut, ...]:
    """Every way to get `needed` tokens, with its price: those that suffice first, then by price, waiting last."""
    state = account.state
    short = needed - account.free
    packs = [pack_way(catalog, pack, now) for pack in packs_for(catalog, plan)]
    ways = [*upgrade_ways(catalog, plan), *packs]
    ways.sort(key=lambda way: (way.tokens is not None and way.tokens < short, way.price or 0))
    if plan is not None and plan.exhaustion.overage is not None:
        ways.append(WayOut("raise_cap", "Raise your spending cap", link=catalog.texts.purchase_link))
    waits = plan is not None and plan.exhaustion.wait and (plan.tokens > 0 or plan.unlimited)
    if waits and state.period is not None and state.period.end > now:
        days = days_left(now, state.period.end)
        label = f"Wait {days} day{'' if days == 1 else 's'} for the reset"
        ways.append(WayOut("wait", label, days=days, at=state.period.end))
    return tuple(ways)


def next_plan_up(catalog: Catalog, plan: Plan | None) -> Plan | None:
    """The plan one rank above, or the lowest that runs anything for who has none; None at the top."""
    rank = -1 if plan is None else plan.rank
    above = [p for p in catalog.plans.values() if p.rank > rank and (p.tokens or p.unlimited)]
    return min(above, key=lambda p: p.rank, default=None)


def upgrade_ways(catalog: Catalog, plan: Plan | None) -> list[WayOut]:
    """The next plan up as a way out, with its price; none where the plan offers no upgrade or is the highest."""
    if plan is not None and not plan.exhaustion.upgrade:
        return []
    up = next_plan_up(catalog, plan)
    if up is None:
        return []
    link = catalog.texts.purchase_link
    if up.price is None:
        return [WayOut("upgrade", f"Ask for {up.title}", id=up.id, link=link)]
    price = format_amount(up.price, catalog.currency, short=True)
    return [
        WayOut(
            "upgrade",
            f"Upgrade to {up.title} ({price}/{_every(up)})",
            id=up.id,
            tokens=None if up.unlimited else up.tokens,
            price=up.price,
            currency=catalog.currency,
            per_token=None
            if up.unlimited
            else per_token(up.price, up.tokens * up.periods_per_payment, catalog.currency),
            link=link,
        )
    ]


def _every(plan: Plan) -> str:
    """How often a plan is paid, as it stands behind a price: mo, quarter, yr, or the number of months or days."""
    count = plan.periods_per_payment
    if plan.cycle.kind == "month" or 28 <= plan.cycle.days <= 31:
        return {1: "mo", 3: "quarter", 12: "yr"}.get(count, f"{count} mo")
    days = plan.cycle.days * count
    return {1: "day", 7: "wk", 365: "yr", 366: "yr"}.get(days, f"{days} days")


def packs_for(catalog: Catalog, plan: Plan | None) -> list[Pack]:
    """The packs that an organization on `plan` may buy now, in the catalog's order."""
    if plan is not None and not plan.exhaustion.packs:
        return []
    name = None if plan is None else plan.id
    return [
        pack for pack in catalog.packs.values() if pack.enabled and (not pack.plans or name in pack.plans)
    ]


def pack_way(catalog: Catalog, pack: Pack, now: int) -> WayOut:
    """A pack as a way out, with what it costs now, launch price and bonus tokens included (R-PACK-8)."""
    amount, tokens = price_now(pack, now), pack.tokens + pack.bonus_tokens
    price = format_amount(amount, catalog.currency, short=True)
    return WayOut(
        "pack",
        f"Buy {pack.tokens} {catalog.unit.many} ({price})",
        id=pack.id,
        tokens=tokens,
        price=amount,
        currency=catalog.currency,
        per_token=per_token(amount, tokens, catalog.currency),
        link=catalog.texts.purchase_link,
    )
