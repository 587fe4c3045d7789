"""Money credit pays for purchases, the soonest to expire first, all of an amount or nothing (R-REF-4, R-LED-6)."""

import pytest

from tests.support.desk import DAY, Desk, preset, without_limits
from tokentill.rules import commands as c
from tokentill.rules import entries as e
from tokentill.rules.credit import available, usable
from tokentill.rules.money import Coins
from tokentill.rules.refusals import Code


def credit(desk: Desk, amount: int, days: int | None = None) -> None:
    expires = None if days is None else desk.now + days * DAY
    desk.ok(c.Grant(tokens=amount, origin="credit", unit="money", expires_at=expires))


@pytest.fixture
def desk() -> Desk:
    desk = Desk(without_limits(preset("goals")), plan="pro")
    credit(desk, 500)
    credit(desk, 300, days=20)
    credit(desk, 200, days=10)
    return desk


def test_the_soonest_to_expire_pays_first(desk: Desk) -> None:  # R-REF-4
    before = desk.view()
    told = desk.ok(c.SpendCredit(amount=450, reference="p1"))
    assert (told.kind, told.tokens, told.balance) == ("credit_spent", 450, before.remaining)
    [entry] = [entry for entry in desk.journal if isinstance(entry, e.CreditSpent)]
    third = max(desk.account.state.lots)
    assert entry.moves == ((third, 200), (third - 1, 250))
    assert (desk.view().credit, available(desk.account.state)) == (550, 550)


def test_all_or_nothing(desk: Desk) -> None:  # R-REF-4
    assert desk.no(c.SpendCredit(amount=1001, reference="p1")).code == Code.NOT_POSSIBLE
    assert desk.no(c.SpendCredit(amount=-1, reference="p1")).code == Code.INVALID
    desk.ok(c.SpendCredit(amount=1000, reference="p1"))
    assert desk.no(c.SpendCredit(amount=1, reference="p1")).code == Code.NOT_POSSIBLE


def test_credit_that_has_expired_pays_nothing(desk: Desk) -> None:  # R-REF-4
    desk.wait(days=11)
    assert desk.no(c.SpendCredit(amount=801, reference="p1")).code == Code.NOT_POSSIBLE
    desk.ok(c.SpendCredit(amount=800, reference="p1"))


def test_the_same_key_spends_once(desk: Desk) -> None:  # R-REF-4, R-LED-9
    first = desk.ok(c.SpendCredit(amount=10, reference="p1"), key="a" * 32)
    again = desk.ok(c.SpendCredit(amount=10, reference="p1"), key="a" * 32)
    assert again.replayed
    assert again.entry == first.entry
    assert desk.view().credit == 990
    assert desk.replayed().dump() == desk.account.dump()


def test_a_key_that_was_closed_spends_nothing_later(desk: Desk) -> None:  # R-REF-4, R-LED-9
    """Whoever found no credit closes the key by 0, and a slower one that finds credit again hears that."""
    assert desk.no(c.SpendCredit(amount=1001, reference="p1"), key="a" * 32).code == Code.NOT_POSSIBLE
    assert desk.ok(c.SpendCredit(amount=0, reference="p1"), key="a" * 32).tokens == 0
    credit(desk, 500)
    late = desk.ok(c.SpendCredit(amount=0, reference="p1"), key="a" * 32)
    assert (late.tokens, late.replayed, desk.view().credit) == (0, True, 1500)
    assert desk.replayed().dump() == desk.account.dump()


def test_a_share_of_what_is_unheld_is_taken_back(desk: Desk) -> None:  # R-REF-6
    desk.ok(c.Grant(tokens=101, origin="pack", reference="p9"))
    assert desk.ok(c.Revoke(reference="p9", share=(1, 3))).tokens == 33
    assert desk.ok(c.Revoke(reference="p9", share=(2, 2))).tokens == 68
    assert desk.ok(c.Revoke(reference="p9", share=(1, 2))).tokens == 0
    for share in ((0, 1), (2, 1), (-1, -1), (1, 0)):
        assert desk.no(c.Revoke(reference="p9", share=share)).code == Code.INVALID
    assert desk.no(c.Revoke(reference="p9", tokens=1, share=(1, 2))).code == Code.INVALID


@pytest.mark.parametrize(
    ("price", "has", "step", "least", "pays"),
    [
        (2900, 0, 1, 1, 0), (2900, 1000, 1, 1, 1000), (2900, 2899, 1, 1, 2899), (2900, 2900, 1, 1, 2900),
        (2900, 9999, 1, 1, 2900), (0, 500, 1, 50, 0),
        # a rest below the least is raised to it, and only where all is covered is there none
        (2900, 2849, 1, 50, 2849), (2900, 2850, 1, 50, 2850), (2900, 2851, 1, 50, 2850), (2900, 2899, 1, 50, 2850),
        (2900, 2900, 1, 50, 2900),
        # of what is too little to be paid anyhow, credit pays all or nothing
        (40, 30, 1, 50, 0), (40, 40, 1, 50, 40), (50, 30, 1, 50, 0), (51, 30, 1, 50, 1),
        # the rest is a multiple of the step
        (25_010, 9, 10, 1, 0), (25_010, 13, 10, 1, 10), (25_010, 25_005, 10, 25, 24_980),
        (25_010, 25_010, 10, 25, 25_010),
    ],
)  # fmt: skip
def test_what_credit_pays_of_a_price(price: int, has: int, step: int, least: int, pays: int) -> None:
    # R-REF-4
    assert usable(price, has, Coins(step, least)) == pays
    rest = price - pays
    assert pays <= has
    assert rest == 0 or (rest % step == 0 and rest >= min(least, price))
