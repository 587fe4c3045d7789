"""The ledger: reserve, settle, release, charge, refund, and tokens given and taken (R-LED-1…10).

Execute-then-charge (R-LED-3): a hold reserves the most an operation can cost, the operation runs, settling
charges what it did cost and gives the rest back in the same entry; failing or timing out charges nothing.
A hold ends exactly once. One whose deadline has passed can never be settled: the success that came too late
is charged 0 and its tokens are counted as the operator's loss.

The server alone prices a use: a fixed feature costs its catalog price times the quantity, a metered one the
tokens the trusted caller names. Nobody states a balance (R-LED-10).

Order of refusals in one decision: request, abuse, licence, plan, key, balance (R-ABU-8).

What comes back to a lot that has lapsed meanwhile expires. Refunds of charges give back in reverse burn
order: overage first, then the lots last drawn from. Taking tokens back touches unheld ones only.

The entries of reserve and settle are made with at most 15 keywords, and with the rest only where it is needed:
a call with more of them goes through a dictionary and takes four times as long as the whole entry.

Requirement ids: R-LED-2, R-LED-3, R-LED-4, R-LED-6, R-LED-7, R-LED-8, R-LED-9, R-LED-10, R-LIC-5, R-ABU-4,
R-SALE-8.
"""

from __future__ import annotations

from msgspec.structs import replace

from tokentill.rules import abuse, ended_holds, exhaustion, licence, purses
from tokentill.rules import commands as c
from tokentill.rules import entries as e
from tokentill.rules.account import Hold, State
from tokentill.rules.catalog import TOKENS_MAX, AbuseLimits, Feature, Plan
from tokentill.rules.entry import ModelUse
from tokentill.rules.exhaustion import Cover
from tokentill.rules.receipts import Receipt, of_charge, of_hold, receipt
from tokentill.rules.refusals import Code, Refusal
from tokentill.rules.resets import bill_overage
from tokentill.rules.turn import Turn, bad_amount
from tokentill.rules.warnings import warn

HOLD_MAX_MS = 24 * 3_600_000
"""No hold may be asked to last longer than a day at a time."""

Reply = Receipt | Refusal


def reserve(turn: Turn, command: c.Reserve) -> Reply:
    """Hold tokens for an operation that is about to run (R-LED-3)."""
    admitted = _admit(turn, command, command.least)
    if type(admitted) is Refusal:
        return abuse.record(turn, admitted, command, command.user)
    feature, limits, cover = admitted  # type: ignore[misc]  # not a Refusal
    timeout = feature.timeout_ms if command.timeout_ms is None else command.timeout_ms
    account, state = turn.account, turn.state
    tokens = cover.tokens
    entry = e.Held(
        seq=state.seq + 1,
        time=turn.now,
        catalog=turn.catalog.version,
        balance=account.free - tokens + cover.beyond,
        held=account.held + tokens,
        tokens=tokens,
        user=command.user,
        feature=command.feature,
        key=turn.key,
        body=turn.body,
        moves=cover.moves,
        deadline=turn.now + timeout + turn.catalog.hold_margin_ms,
        output_tokens_max=limits.output_tokens_max,
        rated=abuse.is_rated(limits),
        burned=_is_burned(limits),
    )
    if cover.beyond_kind is not None:
        entry = replace(entry, beyond=cover.beyond, beyond_kind=cover.beyond_kind, price=cover.price)
    if command.purse is not None:
        entry = replace(entry, purse=command.purse, purse_max=command.purse_max)
    turn.emit(entry)
    return of_hold(entry)


