"""Who may use what in the naive model: every reason against a use, and where its tokens come from."""

from __future__ import annotations

from msgspec import Struct

from tokentill.lab.naive.calendar import DAY_MS
from tokentill.lab.naive.notebook import Answer, Draws, Notebook, UseNote, split
from tokentill.rules import commands as c
from tokentill.rules.catalog import TOKENS_MAX, AbuseLimits, Feature
from tokentill.rules.refusals import Code

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
PRECEDENCE = {code: place for place, code in enumerate(Code)}


class Cover(Struct):
    """Where a use's tokens come from."""

    draws: Draws
    beyond: int = 0
    kind: str | None = None
    price: int = 0


def wrong_terms(command: c.Reserve | c.Charge) -> bool:
    """Whether a use says something no feature can make sense of."""
    if not 1 <= command.quantity <= TOKENS_MAX:
        return True
    name, most = command.purse, command.purse_max
    if (name is None and most is not None) or name == "" or not (most is None or 0 <= most <= TOKENS_MAX):
        return True
    if isinstance(command, c.Charge):
        return False
    timeout, least = command.timeout_ms, command.least
    return not (timeout is None or 1 <= timeout <= DAY_MS) or not (least is None or 1 <= least <= TOKENS_MAX)


def price_of(command: c.Reserve | c.Charge, feature: Feature) -> int | None:
    """Tokens a use costs, None where the command does not say what it must."""
    if feature.metered:
        return command.tokens if command.tokens is not None and 0 <= command.tokens <= TOKENS_MAX else None
    cost = feature.tokens * command.quantity
    return cost if command.tokens in (None, cost) and cost <= TOKENS_MAX else None


def use(book: Notebook, envelope: c.Envelope, command: c.Reserve | c.Charge) -> Answer:
    """Admit a use, as a hold or as a charge at once; every reason against it is collected, the first is given."""
    feature = book.catalog.features.get(command.feature)
    wrong = wrong_terms(command)
    if feature is None:
        return refuse(book, envelope, command, {Code.INVALID if wrong else Code.UNKNOWN_FEATURE: {}}, None)
    limits = command.limits or book.limits(command.feature)
    price = price_of(command, feature)
    if wrong or price is None:
        return refuse(book, envelope, command, {Code.INVALID: {}}, limits)
    least = command.least if isinstance(command, c.Reserve) and feature.metered else None
    reasons = _abuse(book, command.user, limits, price) | _standing(book, feature, price)
    price = _purse(book, command, price, least, reasons)
    cover = cover_of(book, price, least)
    if isinstance(command, c.Reserve) and len(book.open_holds()) >= book.catalog.holds_max:
        reasons[Code.HOLDS_MAX] = {}
    if cover is None:
        needed = price if least is None else least
        said = {"balance": book.free(), "needed": needed, "held": book.held()}
        reasons.setdefault(_uncovered(book, needed), said)
    if reasons or cover is None:
        return refuse(book, envelope, command, reasons, limits)
    tokens = sum(n for _, n in cover.draws) + cover.beyond
    note = UseNote(
        envelope.key or "", command.user, book.now, tokens, cover.draws, cover.beyond, cover.kind, cover.price
    )
    note.purse = command.purse
    note.burns = limits.burn_alert_tokens_per_hour is not None and command.user is not None
    book.uses.append(note)
    if limits.requests_per_minute_max is not None or limits.spacing_ms_min is not None:
        book.user(command.user).admitted.append(book.now)
    if cover.kind == "grace":
        book.grace += 1
    figures = {"tokens": tokens, "beyond": cover.beyond}
    if isinstance(command, c.Charge):
        charge(book, note, tokens, limits)
        return Answer(None, figures | {"kind": "charge", "amount": note.amount, "released": 0})
    note.feature = command.feature
    lasts = feature.timeout_ms if command.timeout_ms is None else command.timeout_ms
    note.deadline = book.now + lasts + book.catalog.hold_margin_ms
    figures |= {"deadline": note.deadline, "amount": 0}
    return Answer(None, figures | {"kind": "hold", "output_tokens_max": limits.output_tokens_max})


