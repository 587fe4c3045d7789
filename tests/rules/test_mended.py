"""What the rigs found wrong once, each in the fewest steps that show it."""

from datetime import UTC, datetime

from tests.support.desk import Desk, change_plan
from tokentill.lab import toys
from tokentill.rules import commands as c
from tokentill.rules import entries as e
from tokentill.rules.catalog import AbuseLimits
from tokentill.rules.refusals import Code


def desk(plan: str | None) -> Desk:
    return Desk(toys.catalog(), plan)


def test_a_settle_knows_the_hold_that_its_own_coming_lets_time_out() -> None:
    """R-LED-4: nobody came by since the deadline, so the hold ends in the turn of the settle that is too late."""
    till = desk("hard")
    hold = till.hold("ask", timeout_ms=1_000)
    till.wait(minutes=1)
    assert till.no(c.Settle(hold=hold)).code == Code.HOLD_EXPIRED
    assert till.kinds() == ["release", "late"]
    assert till.no(c.Extend(hold=hold, timeout_ms=1_000)).code == Code.HOLD_EXPIRED


def test_money_credit_is_never_drawn_as_tokens() -> None:
    """R-LED-2, R-LIC-3: not even after payment was restored, when the lots that expire are put in order again."""
    till = desk(None)
    till.ok(c.Grant(tokens=500, unit="money", origin="credit", expires_at=till.now + 86_400_000))
    till.ok(c.Grant(tokens=3))
    till.ok(c.Freeze())
    till.wait(hours=1)
    till.ok(c.Restore())
    till.charge("ask", 3)
    assert till.no(c.Charge(feature="ask", user="ann")).code == Code.EXHAUSTED
    assert till.view().credit == 500


def test_a_period_without_tokens_is_paid_once_payment_is_restored() -> None:
    """R-LIC-3, R-PLAN-4: a later upgrade credits its unused share."""
    till = desk("fair")
    till.ok(c.Freeze())
    till.wait(days=40)
    till.ok(c.Restore())
    change = till.ok(c.ChangePlan(plan="endless"))
    assert change.credit > 0


def test_a_lot_bought_while_payment_had_failed_gets_back_no_more_than_its_own_time() -> None:
    """R-LIC-1, R-LIC-3."""
    till = desk(None)
    till.ok(c.Freeze())
    till.wait(days=10)
    lot = till.ok(c.Grant(tokens=3, expires_at=till.now + 86_400_000)).lot
    assert lot is not None
    till.wait(hours=1)
    till.ok(c.Restore())
    assert till.account.state.lots[lot].expires_at == till.now + 86_400_000


def test_a_key_with_limits_of_its_own_is_blocked_by_these() -> None:
    """R-ABU-6: the catalog would block at the third attempt, the key at the fourth."""
    till = desk("hard")
    own = AbuseLimits(tokens_per_request_max=3, attempts_max=4)
    for _ in range(3):
        assert till.no(c.Charge(feature="ask", user="ann", quantity=4, limits=own)).code == Code.TOO_LARGE
    till.charge("ask")
    assert till.no(c.Charge(feature="ask", user="ann", quantity=4, limits=own)).code == Code.TOO_LARGE
    assert till.no(c.Charge(feature="ask", user="ann")).code == Code.BLOCKED


def test_a_fixed_price_is_never_cut_down() -> None:
    """R-LED-10: `least` is for metered features; two tokens do not buy a goal of three."""
    till = desk(None)
    till.ok(c.ChangePlan(plan="hard"))
    till.ok(c.Adjust(tokens=-18, reason="mend", actor="op"))
    assert till.no(c.Reserve(feature="goal", user="ann", least=1)).code == Code.EXHAUSTED
    assert till.ok(c.Reserve(feature="model", user="ann", tokens=3, least=1)).tokens == 2


def test_requests_without_a_user_are_those_of_one_nameless_user() -> None:
    """R-ABU-2, R-ABU-3."""
    till = desk("hard")
    till.charge("goal", user=None)
    assert till.no(c.Charge(feature="goal")).code == Code.SPACING
    till.charge("goal", user="ann")


def test_a_block_that_is_over_cannot_be_lifted() -> None:
    """R-ABU-6."""
    till = desk("hard")
    for _ in range(3):
        till.no(c.Attempt(user="ann", reason="not JSON"))
    assert till.no(c.Charge(feature="ask", user="ann")).code == Code.BLOCKED
    till.wait(hours=2)
    assert till.no(c.Unblock(user="ann", reason="asked", actor="op")).code == Code.NOT_POSSIBLE
    till.charge("ask")


def test_a_block_is_lifted_by_somebody_for_a_reason() -> None:
    """R-ABU-6, R-LED-8."""
    till = desk("hard")
    till.no(c.Attempt(user="ann", reason="not JSON"))
    till.no(c.Attempt(user="ann", reason="not JSON"))
    assert till.no(c.Charge(feature="ask", user="ann")).code == Code.BLOCKED
    assert till.no(c.Unblock(user="ann", reason=" ", actor="op")).code == Code.INVALID
    till.ok(c.Unblock(user="ann", reason="asked", actor="op"))
    till.charge("ask")


