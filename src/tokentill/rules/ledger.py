"""The ledger: reserve, settle, release, charge, refund, and tokens given and taken (R-LED-1…10).

Execute-then-charge (R-LED-3): a hold reserves the most an operation can cost, the operation runs, settling
charges what it did cost and gives the rest back in the same entry; failing or timing out charges nothing.
A hold ends exactly once. One whose deadline has passed can never be settled: the success that came too late
is charged 0 and its tokens are counted as the operator's loss.

The server alone prices a use: a fixed feature costs its catalog price times the quantity, a metered one the
tokens the trusted caller names. Nobody states a balance (R-LED-10).

Order of refusals in one decision: request, abuse, licence, plan, balance (R-ABU-8).

What comes back to a lot that has lapsed meanwhile expires. Refunds of charges give back in reverse burn
order: overage first, then the lots last drawn from. Taking tokens back touches unheld ones only.

Requirement ids: R-LED-2, R-LED-3, R-LED-4, R-LED-6, R-LED-7, R-LED-8, R-LED-9, R-LED-10, R-LIC-5, R-ABU-4.
"""

from __future__ import annotations

from tokentill.rules import abuse, commands as c, entries as e, exhaustion, licence
from tokentill.rules.account import BOUGHT_PRIORITY, PLAN_PRIORITY, Hold, State
from tokentill.rules.catalog import TOKENS_MAX, AbuseLimits, Feature, Plan
from tokentill.rules.exhaustion import Cover
from tokentill.rules.receipts import Receipt, receipt
from tokentill.rules.refusals import Code, Refusal
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
        beyond=cover.beyond,
        beyond_kind=cover.beyond_kind,
        price=cover.price,
        output_tokens_max=limits.output_tokens_max,
        rated=_is_rated(limits),
        burned=_is_burned(limits),
    )
    turn.emit(entry)
    return receipt(entry)


def charge(turn: Turn, command: c.Charge) -> Reply:
    """Reserve and settle in one entry (`consumeToken`, R-LED-7)."""
    admitted = _admit(turn, command, None)
    if type(admitted) is Refusal:
        return abuse.record(turn, admitted, command, command.user)
    _, limits, cover = admitted  # type: ignore[misc]  # not a Refusal
    entry = e.Charged(
        **turn.signed(free=cover.beyond - cover.tokens),
        tokens=cover.tokens,
        user=command.user,
        feature=command.feature,
        moves=cover.moves,
        beyond=cover.beyond,
        beyond_kind=cover.beyond_kind,
        price=cover.price,
        amount=cover.beyond * cover.price,
        rated=_is_rated(limits),
        burned=_is_burned(limits),
    )
    turn.emit(entry)
    abuse.after_charge(turn, command.user, limits)
    warn(turn)
    return receipt(entry)


def _is_rated(limits: AbuseLimits) -> bool:
    return limits.requests_per_minute_max is not None or limits.spacing_ms_min is not None


def _is_burned(limits: AbuseLimits) -> bool:
    return (
        limits.burn_alert_tokens_per_hour is not None or limits.burn_alert_percent_of_allowance is not None
    )


def _admit(
    turn: Turn, command: c.Reserve | c.Charge, least: int | None
) -> Refusal | tuple[Feature, AbuseLimits, Cover]:
    """The one decision: request, abuse battery, licence, plan policy, balance (R-ABU-8)."""
    catalog, state = turn.catalog, turn.state
    feature = catalog.features.get(command.feature)
    if feature is None:
        return _unknown_feature(turn, command.feature)
    tokens = _price(command, feature)
    if type(tokens) is Refusal:
        return tokens
    assert type(tokens) is int
    plan = catalog.plans.get(state.plan) if state.plan is not None else None
    limits = command.limits
    if limits is None:
        table = catalog.no_plan_abuse if plan is None else plan.abuse
        limits = table.get(command.feature, abuse.NO_LIMITS)
    refusal = abuse.check(state, command.user, limits, tokens, turn.now)
    if refusal is None and state.failed_at is not None:
        refusal = licence.refuse(state, catalog, command.feature, tokens, turn.now)
    if refusal is None:
        refusal = outside_plan(turn, plan, command.feature, tokens)
    if refusal is None and len(state.holds) >= catalog.holds_max and type(command) is c.Reserve:
        refusal = _holds_max(turn)
    if refusal is not None:
        return refusal
    cover = exhaustion.cover(turn.account, plan, tokens, least)
    if cover is None:
        return exhaustion.refuse(turn.account, catalog, plan, least or tokens, turn.now)
    return feature, limits, cover