def refuse(
    book: Notebook,
    envelope: c.Envelope,
    command: c.Reserve | c.Charge,
    reasons: dict[Code, dict[str, int]],
    limits: AbuseLimits | None,
) -> Answer:
    """Give the first reason; invalid and oversized requests of a known user count toward the block (readings)."""
    code = min(reasons, key=PRECEDENCE.__getitem__)
    said = command.limits or limits or strictest(book)
    flood = floods(book, command.user, said)
    if code in (Code.INVALID, Code.UNKNOWN_FEATURE, Code.TOO_LARGE) and command.user:
        attempt(book, command.user, command.limits or limits)
    waits = (Code.BLOCKED, Code.RATE, Code.SPACING, Code.HOLDS_MAX, Code.HELD)
    remembered = envelope.keyed and isinstance(command, c.Charge) and code not in waits and not flood
    counted = said.requests_per_minute_max is not None or said.spacing_ms_min is not None
    if remembered and counted:  # on the record under its key, so it counts as a request
        book.user(command.user).admitted.append(book.now)
    return Answer(code, reasons[code], remembered=remembered)


def strictest(book: Notebook) -> AbuseLimits:
    """The limits with the fewest attempts, for a request that names no feature."""
    table = book.catalog.no_plan_abuse if book.plan is None else book.plan.abuse
    allowed = [each for each in table.values() if each.attempts_max is not None]
    return min(allowed, key=lambda each: each.attempts_max or 0, default=AbuseLimits())


def floods(book: Notebook, name: str | None, limits: AbuseLimits) -> bool:
    """Whether the user is blocked or beyond the rate, so that refusals are counted and not kept (R-ABU-7)."""
    user, most = book.user(name), limits.requests_per_minute_max
    minute = [at for at in user.admitted if at > book.now - MINUTE_MS]
    return user.blocked_until > book.now or (most is not None and len(minute) >= most)


def attempt(book: Notebook, name: str, limits: AbuseLimits | None) -> None:
    """Note a failed attempt; at the last one allowed within the window the user is blocked (R-ABU-6)."""
    limits = limits or strictest(book)
    if limits.attempts_max is None or floods(book, name, limits):
        return
    user = book.user(name)
    user.attempts.append(book.now)
    recent = [at for at in user.attempts if at > book.now - limits.attempts_window_ms]
    blocked = user.blocked_until > book.now
    if len(recent) >= limits.attempts_max and not blocked:
        user.blocked_until = book.now + limits.block_ms
        user.attempts = []


def _abuse(book: Notebook, name: str | None, limits: AbuseLimits, tokens: int) -> dict[Code, dict[str, int]]:
    """What the battery has against a use, each with the earliest retry that can pass it (R-ABU-7)."""
    user = book.user(name)
    found: dict[Code, dict[str, int]] = {}
    if user.blocked_until > book.now:
        found[Code.BLOCKED] = {"retry_after_ms": user.blocked_until - book.now}
    if limits.tokens_per_request_max is not None and tokens > limits.tokens_per_request_max:
        found[Code.TOO_LARGE] = {"needed": tokens}
    most = limits.requests_per_minute_max
    minute = sorted(at for at in user.admitted if at > book.now - MINUTE_MS)
    if most is not None and len(minute) >= most:
        found[Code.RATE] = {"retry_after_ms": minute[len(minute) - most] + MINUTE_MS - book.now}
    spacing = limits.spacing_ms_min
    if spacing is not None and user.admitted and book.now - max(user.admitted) < spacing:
        found[Code.SPACING] = {"retry_after_ms": max(user.admitted) + spacing - book.now}
    return found


def _standing(book: Notebook, feature: Feature, tokens: int) -> dict[Code, dict[str, int]]:
    """What licence and plan have against a use."""
    found: dict[Code, dict[str, int]] = {}
    if book.failed_at is not None:
        steps = book.catalog.licence.steps
        off = [step.group for step in steps if book.now >= book.failed_at + step.after_days * DAY_MS]
        if feature.group in off or tokens > 0:
            found[Code.LICENCE] = {}
    if book.plan is None and feature.id not in book.catalog.no_plan_features:
        found[Code.NO_PLAN] = {}
    if book.plan is not None and feature.id not in book.plan.features:
        found[Code.NOT_IN_PLAN] = {}
    return found


