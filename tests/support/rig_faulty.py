"""Planted faults: tills that are wrong in one way each, to show that the rigs see it (negative controls).

Each wraps the real `execute` and tampers with the account or the entries around it, as a wrong rule would.
Nothing in the product knows of them.
"""

from collections.abc import Callable
from typing import Any

from msgspec import structs

from tests.support.rig_model import Execute
from tokentill.rules import account as a
from tokentill.rules import chain, decide
from tokentill.rules import commands as c
from tokentill.rules import entries as e
from tokentill.rules.catalog import Catalog
from tokentill.rules.evolve import evolve
from tokentill.rules.receipts import Receipt, receipt
from tokentill.rules.turn import Find

FAR = 1 << 61


def check_then_deduct() -> Execute:
    """Every other use is decided against what was there before the use before it, and deducted from what is now."""
    before: list[bytes] = []

    def execute(
        account: a.Account, envelope: c.Envelope, catalog: Catalog, now: int, find: Find
    ) -> decide.Outcome:
        known = envelope.keyed and find(envelope.key or "")
        if not isinstance(envelope.command, c.Reserve | c.Charge) or known:
            return decide.execute(account, envelope, catalog, now, find)
        if not before or not account.state.opened:
            before[:] = [account.dump()] if account.state.opened else []
            return decide.execute(account, envelope, catalog, now, find)
        due = decide.execute(account, c.Envelope(envelope.organization, c.Tick()), catalog, now, find).entries
        outcome = decide.execute(a.Account.load(before.pop()), envelope, catalog, now, find)
        made = [_deduct(account, x, now) for x in outcome.entries if isinstance(x, e.Held | e.Charged)]
        return decide.Outcome([*due, *made], receipt(made[-1]) if made else outcome.reply)

    return execute


def _deduct(account: a.Account, entry: e.Held | e.Charged, now: int) -> e.Held | e.Charged:
    """The entry as it would be stored, with nobody looking whether there is enough."""
    drawn, state = sum(tokens for _, tokens in entry.moves), account.state
    for number, tokens in entry.moves:
        lot = state.lots[number]
        lot.available += tokens
        account.free += tokens
        account.list_lot(lot)
    held = entry.tokens if isinstance(entry, e.Held) else 0
    time, free = max(state.time, now), account.free - 2 * drawn
    entry = structs.replace(
        entry, purse_max=None, seq=state.seq + 1, time=time, balance=free, held=account.held + held
    )
    evolve(account, entry)
    for number, tokens in entry.moves:
        lot = state.lots[number]
        lot.available -= tokens
        account.free -= tokens
        if lot.available <= 0:
            account.unlist_lot(lot)
    return entry


def settle_twice() -> Execute:
    """A settle that comes again is charged again, to whatever is free."""

    def execute(
        account: a.Account, envelope: c.Envelope, catalog: Catalog, now: int, find: Find
    ) -> decide.Outcome:
        outcome = decide.execute(account, envelope, catalog, now, find)
        reply = outcome.reply
        if not isinstance(envelope.command, c.Settle) or not isinstance(reply, Receipt) or not reply.replayed:
            return outcome
        charged = [entry for entry in find(envelope.command.hold) if isinstance(entry, e.Charged)]
        lot = next((lot for lot in account.state.lots.values() if lot.available >= charged[0].tokens), None)
        if lot is None or lot.unit != "token":
            return outcome
        state = account.state
        lot.available -= charged[0].tokens
        lot.spent += charged[0].tokens
        account.free -= charged[0].tokens
        state.seq += 1
        again = structs.replace(
            charged[0], seq=state.seq, time=state.time, balance=account.free, held=account.held,
            moves=((lot.id, charged[0].tokens),), returned=(), lapsed=(),
        )  # fmt: skip
        return decide.Outcome([*outcome.entries, again], receipt(again))

    return execute


def _around(
    before: Callable[[a.Account, c.Command], Any], after: Callable[[a.Account, Any], None]
) -> Callable[[], Execute]:
    def make() -> Execute:
        def execute(
            account: a.Account, envelope: c.Envelope, catalog: Catalog, now: int, find: Find
        ) -> decide.Outcome:
            kept = before(account, envelope.command)
            outcome = decide.execute(account, envelope, catalog, now, find)
            after(account, kept)
            return outcome

        return execute

    return make


def _youngest_first(account: a.Account, _command: c.Command) -> None:
    account.order.sort(key=lambda key: -key[2])


def _in_order(account: a.Account, _kept: None) -> None:
    account.order = a.Account(account.state).order


