"""R-LED-1 … R-LED-10: balances, burn order, execute-then-charge, refunds, adjustments, idempotency."""

import pytest

from tests.support.desk import SECRET, Desk, change_plan, ms, preset, without_limits
from tokentill.rules import chain
from tokentill.rules import commands as c
from tokentill.rules import entries as e
from tokentill.rules.account import Account
from tokentill.rules.catalog import ACCOUNT_TOKENS_MAX, TOKENS_MAX, Exhaustion, Overage
from tokentill.rules.decide import execute, lookup_key
from tokentill.rules.evolve import Misfit, evolve
from tokentill.rules.refusals import Code, Refusal

GOALS = without_limits(preset("goals"))
ANALYSIS = without_limits(preset("analysis"))
SHOP = without_limits(preset("shop"))


def pro() -> Desk:
    return Desk(GOALS, "pro")


# R-LED-1: S1 §1 tokenBalance, and the reading that spent pack tokens never come back
def test_balance_is_monthly_plus_additional_minus_used() -> None:
    desk = Desk(ANALYSIS, "starter")
    desk.ok(c.Grant(tokens=25, origin="pack"))
    desk.charge("suite_analyzer", 60)
    view = desk.view()
    assert (view.monthly, view.additional, view.used, view.reserved, view.remaining) == (50, 25, 60, 0, 15)
    assert view.reset_at == ms("2025-01-31")
    desk.until("2025-01-31")
    view = desk.view()
    assert (view.monthly, view.additional, view.used, view.remaining) == (50, 15, 0, 65)


# R-LED-1
def test_reserved_tokens_are_not_available() -> None:
    desk = pro()
    desk.hold("generate_goal")
    view = desk.view()
    assert (view.monthly, view.used, view.reserved, view.remaining) == (200, 0, 3, 197)


# R-LED-2: plan tokens first, then the lot that expires soonest, then the oldest
def test_burn_order() -> None:
    desk = pro()
    for tokens, expires in ((10, None), (10, "2025-06-01"), (10, "2025-03-01"), (10, None)):
        desk.ok(c.Grant(tokens=tokens, origin="pack", expires_at=None if expires is None else ms(expires)))
    desk.charge("generate_goal", quantity=80)
    order = [number for entry in desk.last if isinstance(entry, e.Charged) for number, _ in entry.moves]
    assert order == [1, 4, 3, 2, 5]


# R-LED-2
def test_plan_tokens_lapse_at_reset_and_bought_tokens_stay() -> None:
    desk = pro()
    desk.ok(c.Grant(tokens=500, origin="pack"))
    desk.charge("generate_goal", 10)
    desk.until("2025-02-01")
    view = desk.view()
    assert (view.monthly, view.additional, view.remaining) == (200, 500, 700)
    assert desk.account.state.lots[1].expired == 170


# R-LED-3, R-LED-4: the failure table of S2
@pytest.mark.parametrize(
    ("ending", "charged", "status"),
    [
        (c.Settle(hold=""), 3, "done"),
        (c.Release(hold="", reason="failed"), 0, "failed"),
        (c.Release(hold="", reason="timeout"), 0, "failed"),
        (c.Release(hold="", reason="cancelled"), 0, "done"),
    ],
)
def test_success_charges_exactly_and_failure_nothing(
    ending: c.Settle | c.Release, charged: int, status: str
) -> None:
    desk = pro()
    hold = desk.hold("generate_goal")
    end = c.Settle(hold=hold) if isinstance(ending, c.Settle) else c.Release(hold=hold, reason=ending.reason)
    desk.ok(end)
    assert desk.view().remaining == 200 - charged
    assert desk.journal[-1].status == status


# R-LED-3: the operation's 30 s and the margin; then nobody can spend it, sweeper or not
def test_a_hold_times_out_and_charges_nothing() -> None:
    desk = pro()
    hold = desk.hold("generate_goal")
    desk.wait(seconds=35, ms=-1)
    assert desk.view().reserved == 3
    desk.wait(ms=1)
    refusal = desk.no(c.Settle(hold=hold))
    assert refusal.code == Code.HOLD_EXPIRED
    assert desk.kinds() == ["release", "late"]
    assert desk.view().remaining == 200


