"""Corrections: a charge given back, tokens given and taken by hand, by purchase, by refund.

Refunding a failed charge gives back in reverse burn order: overage first, then the lots last drawn from;
what belonged to a lot that has lapsed expires. A charge is refunded once. Taking tokens back touches unheld
ones only: held ones belong to running operations. While a refund or a dispute about a purchase is in progress
its lots are set aside, so that what may have to be taken back is not spent meanwhile.

Requirement ids: R-LED-6, R-LED-7, R-LED-8, R-REF-5, R-LIC-5.
"""

from __future__ import annotations

from tokentill.rules import commands as c
from tokentill.rules import entries as e
from tokentill.rules import exhaustion
from tokentill.rules.account import BOUGHT_PRIORITY, PLAN_PRIORITY, Lot
from tokentill.rules.catalog import ACCOUNT_TOKENS_MAX, TOKENS_MAX
from tokentill.rules.receipts import Receipt, receipt
from tokentill.rules.refusals import Code, Refusal
from tokentill.rules.turn import Turn, bad_amount
from tokentill.rules.warnings import expiry_warning, warn

Reply = Receipt | Refusal


def refund(turn: Turn, command: c.Refund) -> Reply:
    """Give back a charge whose work failed after all (`refundToken`, R-LED-7); once for each charge."""
    wrong = None if command.tokens is None else bad_amount(command.tokens)
    if wrong is not None:
        return wrong
    history = turn.find(command.operation)
    charged = next((entry for entry in history if type(entry) is e.Charged), None)
    if charged is None:
        if command.operation in turn.state.holds:
            return Refusal(Code.NOT_POSSIBLE, "This operation is still running. Release its hold instead.")
        return Refusal(Code.UNKNOWN_OPERATION, "This organization has no charge of this id.")
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
    returned: list[tuple[int, int]] = []
    lapsed: list[tuple[int, int]] = []
    for number, spent in reversed(charged.moves):
        take = min(left, spent)
        left -= take
        if not take:
            continue
        lot = state.lots.get(number)
        if lot is None:
            return Refusal(Code.NOT_POSSIBLE, "The tokens of this charge are too long gone to be given back.")
        (lapsed if lot.lapsed else returned).append((number, take))
    fields = turn.stamp(free=turn.account.freed(tuple(returned)))
    fields.update(key=command.operation, part=2, user=charged.user, feature=charged.feature)
    in_period = state.period is None or charged.time >= max(state.period.start, state.counted_from)
    amount = 0 if charged.waived else beyond * charged.price
    # What is not on this period's bill to come was on one before.
    unbilled = min(amount, state.overage_amount) if in_period else 0
    entry = e.Refunded(
        **fields,
        tokens=tokens,
        reason=command.reason[:200],
        returned=tuple(returned),
        lapsed=tuple(lapsed),
        beyond=beyond,
        beyond_kind=charged.beyond_kind if in_period and beyond else None,
        amount=amount,
        credited=amount - unbilled if charged.beyond_kind == "overage" else 0,
        purse=charged.purse,
        use=charged.use,
    )
    turn.emit(entry)
    return receipt(entry)


def grant(turn: Turn, command: c.Grant) -> Reply:
    """Add a lot (R-LED-6): a purchase, bonus, credit or gift."""
    wrong = bad_amount(command.tokens)
    if wrong is not None:
        return wrong
    if command.origin in ("plan", "rollover"):
        return Refusal(
            Code.INVALID, "Plan tokens come with a period; grant them under another origin.", detail="origin"
        )
    account = turn.account
    if command.unit == "token" and account.left + account.aside + command.tokens > ACCOUNT_TOKENS_MAX:
        message = f"An account holds at most {ACCOUNT_TOKENS_MAX} tokens, and this would be more. Nothing was changed."
        return Refusal(Code.INVALID, message, detail="tokens")
    expires = command.expires_at
    if expires is not None and not (type(expires) is int and turn.now < expires < TOKENS_MAX):
        return Refusal(
            Code.INVALID, "expires_at must lie in the future, in epoch milliseconds.", detail="expires_at"
        )
    return receipt(add_lot(turn, command, turn.signed()))


def add_lot(turn: Turn, command: c.Grant, fields: dict[str, object]) -> e.Granted:
    """Emit the grant of a lot as `command` describes it; `fields` are the entry's own."""
    token = command.unit == "token"
    of_plan = command.origin in ("plan", "rollover")
    warn_at = None if of_plan or not token else expiry_warning(turn, command.expires_at)
    entry = e.Granted(
        **{**fields, "balance": turn.account.free + (command.tokens if token else 0)},  # type: ignore[arg-type]  # a stamp
        tokens=command.tokens,
        lot=turn.state.lot_next,
        origin=command.origin,
        priority=PLAN_PRIORITY if of_plan else BOUGHT_PRIORITY,
        expires_at=command.expires_at,
        unit=command.unit,
        reference=command.reference,
        reason=command.reason,
        actor=command.actor,
        warn_at=warn_at,
    )
    turn.emit(entry)
    return entry


def adjust(turn: Turn, command: c.Adjust) -> Reply:
    """Correct the balance by hand (R-LED-8): up makes a lot, down takes unheld tokens in burn order."""
    if not command.reason.strip() or not command.actor.strip():
        return Refusal(
            Code.INVALID, "An adjustment needs a reason and the name of who makes it.", detail="reason"
        )
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
    message = (
        f"Only {free} unheld tokens can be taken back, and {tokens} were asked for. "
        "Held ones belong to running operations."
    )
    return Refusal(Code.EXCEEDS_UNHELD, message, balance=free, needed=tokens)