def _revive(account: a.Account, command: c.Command) -> list[a.Lot]:
    lapsed = [lot for lot in account.state.lots.values() if lot.lapsed and lot.held]
    for lot in lapsed if isinstance(command, c.Settle | c.Release) else ():
        lot.lapsed = False
    return lapsed


def _lapse(_account: a.Account, lapsed: list[a.Lot]) -> None:
    for lot in lapsed:
        lot.lapsed = True


def _no_deadlines(account: a.Account, _command: c.Command) -> dict[str, int]:
    """Holds do not time out while a command is decided."""
    deadlines = {key: hold.deadline for key, hold in account.state.holds.items()}
    for hold in account.state.holds.values():
        hold.deadline = FAR
    account.rebuild_timers()
    return deadlines


def _deadlines_again(account: a.Account, deadlines: dict[str, int]) -> None:
    for key, hold in account.state.holds.items():
        hold.deadline = deadlines.get(key, hold.deadline)
    account.rebuild_timers()


def _nothing(_account: a.Account, _kept: Any) -> None:
    """Leave it."""


def _one_more(account: a.Account, command: c.Command) -> None:
    """There is always one token more than there is."""
    empty = [lot for lot in account.state.lots.values() if not lot.available and not lot.lapsed]
    if isinstance(command, c.Reserve | c.Charge) and empty and empty[-1].unit == "token" and not account.free:
        empty[-1].available += 1
        account.free += 1
        account.list_lot(empty[-1])


def charge_again_on_replay() -> Execute:
    """A key does not protect: a charge that comes again is done again, as if for the first time."""
    count = [0]

    def execute(
        account: a.Account, envelope: c.Envelope, catalog: Catalog, now: int, find: Find
    ) -> decide.Outcome:
        before = [x for x in find(envelope.key or "") if isinstance(x, e.Charged) and x.part == 0]
        body = chain.fingerprint(c.encode(envelope.command))
        if before and isinstance(envelope.command, c.Charge) and before[0].body == body:
            count[0] += 1
            envelope = structs.replace(envelope, key=f"{count[0]:032d}")
        return decide.execute(account, envelope, catalog, now, find)

    return execute


def _spend_aside(account: a.Account, command: c.Command) -> dict[int, str]:
    """What is set aside lot by lot can be spent like any other."""
    aside = dict(account.state.aside) if isinstance(command, c.Reserve | c.Charge) else {}
    if aside:
        account.state.aside.clear()
        _derived(account)
    return aside


def _aside_again(account: a.Account, aside: dict[int, str]) -> None:
    if aside:
        account.state.aside.update(aside)
        _derived(account)


def _derived(account: a.Account) -> None:
    fresh = a.Account(account.state)
    account.free, account.aside, account.order = fresh.free, fresh.aside, fresh.order


def _forget_purses(account: a.Account, command: c.Command) -> dict[str, list[int]]:
    """What a key has used already is forgotten while another use of it is decided."""
    kept = dict(account.state.purses) if isinstance(command, c.Reserve | c.Charge) else {}
    for name in kept:
        account.state.purses[name] = [0, 0]
    return kept


def _purses_again(account: a.Account, kept: dict[str, list[int]]) -> None:
    for name, counts in kept.items():
        for at, count in enumerate(counts):
            account.state.purses[name][at] += count


def _lift_by_invoice(account: a.Account, command: c.Command) -> None:
    """An invoice that is paid lifts what an operator froze."""
    state = account.state
    if isinstance(command, c.Reset) and state.hand_at is not None:
        state.hand_at, state.owed_at = None, state.failed_at


def _free_what_rolled_over(account: a.Account, _kept: None) -> None:
    """What was contested when its period ended is free in the next one."""
    aside, lots = account.state.aside, account.state.lots
    carried = [number for number in aside if number in lots and lots[number].origin == "rollover"]
    for number in carried:
        del aside[number]
    if carried:
        _derived(account)


contested_comes_free = _around(lambda _account, _command: None, _free_what_rolled_over)
"""The planted fault of the rig of contested periods, which the long streams meet too seldom."""

FAULTS: dict[str, Callable[[], Execute]] = {
    "check then deduct": check_then_deduct,
    "settle twice": settle_twice,
    "missing burn order": _around(_youngest_first, _in_order),
    "released tokens of an expired lot come back": _around(_revive, _lapse),
    "hold expiry ignored": _around(_no_deadlines, _deadlines_again),
    "tokens set aside are spent": _around(_spend_aside, _aside_again),
    "an invoice lifts what a hand froze": _around(_lift_by_invoice, _nothing),
    "what a key has used is forgotten": _around(_forget_purses, _purses_again),
    "overspend by one": _around(_one_more, _nothing),
    "replay charges again": charge_again_on_replay,
}