# R-LED-3: "success after the timeout: 0 charged; the operator's lost cost is counted", once
def test_a_late_success_is_the_operators_loss() -> None:
    desk = pro()
    hold = desk.hold("generate_goal")
    desk.wait(minutes=1)
    for _ in range(3):
        assert desk.no(c.Settle(hold=hold)).code == Code.HOLD_EXPIRED
    assert [entry.lost for entry in desk.journal if isinstance(entry, e.Late)] == [3]


# R-LED-3
def test_a_partial_settle_gives_the_rest_back_in_the_same_entry() -> None:
    desk = Desk(SHOP, "developer")
    hold = desk.ok(c.Reserve(feature=metered(), user="ann", tokens=1000)).operation
    receipt = desk.ok(c.Settle(hold=hold, tokens=400))
    assert (receipt.tokens, receipt.released, receipt.held) == (400, 600, 0)
    assert desk.kinds() == ["charge"]


def metered() -> str:
    return next(name for name, feature in SHOP.features.items() if feature.metered)


# R-LED-3
def test_no_more_can_be_charged_than_was_held() -> None:
    desk = pro()
    hold = desk.hold("generate_goal")
    assert desk.no(c.Settle(hold=hold, tokens=4)).code == Code.EXCEEDS_HOLD
    assert desk.view().reserved == 3


# R-LED-3: a metered request is cut down to what is affordable, never below what the caller can use
def test_a_metered_reservation_may_be_cut_down_to_the_balance() -> None:
    desk = Desk(SHOP)
    desk.ok(c.Grant(tokens=500, origin="pack"))
    ask = c.Reserve(feature=metered(), user="ann", tokens=1000, least=100)
    assert desk.ok(ask).tokens == 500
    assert desk.no(ask).code == Code.HELD
    poor = Desk(SHOP)
    poor.ok(c.Grant(tokens=99, origin="pack"))
    assert poor.no(ask).code == Code.EXHAUSTED


# R-LED-3, I10: what comes back to a lapsed lot expires; what is charged from it is charged
def test_a_hold_pins_its_lot_over_a_reset() -> None:
    desk = pro()
    desk.until("2025-01-31T23:59:50")
    kept, given_back = desk.hold("generate_goal", quantity=2), desk.hold("generate_goal")
    desk.until("2025-02-01")
    desk.ok(c.Settle(hold=kept, tokens=4))
    desk.ok(c.Release(hold=given_back))
    old = desk.account.state.lots[1]
    assert (old.granted, old.available, old.held, old.spent, old.expired) == (200, 0, 0, 4, 196)
    assert desk.view().remaining == 200


# R-LED-3
def test_a_hold_can_be_extended_but_not_shortened() -> None:
    desk = pro()
    hold = desk.hold("generate_goal")
    first = desk.now + 35_000
    assert desk.ok(c.Extend(hold=hold, timeout_ms=1)).deadline == first
    assert desk.ok(c.Extend(hold=hold, timeout_ms=60_000)).deadline == desk.now + 65_000
    desk.wait(seconds=64)
    assert desk.ok(c.Settle(hold=hold)).tokens == 3


# R-LED-5: the journal alone rebuilds the account, byte for byte; a gap or a changed order does not fit
def test_the_account_is_the_fold_of_its_journal() -> None:
    desk = pro()
    desk.hold("generate_goal")
    desk.charge("generate_goal", 5)
    desk.wait(days=40)
    desk.view()
    assert desk.replayed().dump() == desk.account.dump()
    account = Account()
    evolve(account, desk.journal[0])
    with pytest.raises(Misfit, match="sequence 3 follows 1"):
        evolve(account, desk.journal[2])


# R-LED-5: the chain is keyed, bound to the organization and to each byte
def test_the_chain_depends_on_key_organization_order_and_every_byte() -> None:
    root = chain.root(SECRET, "acme")
    one = chain.link(SECRET, root, b"one")
    assert len({root, chain.root(SECRET, "acme2"), chain.root(b"k" * 32, "acme")}) == 3
    assert chain.link(SECRET, one, b"two") != chain.link(SECRET, root, b"onetwo")
    assert chain.link(SECRET, root, b"one") == one != chain.link(b"k" * 32, root, b"one")