def charge(turn: Turn, command: c.Charge) -> Reply:
    """Reserve and settle in one entry (`consumeToken`, R-LED-7)."""
    admitted = _admit(turn, command, None)
    if type(admitted) is Refusal:
        return abuse.record(turn, admitted, command, command.user)
    _, limits, cover = admitted  # type: ignore[misc]  # not a Refusal
    account = turn.account
    entry = e.Charged(
        seq=turn.state.seq + 1,
        time=turn.now,
        catalog=turn.catalog.version,
        balance=account.free - cover.tokens + cover.beyond,
        held=account.held,
        tokens=cover.tokens,
        user=command.user,
        feature=command.feature,
        key=turn.key,
        body=turn.body,
        moves=cover.moves,
        rated=abuse.is_rated(limits),
        burned=_is_burned(limits),
    )
    if cover.beyond_kind is not None:
        entry = replace(
            entry,
            beyond=cover.beyond,
            beyond_kind=cover.beyond_kind,
            price=cover.price,
            amount=cover.beyond * cover.price,
        )
    if command.purse is not None:
        entry = replace(entry, purse=command.purse, purse_max=command.purse_max)
    turn.emit(entry)
    abuse.after_charge(turn, command.user, limits)
    warn(turn)
    return of_charge(entry)


def _is_burned(limits: AbuseLimits) -> bool:
    return limits.burn_alert_tokens_per_hour is not None or limits.burn_alert_percent_of_allowance is not None


def _admit(
    turn: Turn, command: c.Reserve | c.Charge, least: int | None
) -> Refusal | tuple[Feature, AbuseLimits, Cover]:
    """The one decision: request, abuse battery, licence, plan policy, the key's limit, balance (R-ABU-8)."""
    catalog, state = turn.catalog, turn.state
    wrong = _bad_terms(command)
    if wrong is not None:
        return wrong
    feature = catalog.features.get(command.feature)
    if feature is None:
        return _unknown_feature(turn, command.feature)
    tokens = _price(command, feature)
    if type(tokens) is Refusal:
        return tokens
    assert type(tokens) is int
    if not feature.metered:
        least = None
    plan = catalog.plans.get(state.plan) if state.plan is not None else None
    limits = command.limits
    if limits is None:
        table = catalog.no_plan_abuse if plan is None else plan.abuse
        limits = table.get(command.feature, abuse.NO_LIMITS)
    refusal = _barred(turn, command, plan, limits, tokens)
    if refusal is not None:
        return refusal
    if command.purse is not None:
        allowed = purses.allowed(turn.account, command.purse, command.purse_max, tokens, least)
        if isinstance(allowed, Refusal):
            return allowed
        tokens = allowed
    cover = exhaustion.cover(turn.account, plan, tokens, least)
    if cover is None:
        return exhaustion.refuse(turn.account, catalog, plan, least or tokens, turn.now)
    return feature, limits, cover


def _barred(
    turn: Turn, command: c.Reserve | c.Charge, plan: Plan | None, limits: AbuseLimits, tokens: int
) -> Refusal | None:
    """What the abuse battery, the licence and the plan have against a use, whatever the balance."""
    state, catalog = turn.state, turn.catalog
    refusal = abuse.check(state, command.user, limits, tokens, turn.now)
    if refusal is None and state.failed_at is not None:
        refusal = licence.refuse(state, catalog, command.feature, tokens, turn.now)
    if refusal is None:
        refusal = outside_plan(turn, plan, command.feature, tokens)
    if refusal is None and len(state.holds) >= catalog.holds_max and type(command) is c.Reserve:
        refusal = _holds_max(turn)
    return refusal


def _unknown_feature(turn: Turn, name: str) -> Refusal:
    known = ", ".join(sorted(turn.catalog.features)[:20])
    return Refusal(
        Code.UNKNOWN_FEATURE, f"The catalog has no feature of this name. It has: {known}.", detail=name[:128]
    )


def _price(command: c.Reserve | c.Charge, feature: Feature) -> int | Refusal:
    """What the use costs in tokens; 0 is a price, below 0 is none."""
    if feature.metered:
        if command.tokens is None:
            message = f"{feature.title} is metered: say how many tokens the request may use."
            return Refusal(Code.INVALID, message, detail="tokens")
        return bad_amount(command.tokens, least=0) or command.tokens
    tokens = feature.tokens * command.quantity
    if tokens > TOKENS_MAX:
        return Refusal(
            Code.INVALID,
            f"quantity is too large: it would cost more than {TOKENS_MAX} tokens.",
            detail="quantity",
        )
    if command.tokens is not None and (type(command.tokens) is not int or command.tokens != tokens):
        message = (
            f"{command.quantity} × {feature.title} costs {tokens} tokens by the catalog, not what was stated."
        )
        return Refusal(Code.INVALID, message, detail="tokens")
    return tokens


