"""R-PLAN-4: an account with a simulated clock, to try out what time does."""

import pytest

from tests.support.desk import DAY, HOUR, Desk, ms, preset, without_limits
from tokentill.rules import commands as c
from tokentill.rules import entries as e
from tokentill.rules.balance import balance
from tokentill.rules.catalog import Catalog
from tokentill.rules.plans import as_of
from tokentill.rules.refusals import Code

GOALS = without_limits(preset("goals"))
START = ms("2025-01-01")


class Simulation(Desk):
    """A desk whose one account has a clock of its own; the world's clock stands three years ahead of it."""

    def __init__(self, catalog: Catalog, plan: str | None = None) -> None:
        super().__init__(catalog, plan)
        self.account = type(self.account)()
        self.journal.clear()
        self.ok(c.Open(plan=plan, simulated=True))
        self.until("2028-01-01")

    def to(self, text: str) -> None:
        self.ok(c.Advance(to=ms(text)))


# the clock of the world moves nothing: not what is decided, and not what is read
def test_a_simulated_account_stands_still() -> None:
    desk = Simulation(GOALS, "pro")
    hold = desk.hold("generate_goal")
    desk.wait(days=40)
    view = desk.view()
    assert (view.simulated, view.time, view.remaining, view.reset_at) == (True, START, 197, ms("2025-02-01"))
    read = as_of(desk.replayed(), GOALS, desk.now)
    assert balance(read, GOALS) == view
    assert desk.ok(c.Settle(hold=hold)).time == START


# everything due happens in order, each at its own time
def test_it_is_advanced() -> None:
    desk = Simulation(GOALS, "pro")
    desk.hold("generate_goal")
    desk.ok(c.Freeze())
    told = desk.ok(c.Advance(to=ms("2025-02-10")))
    assert (told.kind, told.time) == ("advance", ms("2025-02-10"))
    assert [(e.movement(entry), entry.time - START) for entry in desk.last] == [
        ("release", 35_000),
        ("licence", DAY),
        ("licence", 15 * DAY),
        ("expiry", 31 * DAY),
        ("reset", 31 * DAY),
        ("advance", 40 * DAY),
    ]
    assert desk.view().time == ms("2025-02-10")
    desk.ok(c.Restore())
    assert desk.view().remaining == 200


# a year of resets, step by step as in one go
@pytest.mark.parametrize("steps", [1, 5, 300])
def test_steps_do_not_matter(steps: int) -> None:
    desk = Simulation(GOALS, "pro")
    for step in range(1, steps + 1):
        desk.ok(c.Advance(to=START + 300 * DAY * step // steps))
    assert [entry.time for entry in desk.journal if isinstance(entry, e.PeriodStarted) and entry.number] == [
        ms(f"2025-{month:02}-01") for month in range(2, 11)
    ]


# it never runs backwards, and not too far at once; a real account cannot be moved
def test_what_cannot_be_advanced() -> None:
    desk = Simulation(GOALS, "pro")
    desk.to("2025-01-10")
    for to in (ms("2025-01-10") - 1, ms("2025-01-10") + 400 * DAY + 1, -1, True, 10**30):
        assert desk.no(c.Advance(to=to)).code == Code.INVALID
    desk.to("2025-01-10")
    assert desk.view().time == ms("2025-01-10")
    real = Desk(GOALS, "pro")
    assert real.no(c.Advance(to=real.now + HOUR)).code == Code.NOT_POSSIBLE


# R-LED-9: sent twice it happens once
def test_advancing_twice_under_one_key() -> None:
    desk = Simulation(GOALS, "pro")
    first = desk.ok(c.Advance(to=START + DAY), key="a day")
    desk.to("2025-01-05")
    again = desk.ok(c.Advance(to=START + DAY), key="a day")
    assert (again.replayed, again.entry, again.time) == (True, first.entry, START + DAY)