def _lots_of(turn: Turn, lot: int | None, reference: str | None) -> list[Lot] | Refusal:
    """The lots a command names: the one of the number, or all token lots of the purchase, oldest first.

    What rolled over of a purchase while it is contested is set aside for it, and named with it.
    """
    lots = turn.state.lots
    if lot is not None:
        known = lots.get(lot) if type(lot) is int else None
        if known is None:
            return Refusal(Code.UNKNOWN_LOT, "This organization has no lot of this number.")
        return [known]
    if reference is None:
        message = "Say which lot: its number, or the reference of the purchase that brought it."
        return Refusal(Code.INVALID, message, detail="lot")
    aside = turn.state.aside
    found = [
        known
        for known in lots.values()
        if known.unit == "token" and (known.reference == reference or aside.get(known.id) == reference)
    ]
    return found or Refusal(Code.UNKNOWN_LOT, "This organization has no token lot of this reference.")


def _bad_share(command: c.Revoke, share: tuple[int, int]) -> Refusal | None:
    part, whole = share
    whole_numbers = type(part) is int and type(whole) is int
    if command.tokens is None and whole_numbers and 0 < part <= whole <= TOKENS_MAX:
        return None
    message = (
        "share is (part, whole), whole numbers above 0 and the part no larger; it stands without tokens."
    )
    return Refusal(Code.INVALID, message, detail="share")


def revoke(turn: Turn, command: c.Revoke) -> Reply:
    """Take unheld tokens back from the lots of a purchase (refunds and disputes), also from lots set aside."""
    wrong = None if command.tokens is None else bad_amount(command.tokens)
    wrong = wrong or (None if command.share is None else _bad_share(command, command.share))
    if wrong is not None:
        return wrong
    lots = _lots_of(turn, command.lot, command.reference)
    if type(lots) is Refusal:
        return lots
    assert type(lots) is list
    free = sum(lot.available for lot in lots)
    left = tokens = free if command.tokens is None else command.tokens
    if command.share is not None:
        part, whole = command.share
        left = tokens = free * part // whole
    if tokens > free:
        return _exceeds_unheld(free, tokens)
    moves: list[tuple[int, int]] = []
    for lot in lots:
        take = min(left, lot.available)
        left -= take
        if take:
            moves.append((lot.id, take))
    unit = lots[0].unit
    entry = e.Revoked(
        **turn.signed(free=-turn.account.freed(tuple(moves)) if unit == "token" else 0),
        tokens=tokens,
        moves=tuple(moves),
        origin=command.origin,
        unit=unit,
        reference=command.reference,
        reason=command.reason,
    )
    turn.emit(entry)
    warn(turn)
    return receipt(entry)


def set_aside(turn: Turn, command: c.SetAside) -> Reply:
    """Set the lots of a purchase aside while a refund or a dispute is in progress (R-REF-5)."""
    state = turn.state
    lots = _lots_of(turn, command.lot, command.reference)
    # What the plan runs on may bring tokens later that belong to it, too.
    runs = command.lot is None and command.reference == state.paid_reference != state.contested
    if type(lots) is Refusal:
        if not runs or command.reference is None:
            return lots
        lots = []
    assert type(lots) is list
    if lots and lots[0].unit != "token":
        return Refusal(Code.NOT_POSSIBLE, "This lot is money credit. Only lots of tokens are set aside.")
    living = [lot for lot in lots if not lot.lapsed]
    fresh = [lot for lot in living if lot.id not in state.aside]
    if not fresh and not runs:
        if not living:
            return Refusal(Code.NOT_POSSIBLE, "These tokens have lapsed, so nothing remains to set aside.")
        return Refusal(Code.NOT_POSSIBLE, "These tokens are set aside already.")
    moves = tuple((lot.id, lot.available) for lot in fresh if lot.available)
    tokens = sum(tokens for _, tokens in moves)
    entry = e.SetAside(
        **turn.signed(free=-tokens),
        tokens=tokens,
        moves=moves,
        lots=tuple(lot.id for lot in fresh),
        reference=command.reference,
        reason=command.reason,
    )
    turn.emit(entry)
    warn(turn)
    return receipt(entry)


def give_back(turn: Turn, command: c.GiveBack) -> Reply:
    """Let lots that were set aside be spent again: the refund was not taken, the dispute was won (R-REF-5)."""
    lots = _lots_of(turn, command.lot, command.reference)
    contested = command.lot is None and turn.state.contested
    runs = command.reference is not None and command.reference == contested
    if type(lots) is Refusal:
        if not runs:
            return lots
        lots = []
    assert type(lots) is list
    kept = [lot for lot in lots if lot.id in turn.state.aside]
    if not kept and not runs:
        return Refusal(Code.NOT_POSSIBLE, "These tokens are not set aside, so there is nothing to give back.")
    moves = tuple((lot.id, lot.available) for lot in kept if lot.available)
    tokens = sum(tokens for _, tokens in moves)
    entry = e.GivenBack(
        **turn.signed(free=tokens),
        tokens=tokens,
        moves=moves,
        lots=tuple(lot.id for lot in kept),
        reference=command.reference,
        reason=command.reason,
    )
    turn.emit(entry)
    return receipt(entry)