def _purse(
    book: Notebook,
    command: c.Reserve | c.Charge,
    tokens: int,
    least: int | None,
    reasons: dict[Code, dict[str, int]],
) -> int:
    """What the key's limit has against a use goes into `reasons`; the tokens it allows (R-SALE-8)."""
    if command.purse is None or command.purse_max is None:
        return tokens
    spent, held = book.purse(command.purse)
    left = max(0, command.purse_max - spent - held)
    needed = tokens if least is None else least
    if tokens <= left:
        return tokens
    if least is not None and least <= left:
        return left
    code = Code.HELD if spent + needed <= command.purse_max else Code.KEY_LIMIT
    reasons[code] = {"balance": left, "needed": needed, "held": held}
    return tokens


def cover_of(book: Notebook, tokens: int, least: int | None) -> Cover | None:
    """How a use can be covered: an unlimited plan, the lots, a grace use, overage, or cut down to what is free."""
    plan, free = book.plan, book.free()
    if plan is not None and plan.unlimited:
        running = sum(hold.beyond for hold in book.open_holds() if hold.kind == "unlimited")
        if plan.fair_use is None or book.unlimited_now() + running + tokens <= plan.fair_use:
            return Cover([], tokens, "unlimited")
    if free >= tokens:
        return Cover(book.draw(tokens))
    if plan is not None and book.grace < plan.exhaustion.grace_uses:
        return Cover(book.draw(free), tokens - free, "grace")
    if plan is not None and plan.exhaustion.overage is not None:
        price = plan.exhaustion.overage.price
        cap = plan.exhaustion.overage.cap if book.cap is None else book.cap
        running = sum(hold.beyond * hold.price for hold in book.open_holds() if hold.kind == "overage")
        if cap is None or book.overage_now()[1] + running + (tokens - free) * price <= cap:
            return Cover(book.draw(free), tokens - free, "overage", price)
    if least is not None and free >= least:
        return Cover(book.draw(free))
    return None


def _uncovered(book: Notebook, tokens: int) -> Code:
    """Only running operations stand in the way, or the spending cap, or there is nothing left."""
    living = {lot.number for lot in book.lots if not lot.lapsed and not lot.aside}
    coming = sum(n for hold in book.open_holds() for number, n in hold.draws if number in living)
    plan, running = book.plan, book.open_holds()
    if running and book.free() + coming >= tokens:
        return Code.HELD
    fair_use = plan.fair_use if plan is not None and plan.unlimited else None
    if running and fair_use is not None and book.unlimited_now() + tokens <= fair_use:
        return Code.HELD
    overage = None if plan is None else plan.exhaustion.overage
    if overage is not None and any(hold.kind == "overage" and hold.price for hold in running):
        cap = overage.cap if book.cap is None else book.cap
        if cap is None or book.overage_now()[1] + (tokens - book.free() - coming) * overage.price <= cap:
            return Code.HELD
    capped = overage is not None
    return Code.SPENDING_CAP if capped else Code.EXHAUSTED


def charge(book: Notebook, note: UseNote, tokens: int, limits: AbuseLimits) -> None:
    """Tokens of a use are spent: its lots first, beyond them last. While payment is failed overage is free (R-LIC-5)."""
    from_lots = min(tokens, sum(n for _, n in note.draws))
    note.state, note.charged, note.charged_at = "settled", tokens, book.now
    note.spent = split(note.draws, from_lots)
    note.charged_beyond = tokens - from_lots
    of_this_period = book.start is None or note.at >= book.counted_from
    if note.kind == "grace" and not note.charged_beyond and of_this_period:
        book.grace = max(0, book.grace - 1)
    if note.kind == "overage" and note.charged_beyond:
        note.amount = 0 if book.failed_at is not None else note.charged_beyond * note.price
        book.overage.append((note.charged_beyond, note.amount))
    elif note.kind == "unlimited":
        book.unlimited.append(note.charged_beyond)
    most = limits.burn_alert_tokens_per_hour
    if most is None or not note.burns:
        return
    minute = book.now // MINUTE_MS
    recent = [
        use.charged
        for use in book.uses
        if use.user == note.user and use.burns and minute - 60 < use.charged_at // MINUTE_MS <= minute
    ]
    alerts = book.user(note.user).alerts
    if sum(recent) > most and not (alerts and book.now - alerts[-1] < HOUR_MS):
        alerts.append(book.now)
        book.alerts.append((note.user or "", sum(recent), most))