def _unknown_feature(turn: Turn, name: str) -> Refusal:
    known = ", ".join(sorted(turn.catalog.features)[:20])
    return Refusal(
        Code.UNKNOWN_FEATURE, f"The catalog has no feature of this name. It has: {known}.", detail=name[:128]
    )


def _price(command: c.Reserve | c.Charge, feature: Feature) -> int | Refusal:
    """What the use costs in tokens; 0 is a price, below 0 is none."""
    wrong = _bad_terms(command)
    if wrong is not None:
        return wrong
    if feature.metered:
        if command.tokens is None:
            message = f"{feature.title} is metered: say how many tokens the request may use."
            return Refusal(Code.INVALID, message, detail="tokens")
        return bad_amount(command.tokens, least=0) or command.tokens
    wrong = bad_amount(command.quantity, what="quantity")
    if wrong is not None:
        return wrong
    tokens = feature.tokens * command.quantity
    if tokens > TOKENS_MAX:
        return Refusal(Code.INVALID, f"quantity is too large: it would cost more than {TOKENS_MAX} tokens.", detail="quantity")
    if command.tokens is not None and (type(command.tokens) is not int or command.tokens != tokens):
        message = f"{command.quantity} × {feature.title} costs {tokens} tokens by the catalog, not what was stated."
        return Refusal(Code.INVALID, message, detail="tokens")
    return tokens


def _bad_terms(command: c.Reserve | c.Charge) -> Refusal | None:
    if type(command) is not c.Reserve:
        return None
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
            way for way in exhaustion.ways_out(turn.account, catalog, plan, tokens, turn.now) if way.kind == "upgrade"
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
    kept, returned, lapsed = [], [], []
    for number, held in moves:
        take = held if held < tokens else tokens
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
        return _settle_ended(turn, command)
    if tokens is None:
        tokens = hold.tokens
    elif tokens > hold.tokens:
        message = f"The hold is of {hold.tokens} tokens, so {tokens} cannot be charged to it."
        return Refusal(Code.EXCEEDS_HOLD, message, needed=tokens, held=hold.tokens)
    if tokens == hold.tokens:
        moves, returned, lapsed, beyond, back = hold.moves, (), (), hold.beyond, 0
    else:
        moves, returned, lapsed = split(state, hold.moves, tokens)
        beyond = max(0, tokens - (hold.tokens - hold.beyond))
        back = sum([n for _, n in returned])
    waived = beyond > 0 and hold.beyond_kind == "overage" and state.failed_at is not None
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
        beyond=beyond,
        beyond_kind=hold.beyond_kind if beyond else None,
        price=hold.price,
        amount=0 if waived else beyond * hold.price,
        waived=waived,
        rated=hold.rated,
        burned=hold.burned,
    )
    turn.emit(entry)
    _after_settle(turn, command, hold)
    return receipt(entry)


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
    warn(turn)


def _settle_ended(turn: Turn, command: c.Settle) -> Reply:
    """A settle of a hold that is not open: a duplicate gets the first answer, a late success is charged 0."""
    held, ended = _history(turn, command.hold)
    if held is None or ended is None:
        return _unknown_hold()
    if type(ended) is e.Charged:
        asked = held.tokens if command.tokens is None else command.tokens
        if asked == ended.tokens:
            return receipt(ended, replayed=True)
        message = f"This hold was settled already, with {ended.tokens} tokens charged."
        return Refusal(Code.HOLD_ENDED, message, detail="settled")
    if ended.reason != "timeout":
        return Refusal(Code.HOLD_ENDED, "This hold was released already, and nothing was charged.", detail="released")
    if not any(type(entry) is e.Late for entry in turn.find(command.hold)):
        lost = min(held.tokens if command.tokens is None else command.tokens, TOKENS_MAX)
        fields = turn.stamp()
        fields.update(key=command.hold, part=3, user=held.user, feature=held.feature)
        turn.emit(e.Late(**fields, lost=lost, status="failed", reason="settled after its deadline"))
    return Refusal(
        Code.HOLD_EXPIRED,
        "The operation took longer than its hold lasted, so nothing was charged and the tokens are back.",
        detail="timeout",
    )


def _history(turn: Turn, hold: str) -> tuple[e.Held | None, e.Charged | e.Released | None]:
    held = ended = None
    for entry in turn.find(hold):
        if type(entry) is e.Held:
            held = entry
        elif entry.part == 1 and isinstance(entry, e.Charged | e.Released):
            ended = entry
    return held, ended


