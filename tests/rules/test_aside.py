"""R-REF-5, R-REF-6: lots set aside while a refund or a dispute is in progress, given back, taken back."""

import pytest
from msgspec import structs

from tests.support.desk import Desk, change_plan, preset, without_limits
from tokentill.rules import commands as c
from tokentill.rules import entries as e
from tokentill.rules.account import Account
from tokentill.rules.catalog import Rollover
from tokentill.rules.refusals import Code

GOALS = without_limits(preset("goals"))


def buyer(tokens: int = 500, *, valid_days: int | None = None) -> Desk:
    """On Pro (200 tokens), with a pack of an order."""
    desk = Desk(GOALS, "pro")
    expires = None if valid_days is None else desk.now + valid_days * 86_400_000
    desk.ok(c.Grant(tokens=tokens, origin="pack", reference="order 7", expires_at=expires))
    return desk


def figures(desk: Desk) -> tuple[int, int, int, int]:
    """Remaining, set aside in single lots, reserved, used; and they add up."""
    view = desk.view()
    assert view.remaining + view.set_aside == view.monthly + view.additional - view.used - view.reserved
    return view.remaining, view.lots_set_aside, view.reserved, view.used


# R-REF-5: what may have to be taken back is not spent meanwhile; everything else can be
def test_a_lot_set_aside_cannot_be_spent() -> None:
    desk = buyer()
    told = desk.ok(c.SetAside(lot=2, reference="case 1", reason="dispute"))
    assert (told.kind, told.tokens, told.balance) == ("set_aside", 500, 200)
    assert figures(desk) == (200, 500, 0, 0)
    desk.charge("generate_goal", quantity=60)
    assert desk.no(c.Charge(feature="generate_goal", user="ann", quantity=10)).code == Code.EXHAUSTED
    told = desk.ok(c.GiveBack(lot=2, reference="case 1", reason="dispute won"))
    assert (told.kind, told.tokens, told.balance) == ("give_back", 500, 520)
    assert figures(desk) == (520, 0, 0, 180)
    desk.charge("generate_goal", quantity=100)


# R-REF-5: tokens in flight are safe; what they give back stays set aside
def test_running_operations_on_a_lot_set_aside() -> None:
    desk = buyer()
    desk.charge("generate_goal", quantity=66)  # 2 of the plan are left
    kept = desk.hold("generate_goal", quantity=4)  # 2 of the plan, 10 of the pack
    given_back = desk.hold("generate_goal", quantity=5)
    partly = desk.hold("generate_goal", quantity=10)
    desk.ok(c.SetAside(reference="order 7"))
    assert figures(desk) == (0, 445, 57, 198)
    desk.ok(c.Settle(hold=kept))
    assert desk.ok(c.Release(hold=given_back)).balance == 0
    assert desk.ok(c.Settle(hold=partly, tokens=12)).balance == 0
    assert figures(desk) == (0, 478, 0, 222)
    desk.ok(c.Refund(operation=kept, tokens=12))
    assert figures(desk) == (2, 488, 0, 210)  # 2 to the plan, 10 to the pack


# R-REF-5: taking back works on a lot set aside and lowers the balance only once
@pytest.mark.parametrize(("tokens", "taken"), [(None, 500), (120, 120)])
def test_a_lot_set_aside_is_taken_back(tokens: int | None, taken: int) -> None:
    desk = buyer()
    desk.ok(c.SetAside(reference="order 7"))
    told = desk.ok(c.Revoke(reference="order 7", tokens=tokens, origin="dispute"))
    assert (told.tokens, told.balance) == (taken, 200)
    assert figures(desk) == (200, 500 - taken, 0, 0)
    assert desk.account.state.lots[2].revoked == taken
    desk.ok(c.GiveBack(reference="order 7"))
    assert figures(desk) == (700 - taken, 0, 0, 0)