def test_a_plan_change_that_waits_a_millisecond_lets_that_millisecond_happen() -> None:
    """R-LED-2: two periods cannot begin at once, so the second begins when a lot expires; the lot has expired."""
    till = desk("hard")
    till.ok(c.Grant(tokens=8, expires_at=till.now + 1))
    till.ok(c.ChangePlan(plan="overage"))
    assert any(isinstance(entry, e.Expired) and entry.tokens == 8 for entry in till.last)
    assert till.account.free == 30


def test_what_is_invalid_is_said_first() -> None:
    """R-ABU-8: the order of the refusals is the order of their list, whatever else is wrong."""
    till = desk(None)
    assert till.no(c.Refund(operation="f" * 32, tokens=-1)).code == Code.INVALID
    assert till.no(c.Charge(feature="nothing", quantity=0)).code == Code.INVALID
    assert till.no(c.Charge(feature="model", quantity=-5, tokens=1)).code == Code.INVALID
    assert till.no(c.Reset(end=1)).code == Code.INVALID


def test_an_unlimited_plan_never_runs_low() -> None:
    """R-PLAN-8: the allowance of the plan before says nothing any more."""
    till = desk("hard")
    till.charge("ask", 3)
    till.ok(c.ChangePlan(plan="endless"))
    till.wait(minutes=1)
    till.charge("ask")
    assert till.kinds() == ["charge"]
    assert till.view().notice is None


def test_on_a_plan_without_tokens_the_newest_pack_is_what_runs_low() -> None:
    """R-PLAN-8: a customer of packs alone, on a plan that brings none (readings)."""
    till = Desk(change_plan(toys.catalog(), "free", features=frozenset({"ask"})), "free")
    till.ok(c.Grant(tokens=20, origin="pack"))
    till.charge("ask", 15)
    assert not any(isinstance(entry, e.Warned) and entry.code == "percent" for entry in till.journal)
    till.charge("ask")
    assert [entry.threshold for entry in till.last if isinstance(entry, e.Warned)] == [4]


def test_what_is_held_beyond_the_lots_is_no_balance() -> None:
    """R-PLAN-8: with nothing left, operations on overage come and go and warn nobody again."""
    till = desk("open_end")
    till.charge("ask", 25)
    assert sum(isinstance(entry, e.Warned) for entry in till.journal) == 3
    for _ in range(3):
        till.wait(minutes=1)
        hold = till.hold("draw", quantity=4)
        assert till.ok(c.Settle(hold=hold)).beyond == 16
    assert sum(isinstance(entry, e.Warned) for entry in till.journal) == 3


def test_a_lot_is_named_by_a_whole_number() -> None:
    """R-LED-5: what is stored can be read again, whatever a command built by hand holds."""
    till = desk("hard")
    assert till.no(c.Revoke(lot=1.0, tokens=1)).code == Code.UNKNOWN_LOT  # type: ignore[arg-type]  # by hand
    assert till.no(c.Revoke(lot=True, tokens=1)).code == Code.UNKNOWN_LOT


def test_lots_that_end_in_the_same_millisecond_end_together() -> None:
    """R-LED-2, R-PLAN-8: one entry, and each warning for what is left after all of them."""
    till = desk(None)
    for tokens in (8, 12):
        till.ok(c.Grant(tokens=tokens, expires_at=till.now + 1_000))
    till.wait(minutes=1)
    till.ok(c.Tick())
    [expired] = [entry for entry in till.journal if isinstance(entry, e.Expired)]
    assert expired.tokens == 20
    assert [entry.tokens for entry in till.journal if isinstance(entry, e.Warned)] == [0, 0, 0]


def test_a_cancellation_that_a_paid_invoice_brings_leaves_nothing_overdue() -> None:
    """R-LIC-2, R-LIC-3: the invoice ends its own failure; what an operator froze two days ago is in grace at once."""
    till = desk("hard")
    till.ok(c.Freeze(by_hand=False))
    till.wait(minutes=1)
    till.ok(c.Freeze())
    till.ok(c.ChangePlan(plan=None, when="period_end"))
    till.wait(minutes=2 * 24 * 60)
    till.ok(c.Reset(billed=True))
    assert till.account.state.plan is None
    assert till.account.state.standing == "grace"
    due = till.account.next_due()
    assert due is None or due[0] > till.now


def test_a_period_that_was_longer_keeps_the_day_of_the_month() -> None:
    """R-PLAN-4, I12: two months from 31 December end on 29 February, and the next one on 31 March."""
    till = desk("hard")
    december, february, march = (
        int(datetime(*day, tzinfo=UTC).timestamp() * 1000)
        for day in ((2027, 12, 31), (2028, 2, 29), (2028, 3, 31))
    )
    till.now = december
    till.ok(c.Reset(end=february))
    till.now = february
    till.ok(c.Tick())
    period = till.account.state.period
    assert period is not None
    assert (period.start, period.end) == (february, march)