def _unknown_hold() -> Refusal:
    return Refusal(Code.UNKNOWN_HOLD, "This organization has no hold of this id.")


def release(turn: Turn, command: c.Release) -> Reply:
    """End a hold with nothing charged (R-LED-3, R-LED-4)."""
    if command.hold not in turn.state.holds:
        _, ended = _history(turn, command.hold)
        if ended is None:
            return _unknown_hold()
        if type(ended) is e.Released:
            return receipt(ended, replayed=True)
        message = f"This hold was settled already, with {ended.tokens} tokens charged. Refund the charge instead."
        return Refusal(Code.HOLD_ENDED, message, detail="settled")
    return receipt(end_hold(turn, command.hold, command.reason))


def end_hold(turn: Turn, key: str, reason: str) -> e.Released:
    """Release the open hold `key`; used by callers and by its deadline."""
    hold = turn.state.holds[key]
    _, returned, lapsed = split(turn.state, hold.moves, 0)
    fields = turn.stamp(free=sum(n for _, n in returned), held=-hold.tokens)
    fields.update(key=key, part=1, user=hold.user, feature=hold.feature, reason=reason)
    entry = e.Released(
        **fields,
        tokens=hold.tokens,
        status="done" if reason == "cancelled" else "failed",
        returned=returned,
        lapsed=lapsed,
        beyond=hold.beyond,
    )
    turn.emit(entry)
    return entry


def extend(turn: Turn, command: c.Extend) -> Reply:
    """Let an open hold last longer; never shortens it."""
    if not (type(command.timeout_ms) is int and 1 <= command.timeout_ms <= HOLD_MAX_MS):
        return Refusal(Code.INVALID, f"timeout_ms must be from 1 to {HOLD_MAX_MS}.", detail="timeout_ms")
    hold = turn.state.holds.get(command.hold)
    if hold is None:
        _, ended = _history(turn, command.hold)
        if ended is None:
            return _unknown_hold()
        code = Code.HOLD_EXPIRED if ended.reason == "timeout" else Code.HOLD_ENDED
        return Refusal(code, "This hold has ended already, so it cannot last longer.")
    deadline = max(hold.deadline, turn.now + command.timeout_ms + turn.catalog.hold_margin_ms)
    fields = turn.stamp()
    entry = e.Extended(**fields, tokens=hold.tokens, user=hold.user, hold=command.hold, deadline=deadline)
    turn.emit(entry)
    return receipt(entry)


def refund(turn: Turn, command: c.Refund) -> Reply:
    """Give back a charge whose work failed after all (`refundToken`, R-LED-7); once for each charge."""
    history = turn.find(command.operation)
    charged = next((entry for entry in history if type(entry) is e.Charged), None)
    if charged is None:
        if command.operation in turn.state.holds:
            return Refusal(Code.NOT_POSSIBLE, "This operation is still running. Release its hold instead.")
        return Refusal(Code.UNKNOWN_OPERATION, "This organization has no charge of this id.")
    if command.tokens is not None:
        wrong = bad_amount(command.tokens)
        if wrong is not None:
            return wrong
    tokens = charged.tokens if command.tokens is None else command.tokens
    before = next((entry for entry in history if type(entry) is e.Refunded), None)
    if before is not None:
        if before.tokens == tokens:
            return receipt(before, replayed=True)
        message = f"This charge was refunded already, with {before.tokens} tokens given back."
        return Refusal(Code.ALREADY_REFUNDED, message)
    if tokens > charged.tokens:
        message = f"The charge was of {charged.tokens} tokens, so {tokens} cannot be given back."
        return Refusal(Code.EXCEEDS_CHARGE, message, needed=tokens)
    if tokens == 0:
        return Refusal(Code.NOT_POSSIBLE, "This charge was of 0 tokens, so there is nothing to give back.")
    return _give_back(turn, command, charged, tokens)