# R-LED-6: every kind of transaction of the requirement is on the record under its own word
def test_transactions_of_every_kind_are_recorded() -> None:
    catalog = change_plan(GOALS, "pro", exhaustion=Exhaustion(overage=Overage(150)))
    catalog = change_plan(catalog, "pro", rollover=type(catalog.plans["pro"].rollover)("unlimited"))
    desk = Desk(catalog, "pro")
    for origin in ("pack", "bonus", "credit", "grant"):
        desk.ok(c.Grant(tokens=10, origin=origin))
    desk.ok(c.Adjust(tokens=-1, reason="typo", actor="op"))
    desk.ok(c.Release(hold=desk.hold("generate_goal")))
    hold = desk.hold("generate_goal")
    desk.ok(c.Settle(hold=hold))
    desk.ok(c.Refund(operation=hold))
    desk.wait(days=31)
    desk.view()
    desk.charge("generate_goal", quantity=200)
    desk.ok(c.Freeze())
    desk.ok(c.Restore())
    desk.wait(days=31)
    desk.view()
    found = {e.movement(entry) for entry in desk.journal}
    assert found >= {
        *("grant", "purchase", "hold", "charge", "release", "refund", "bonus", "credit"),
        *("adjustment", "expiry", "rollover", "overage", "freeze", "restore"),
    }


# R-LED-7: consumeToken and refundToken
def test_consume_and_refund() -> None:
    desk = pro()
    charged = desk.ok(c.Charge(feature="generate_goal", user="ann"), key="goal-1")
    assert (charged.tokens, charged.balance) == (3, 197)
    assert desk.ok(c.Refund(operation=charged.operation)).balance == 200
    assert desk.ok(c.Refund(operation=charged.operation)).replayed
    assert desk.no(c.Refund(operation=charged.operation, tokens=1)).code == Code.ALREADY_REFUNDED
    assert desk.view().remaining == 200


# R-LED-7
@pytest.mark.parametrize(
    ("tokens", "code"), [(4, Code.EXCEEDS_CHARGE), (0, Code.INVALID), (-1, Code.INVALID)]
)
def test_a_refund_is_of_what_was_charged(tokens: int, code: Code) -> None:
    desk = pro()
    charged = desk.ok(c.Charge(feature="generate_goal", user="ann"))
    assert desk.no(c.Refund(operation=charged.operation, tokens=tokens)).code == code


# R-LED-7: tokens go back where they came from, last drawn first; a lapsed lot's expire
def test_a_refund_returns_to_the_lots_in_reverse() -> None:
    desk = pro()
    desk.ok(c.Grant(tokens=100, origin="pack"))
    desk.charge("generate_goal", quantity=66)
    charged = desk.ok(
        c.Charge(feature="generate_goal", user="ann", quantity=2)
    )  # 2 of the plan, 4 of the pack
    desk.ok(c.Refund(operation=charged.operation, tokens=5))
    lots = desk.account.state.lots
    assert (lots[1].available, lots[2].available) == (1, 100)
    desk.until("2025-02-01")
    again = desk.ok(c.Charge(feature="generate_goal", user="ann", quantity=1))
    desk.until("2025-03-01")
    desk.ok(c.Refund(operation=again.operation))
    assert desk.account.state.lots[3].expired == 200


# R-LED-8
def test_an_operator_adjusts_with_a_reason_on_the_record() -> None:
    desk = pro()
    desk.ok(c.Adjust(tokens=7, reason="sorry for the outage", actor="kim"))
    desk.ok(c.Adjust(tokens=-10, reason="granted twice", actor="kim"))
    up, down = desk.journal[-2:]
    assert (up.reason, up.actor, down.reason, down.actor) == (
        "sorry for the outage",
        "kim",
        "granted twice",
        "kim",
    )
    assert desk.view().remaining == 197
    assert desk.no(c.Adjust(tokens=5, reason=" ", actor="kim")).code == Code.INVALID