def _bad_terms(command: c.Reserve | c.Charge) -> Refusal | None:
    """What is wrong with a use whatever its feature is; said first, as the order of the codes asks."""
    wrong = bad_amount(command.quantity, what="quantity")
    if wrong is None and not (command.purse is None and command.purse_max is None):
        wrong = purses.bad_terms(command)
    if wrong is not None or type(command) is not c.Reserve:
        return wrong
    if command.timeout_ms is not None and not (
        type(command.timeout_ms) is int and 1 <= command.timeout_ms <= HOLD_MAX_MS
    ):
        return Refusal(Code.INVALID, f"timeout_ms must be from 1 to {HOLD_MAX_MS}.", detail="timeout_ms")
    if command.least is not None:
        return bad_amount(command.least, what="least")
    return None


def outside_plan(turn: Turn, plan: Plan | None, feature: str, tokens: int) -> Refusal | None:
    """Why `plan` does not cover the feature, None if it does; without a plan some features run on packs alone."""
    catalog = turn.catalog
    if plan is None:
        if feature in catalog.no_plan_features:
            return None
        code, message = Code.NO_PLAN, "This feature needs a plan, and the organization has none."
    elif feature in plan.features:
        return None
    else:
        code, message = Code.NOT_IN_PLAN, f"The plan {plan.title} does not include this feature."
    return Refusal(
        code,
        message,
        balance=turn.account.free,
        needed=tokens,
        purchase_link=catalog.texts.purchase_link,
        ways_out=tuple(
            way
            for way in exhaustion.ways_out(turn.account, catalog, plan, tokens, turn.now)
            if way.kind == "upgrade"
        ),
    )


def _holds_max(turn: Turn) -> Refusal:
    return Refusal(
        Code.HOLDS_MAX,
        f"{turn.catalog.holds_max} operations are running already, which is as many as may. Let some end first.",
        retry_after_ms=1000,
        held=turn.account.held,
    )


def split(state: State, moves: e.Moves, tokens: int) -> tuple[e.Moves, e.Moves, e.Moves]:
    """`moves` cut after the first `tokens`: what is kept, what goes back to its lots, what has lapsed."""
    kept: list[tuple[int, int]] = []
    returned: list[tuple[int, int]] = []
    lapsed: list[tuple[int, int]] = []
    for number, held in moves:
        take = min(tokens, held)
        tokens -= take
        if take:
            kept.append((number, take))
        if held > take:
            (lapsed if state.lots[number].lapsed else returned).append((number, held - take))
    return tuple(kept), tuple(returned), tuple(lapsed)


def settle(turn: Turn, command: c.Settle) -> Reply:
    """Charge what a held operation cost and give the rest back, in one entry (R-LED-3)."""
    state, account = turn.state, turn.account
    hold = state.holds.get(command.hold)
    tokens = command.tokens
    if tokens is not None:
        wrong = bad_amount(tokens, least=0)
        if wrong is not None:
            return wrong
    if hold is None:
        return ended_holds.settle(turn, command)
    if tokens is None:
        tokens = hold.tokens
    elif tokens > hold.tokens:
        message = f"The hold is of {hold.tokens} tokens, so {tokens} cannot be charged to it."
        return Refusal(Code.EXCEEDS_HOLD, message, needed=tokens, held=hold.tokens)
    returned: e.Moves = ()
    lapsed: e.Moves = ()
    if tokens == hold.tokens:
        moves, beyond, back = hold.moves, hold.beyond, 0
    else:
        moves, returned, lapsed = split(state, hold.moves, tokens)
        beyond = max(0, tokens - (hold.tokens - hold.beyond))
        back = account.freed(returned)
    entry = e.Charged(
        seq=state.seq + 1,
        time=turn.now,
        catalog=turn.catalog.version,
        balance=account.free + back,
        held=account.held - hold.tokens,
        tokens=tokens,
        user=hold.user,
        feature=hold.feature,
        key=command.hold,
        part=1,
        moves=moves,
        returned=returned,
        lapsed=lapsed,
        rated=hold.rated,
        burned=hold.burned,
        use=command.use,
    )
    if hold.beyond:
        waived = beyond > 0 and hold.beyond_kind == "overage" and state.failed_at is not None
        entry = replace(
            entry,
            beyond=beyond,
            beyond_kind=hold.beyond_kind if beyond else None,
            price=hold.price,
            amount=0 if waived else beyond * hold.price,
            waived=waived,
        )
    if state.purse_of and (purse := state.purse_of.get(command.hold)) is not None:
        entry = replace(entry, purse=purse)
    turn.emit(entry)
    _after_settle(turn, command, hold)
    return of_charge(entry)