# R-REF-6: a purchase names all its lots of tokens, the oldest first
def test_the_lots_of_a_purchase() -> None:
    desk = buyer()
    desk.ok(c.Grant(tokens=150, origin="bonus", reference="order 7"))
    desk.ok(c.Grant(tokens=900, origin="credit", unit="money", reference="order 7"))
    desk.ok(c.SetAside(reference="order 7"))
    assert figures(desk) == (200, 650, 0, 0)
    desk.ok(c.Revoke(reference="order 7", tokens=510))
    assert [(lot.revoked, lot.available) for lot in desk.account.state.lots.values()] == [
        (0, 200), (500, 0), (10, 140), (0, 900),
    ]  # fmt: skip
    assert desk.ok(c.Revoke(reference="order 7")).tokens == 140
    assert desk.ok(c.Revoke(reference="order 7")).tokens == 0
    assert desk.view().credit == 900


# R-REF-5: asked for under one key it happens once; what cannot be is said
def test_refusals_of_setting_aside() -> None:
    desk = buyer()
    first = desk.ok(c.SetAside(lot=2), key="refund 1")
    assert desk.ok(c.SetAside(lot=2), key="refund 1") == structs.replace(first, replayed=True)
    assert desk.no(c.SetAside(lot=2), key="refund 2").code == Code.NOT_POSSIBLE
    assert desk.no(c.GiveBack(lot=1)).code == Code.NOT_POSSIBLE
    assert desk.no(c.SetAside(lot=9)).code == Code.UNKNOWN_LOT
    assert desk.no(c.SetAside(reference="order 8")).code == Code.UNKNOWN_LOT
    assert desk.no(c.GiveBack(lot=True)).code == Code.UNKNOWN_LOT
    assert desk.no(c.SetAside()).code == desk.no(c.Revoke()).code == Code.INVALID
    assert desk.no(c.Revoke(lot=2, tokens=501)).code == Code.EXCEEDS_UNHELD
    desk.ok(c.Grant(tokens=900, origin="credit", unit="money"))
    assert desk.no(c.SetAside(lot=3)).code == Code.NOT_POSSIBLE


# R-LED-2: a lot set aside expires as any other
def test_a_lot_set_aside_expires() -> None:
    desk = buyer(valid_days=10)
    desk.ok(c.SetAside(lot=2))
    desk.wait(days=10)
    assert figures(desk) == (200, 0, 0, 0)
    assert [entry.tokens for entry in desk.last if isinstance(entry, e.Expired)] == [500]
    assert desk.ok(c.GiveBack(lot=2)).tokens == 0


# R-LIC-1, R-LIC-3: a failed payment sets everything aside; what a dispute is about stays so when it is mended
def test_set_aside_twice_over() -> None:
    desk = buyer(valid_days=100)
    ends = desk.account.state.lots[2].expires_at
    desk.ok(c.SetAside(lot=2))
    assert desk.ok(c.Freeze()).tokens == 200
    view = desk.view()
    assert (view.remaining, view.set_aside, view.lots_set_aside) == (0, 700, 500)
    desk.wait(days=3)
    desk.ok(c.Restore())
    assert figures(desk) == (200, 500, 0, 0)
    assert ends is not None
    assert desk.account.state.lots[2].expires_at == ends + 3 * 86_400_000
    desk.ok(c.Freeze())
    desk.ok(c.GiveBack(lot=2))
    assert desk.view().set_aside == 700
    desk.ok(c.Restore())
    assert figures(desk) == (700, 0, 0, 0)


# R-PLAN-5: what is set aside of the plan lapses with its period and is not carried over
def test_plan_tokens_set_aside_do_not_roll_over() -> None:
    desk = Desk(change_plan(GOALS, "pro", rollover=Rollover("unlimited")), "pro")
    desk.ok(c.SetAside(lot=1))
    desk.until("2025-02-01")
    assert figures(desk) == (200, 0, 0, 0)


# R-LED-5: the journal alone, and the snapshot, rebuild an account with lots set aside
def test_the_fold_knows_what_is_set_aside() -> None:
    desk = buyer()
    desk.ok(c.SetAside(lot=2, reference="case 1"))
    hold = desk.hold("generate_goal")
    for account in (desk.replayed(), Account.load(desk.account.dump())):
        assert account.dump() == desk.account.dump()
        assert (account.free, account.aside, account.order) == (197, 500, desk.account.order)
    desk.ok(c.Settle(hold=hold))