def _give_back(turn: Turn, command: c.Refund, charged: e.Charged, tokens: int) -> Reply:
    state = turn.state
    beyond = min(tokens, charged.beyond)
    left = tokens - beyond
    returned, lapsed = [], []
    for number, spent in reversed(charged.moves):
        take = min(left, spent)
        left -= take
        if not take:
            continue
        lot = state.lots.get(number)
        if lot is None:
            return Refusal(Code.NOT_POSSIBLE, "The tokens of this charge are too long gone to be given back.")
        (lapsed if lot.lapsed else returned).append((number, take))
    fields = turn.stamp(free=sum(n for _, n in returned))
    fields.update(key=command.operation, part=2, user=charged.user, feature=charged.feature)
    in_period = state.period is None or charged.time >= state.period.start
    entry = e.Refunded(
        **fields,
        tokens=tokens,
        reason=command.reason[:200],
        returned=tuple(returned),
        lapsed=tuple(lapsed),
        beyond=beyond,
        beyond_kind=charged.beyond_kind if in_period and beyond else None,
        amount=0 if charged.waived else beyond * charged.price,
    )
    turn.emit(entry)
    return receipt(entry)


def grant(turn: Turn, command: c.Grant) -> Reply:
    """Add a lot (R-LED-6): a purchase, bonus, credit or gift."""
    wrong = bad_amount(command.tokens)
    if wrong is not None:
        return wrong
    if command.origin in ("plan", "rollover"):
        return Refusal(Code.INVALID, "Plan tokens come with a period; grant them under another origin.", detail="origin")
    expires = command.expires_at
    if expires is not None and not (type(expires) is int and turn.now < expires < TOKENS_MAX):
        return Refusal(Code.INVALID, "expires_at must lie in the future, in epoch milliseconds.", detail="expires_at")
    return receipt(add_lot(turn, command, turn.signed()))


def add_lot(turn: Turn, command: c.Grant, fields: dict[str, object]) -> e.Granted:
    """Emit the grant of a lot as `command` describes it; `fields` are the entry's own."""
    token = command.unit == "token"
    entry = e.Granted(
        **{**fields, "balance": turn.account.free + (command.tokens if token else 0)},  # type: ignore[arg-type]
        tokens=command.tokens,
        lot=turn.state.lot_next,
        origin=command.origin,
        priority=PLAN_PRIORITY if command.origin in ("plan", "rollover") else BOUGHT_PRIORITY,
        expires_at=command.expires_at,
        unit=command.unit,
        reference=command.reference,
        reason=command.reason,
        actor=command.actor,
    )
    turn.emit(entry)
    return entry


def adjust(turn: Turn, command: c.Adjust) -> Reply:
    """Correct the balance by hand (R-LED-8): up makes a lot, down takes unheld tokens in burn order."""
    if not command.reason.strip() or not command.actor.strip():
        return Refusal(Code.INVALID, "An adjustment needs a reason and the name of who makes it.", detail="reason")
    if type(command.tokens) is int and command.tokens > 0:
        up = c.Grant(tokens=command.tokens, origin="adjustment", reason=command.reason, actor=command.actor)
        return grant(turn, up)
    wrong = bad_amount(-command.tokens if type(command.tokens) is int else command.tokens)
    if wrong is not None:
        return Refusal(Code.INVALID, "tokens must be a whole number other than 0.", detail="tokens")
    tokens = -command.tokens
    if tokens > turn.account.free:
        return _exceeds_unheld(turn.account.free, tokens)
    entry = e.Revoked(
        **turn.signed(free=-tokens),
        tokens=tokens,
        moves=exhaustion.draw(turn.account, tokens),
        reason=command.reason,
        actor=command.actor,
    )
    turn.emit(entry)
    warn(turn)
    return receipt(entry)


def _exceeds_unheld(free: int, tokens: int) -> Refusal:
    message = f"Only {free} unheld tokens can be taken back, and {tokens} were asked for. Held ones belong to running operations."
    return Refusal(Code.EXCEEDS_UNHELD, message, balance=free, needed=tokens)


def revoke(turn: Turn, command: c.Revoke) -> Reply:
    """Take unheld tokens back from one lot (refunds and disputes)."""
    wrong = bad_amount(command.tokens)
    if wrong is not None:
        return wrong
    lot = turn.state.lots.get(command.lot)
    if lot is None:
        return Refusal(Code.UNKNOWN_LOT, "This organization has no lot of this number.")
    if command.tokens > lot.available:
        return _exceeds_unheld(lot.available, command.tokens)
    entry = e.Revoked(
        **turn.signed(free=-command.tokens if lot.unit == "token" else 0),
        tokens=command.tokens,
        moves=((command.lot, command.tokens),),
        origin=command.origin,
        unit=lot.unit,
        reference=command.reference,
        reason=command.reason,
    )
    turn.emit(entry)
    warn(turn)
    return receipt(entry)