def _after_settle(turn: Turn, command: c.Settle, hold: Hold) -> None:
    cap = hold.output_tokens_max
    if cap is not None and command.output_tokens is not None and command.output_tokens > cap:
        fields = turn.stamp()
        turn.emit(
            e.Alerted(
                **fields,
                user=hold.user,
                feature=hold.feature,
                status="fraud_flagged",
                code="output_cap",
                observed=min(command.output_tokens, TOKENS_MAX),
                limit=cap,
            )
        )
    if hold.burned and hold.user is not None and hold.feature is not None:
        abuse.after_charge(turn, hold.user, abuse.limits_of(turn.catalog, turn.state.plan, hold.feature))
    if turn.state.period is None:
        bill_overage(turn)  # the plan was cancelled meanwhile, so no end of a period will
    warn(turn)


def release(turn: Turn, command: c.Release) -> Reply:
    """End a hold with nothing charged (R-LED-3, R-LED-4)."""
    if command.hold not in turn.state.holds:
        _, ended = ended_holds.history(turn, command.hold)
        if ended is None:
            return ended_holds.unknown()
        if type(ended) is e.Released:
            return receipt(ended, replayed=True)
        message = (
            f"This hold was settled already, with {ended.tokens} tokens charged. Refund the charge instead."
        )
        return Refusal(Code.HOLD_ENDED, message, detail="settled")
    return receipt(end_hold(turn, command.hold, command.reason, command.use))


def end_hold(turn: Turn, key: str, reason: str, use: ModelUse | None = None) -> e.Released:
    """Release the open hold `key`; used by callers and by its deadline."""
    hold = turn.state.holds[key]
    _, returned, lapsed = split(turn.state, hold.moves, 0)
    fields = turn.stamp(free=turn.account.freed(returned), held=-hold.tokens)
    fields.update(key=key, part=1, user=hold.user, feature=hold.feature, reason=reason)
    entry = e.Released(
        **fields,
        tokens=hold.tokens,
        status="done" if reason == "cancelled" else "failed",
        returned=returned,
        lapsed=lapsed,
        beyond=hold.beyond,
        use=use,
    )
    turn.emit(entry)
    return entry


def extend(turn: Turn, command: c.Extend) -> Reply:
    """Let an open hold last longer; never shortens it."""
    if not (type(command.timeout_ms) is int and 1 <= command.timeout_ms <= HOLD_MAX_MS):
        return Refusal(Code.INVALID, f"timeout_ms must be from 1 to {HOLD_MAX_MS}.", detail="timeout_ms")
    hold = turn.state.holds.get(command.hold)
    if hold is None:
        _, ended = ended_holds.history(turn, command.hold)
        if ended is None:
            return ended_holds.unknown()
        code = Code.HOLD_EXPIRED if ended.reason == "timeout" else Code.HOLD_ENDED
        return Refusal(code, "This hold has ended already, so it cannot last longer.")
    deadline = max(hold.deadline, turn.now + command.timeout_ms + turn.catalog.hold_margin_ms)
    fields = turn.signed()
    entry = e.Extended(**fields, tokens=hold.tokens, user=hold.user, hold=command.hold, deadline=deadline)
    turn.emit(entry)
    return receipt(entry)