# R-LED-8: a correction can only touch unheld tokens
def test_an_adjustment_leaves_held_tokens_alone() -> None:
    desk = pro()
    desk.hold("generate_goal")
    refusal = desk.no(c.Adjust(tokens=-198, reason="all of it", actor="kim"))
    assert (refusal.code, refusal.balance, refusal.needed) == (Code.EXCEEDS_UNHELD, 197, 198)
    desk.ok(c.Adjust(tokens=-197, reason="all of it", actor="kim"))
    assert desk.view().reserved == 3


# R-LED-9: a replay returns the first answer, whatever happened since
def test_a_duplicate_gets_the_first_answer() -> None:
    desk = pro()
    command = c.Reserve(feature="generate_goal", user="ann")
    first = desk.ok(command, key="job-7")
    desk.ok(c.Settle(hold=first.operation))
    desk.charge("generate_goal", 3)
    again = desk.ok(command, key="job-7")
    assert again.replayed
    assert (again.operation, again.balance, again.entry) == (first.operation, first.balance, first.entry)
    assert desk.last == []


# R-LED-9
def test_a_key_with_another_body_is_refused() -> None:
    desk = pro()
    desk.ok(c.Charge(feature="generate_goal", user="ann"), key="job-7")
    assert desk.no(c.Charge(feature="generate_goal", user="bob"), key="job-7").code == Code.KEY_REUSED
    assert desk.no(c.Grant(tokens=3), key="job-7").code == Code.KEY_REUSED
    assert desk.view().remaining == 197


# R-LED-9: a final refusal of a one-shot charge is remembered, a refused reservation is not
def test_a_late_duplicate_never_turns_a_refusal_into_a_charge() -> None:
    desk = Desk(GOALS, "pro")
    desk.charge("generate_goal", quantity=66)
    charge, reserve = (
        c.Charge(feature="generate_goal", user="ann"),
        c.Reserve(feature="generate_goal", user="ann"),
    )
    refused = desk.no(charge, key="c")
    desk.no(reserve, key="r")
    desk.ok(c.Grant(tokens=10, origin="pack"))
    assert desk.no(charge, key="c") == refused
    assert desk.ok(reserve, key="r").tokens == 3


# R-LED-9: settle and release are keyed by their hold
def test_who_asks_by_hand_does_not_make_it_another_request() -> None:
    desk = Desk(GOALS, "pro")
    first = desk.ok(c.Adjust(tokens=5, reason="sorry", actor="kim"), key="ticket 1")
    again = desk.ok(c.Adjust(tokens=5, reason="sorry", actor="lee"), key="ticket 1")
    assert (again.replayed, again.entry) == (True, first.entry)
    assert desk.no(c.Adjust(tokens=6, reason="sorry", actor="kim"), key="ticket 1").code == Code.KEY_REUSED


# R-LED-9: an extension that is sent again does not extend once more
def test_an_extension_is_done_once() -> None:
    desk = Desk(GOALS, "pro")
    hold = desk.hold("generate_goal")
    first = desk.ok(c.Extend(hold=hold, timeout_ms=60_000), key="more time")
    desk.wait(seconds=30)
    again = desk.ok(c.Extend(hold=hold, timeout_ms=60_000), key="more time")
    assert (again.replayed, again.deadline, desk.kinds()) == (True, first.deadline, [])
    assert desk.no(c.Extend(hold=hold, timeout_ms=1), key="more time").code == Code.KEY_REUSED
    desk.ok(c.Settle(hold=hold))
    assert desk.ok(c.Extend(hold=hold, timeout_ms=60_000), key="more time").deadline == first.deadline


