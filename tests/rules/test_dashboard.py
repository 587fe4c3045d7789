"""What was used, by day, model and key: sums that fit, newest day first, refusals counted (R-SALE-6)."""

from tests.support.desk import preset
from tokentill.rules import entries as e
from tokentill.rules.catalog import DAY_MS
from tokentill.rules.dashboard import CALLS_MAX, Call, Line, Reading, Refusals
from tokentill.rules.entry import ModelUse
from tokentill.rules.refusals import Code

# R-SALE-4, R-SALE-6

SHOP = preset("shop")
NOON = 1_767_268_800_000
KEYS = {"k1": "server …abcd"}


def charged(at: int, tokens: int, model: str | None = "echo") -> e.Charged:
    use = None if model is None else ModelUse(model=model, key="k1")
    return e.Charged(seq=1, time=at, catalog="", tokens=tokens, moves=(), feature="gpt-4", use=use)


def test_sums_by_day_model_and_key() -> None:
    reading = Reading(SHOP, KEYS, None)
    reading.take(e.Refunded(seq=3, time=NOON, catalog="", tokens=10, feature="gpt-4"), "ann")
    reading.take(charged(NOON - DAY_MS, 40), "key k1")
    reading.take(charged(NOON - 2 * DAY_MS, 30, None), "ann")
    reading.take(charged(NOON - 2 * DAY_MS, 0, "gone"), None)
    found = reading.use(NOON - 3 * DAY_MS, NOON)
    later = reading.use(NOON - 3 * DAY_MS, NOON + DAY_MS).days
    assert later == (Line("2026-01-02", 0, 0, 0), *found.days)
    assert (found.tokens, found.calls) == (60, 3)
    assert found.days == (
        Line("2026-01-01", -10, 0, 0), Line("2025-12-31", 40, 1, 100), Line("2025-12-30", 30, 2, 75),
    )  # fmt: skip
    assert found.models == (Line("Echo (a test, no AI)", 40, 1, 100), Line("GPT-4", 20, 2, 50))
    assert found.keys == (Line("server …abcd", 40, 2, 100), Line("ann", 20, 1, 50))
    assert found.last[0] == Call(NOON, "GPT-4", "ann", 10, "refunded")
    assert [one.how for one in found.last] == ["refunded", "charged", "charged", "charged"]


def test_only_the_users_that_are_asked_for_and_no_more_calls_than_are_shown() -> None:
    reading = Reading(SHOP, KEYS, {"key k1"})
    for at in range(CALLS_MAX + 5):
        reading.take(charged(NOON - at, 1), "key k1")
        reading.take(charged(NOON - at, 100), "ann")
    found = reading.use(NOON - DAY_MS, NOON)
    assert (found.tokens, found.calls, len(found.last)) == (CALLS_MAX + 5, CALLS_MAX + 5, CALLS_MAX)


def test_refusals_are_counted_with_all_that_one_entry_stands_for() -> None:
    reading = Reading(SHOP, {}, None)
    for at, count in ((NOON, 3), (NOON - 5, 1)):
        reading.take(e.Refused(seq=1, time=at, catalog="", code=Code.RATE, count=count), "ann")
    assert reading.use(NOON, NOON).refusals == (Refusals(Code.RATE, 4, NOON),)
    released = e.Released(seq=1, time=NOON, catalog="", feature="nobody-knows")
    reading.take(released, None)
    assert reading.use(NOON, NOON).last == (Call(NOON, "nobody-knows", "", 0, "nothing charged"),)