# R-LED-9: an operation's id is of 32 hex digits in small letters; nothing else reaches a database
@pytest.mark.parametrize("ident", ["", "order 7", "g" * 32, "A" * 32, "a" * 31, "a" * 33, "ä" * 32])
def test_what_is_no_operations_id(ident: str) -> None:
    desk = Desk(GOALS, "pro")
    charge = c.Charge(feature="generate_goal", user="ann")
    for keyed in (False, True):
        reply = execute(desk.account, c.Envelope("acme", charge, ident, keyed), GOALS, desk.now).reply
        assert isinstance(reply, Refusal)
        assert (reply.code, reply.detail) == (Code.INVALID, "key")
    for command in (c.Settle(hold=ident), c.Refund(operation=ident), c.Extend(hold=ident, timeout_ms=1)):
        assert lookup_key(desk.account, c.Envelope("acme", command)) is None
        assert desk.no(command).code in (Code.UNKNOWN_HOLD, Code.UNKNOWN_OPERATION)


# R-ABU-7
def test_refusals_of_an_unknown_code_are_not_counted() -> None:
    desk = Desk(GOALS, "pro")
    told = c.CountRefusals(refusals=((None, "rate_limited", 1, 2), (None, "no such code", 1, 2)))
    assert desk.no(told).code == Code.INVALID
    assert desk.kinds() == []


# R-LED-9
def test_a_hold_ends_once() -> None:
    desk = pro()
    hold = desk.hold("generate_goal")
    first = desk.ok(c.Settle(hold=hold))
    assert desk.ok(c.Settle(hold=hold)).replayed
    assert desk.ok(c.Settle(hold=hold)).entry == first.entry
    assert desk.no(c.Settle(hold=hold, tokens=1)).code == Code.HOLD_ENDED
    assert desk.no(c.Release(hold=hold)).code == Code.HOLD_ENDED
    assert desk.view().remaining == 197


# R-LED-10: no command has a field for a balance, and a fixed price is the catalog's
def test_a_client_can_neither_state_a_balance_nor_a_price() -> None:
    for command in c.Command.__args__:
        assert not {"balance", "remaining", "price"} & set(command.__struct_fields__)
    desk = pro()
    refusal = desk.no(c.Charge(feature="generate_goal", user="ann", tokens=1))
    assert (refusal.code, refusal.detail) == (Code.INVALID, "tokens")


# bad input gets a clear refusal and changes nothing
@pytest.mark.parametrize(
    "amount", [0, -1, -(2**63), TOKENS_MAX + 1, 2**63, 10**30, 1.0, 0.5, "5", None, True]
)
@pytest.mark.parametrize("make", ["grant", "settle", "refund", "charge"])
def test_amounts_that_are_none(amount: object, make: str) -> None:
    desk = pro()
    hold = desk.hold("generate_goal")
    before = desk.account.dump()
    commands: dict[str, object] = {
        "grant": c.Grant(tokens=amount),  # type: ignore[arg-type]  # what a careless caller sends
        "settle": c.Settle(hold=hold, tokens=-1 if amount in (0, None) else amount),  # type: ignore[arg-type]  # careless
        "refund": c.Refund(operation=hold, tokens=amount),  # type: ignore[arg-type]  # careless
        "charge": c.Charge(feature="generate_goal", quantity=amount),  # type: ignore[arg-type]  # careless
    }
    refusal = desk.no(commands[make])  # type: ignore[arg-type]  # careless
    assert refusal.code in (Code.INVALID, Code.NOT_POSSIBLE, Code.EXCEEDS_HOLD)
    assert refusal.message
    if make != "charge":
        assert desk.account.dump() == before


# R-LED-8: however often tokens are added, the sum stays one that every database can hold
@pytest.mark.parametrize("by_hand", [True, False])
def test_an_account_does_not_overflow(by_hand: bool) -> None:
    desk = pro()
    more: c.Command = c.Grant(tokens=TOKENS_MAX)
    if by_hand:
        more = c.Adjust(tokens=TOKENS_MAX, reason="more", actor="kim")
    times = (ACCOUNT_TOKENS_MAX - 200) // TOKENS_MAX
    for _ in range(times):
        desk.ok(more)
    desk.hold("generate_goal")
    refusal = desk.no(more)
    assert (refusal.code, refusal.detail) == (Code.INVALID, "tokens")
    assert desk.view().remaining == 197 + times * TOKENS_MAX < 2**63
