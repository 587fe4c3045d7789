"""R-ABU-1 … R-ABU-8: the abuse battery of S2 §3, inside the same decision as the charge."""

import pytest
from msgspec import structs

from tests.support.desk import Desk, change_plan, preset
from tokentill.rules import abuse
from tokentill.rules import commands as c
from tokentill.rules import entries as e
from tokentill.rules.catalog import AbuseLimits, Catalog
from tokentill.rules.refusals import Code

GOALS = preset("goals")
FEATURE = "generate_goal"


def limited(**limits: int | None) -> Catalog:
    return change_plan(GOALS, "enterprise", abuse={FEATURE: AbuseLimits(**limits)})  # type: ignore[arg-type]  # a limit each


def desk(**limits: int | None) -> Desk:
    return Desk(limited(**limits), "enterprise")


def ask(at: Desk, user: str = "ann", quantity: int = 1) -> Code | None:
    reply = at.do(c.Charge(feature=FEATURE, user=user, quantity=quantity))
    return getattr(reply, "code", None)


# R-ABU-1 … R-ABU-6: the figures of S2 §3 are the preset's
def test_the_documents_figures() -> None:
    limits = GOALS.plans["pro"].abuse[FEATURE]
    assert limits == AbuseLimits(
        tokens_per_request_max=10,
        requests_per_minute_max=30,
        spacing_ms_min=3000,
        output_tokens_max=2000,
        burn_alert_tokens_per_hour=500,
        attempts_max=5,
    )


# R-ABU-1: no more than 10 tokens a request
@pytest.mark.parametrize(("quantity", "code"), [(3, None), (4, Code.TOO_LARGE)])
def test_size(quantity: int, code: Code | None) -> None:
    assert ask(desk(tokens_per_request_max=10), quantity=quantity) == code


# R-ABU-2: 30 requests a minute, a minute being exactly 60,000 ms
def test_rate() -> None:
    at = desk(requests_per_minute_max=30)
    for _ in range(30):
        assert ask(at) is None
        at.wait(seconds=1)
    refusal = at.no(c.Charge(feature=FEATURE, user="ann"))
    assert (refusal.code, refusal.retry_after_ms) == (Code.RATE, 30_000)
    assert ask(at, user="bob") is None
    at.wait(seconds=30, ms=-1)
    assert ask(at) == Code.RATE
    at.wait(ms=1)
    assert ask(at) is None
    assert ask(at) == Code.RATE


# R-ABU-2: refused requests do not push the next chance away
def test_a_refusal_of_a_feature_without_limits_delays_nobody() -> None:
    free = structs.replace(GOALS.features["generate_goal"], id="free", tokens=1)
    limits = {**GOALS.plans["pro"].abuse, "free": AbuseLimits()}
    catalog = structs.replace(GOALS, features={**GOALS.features, "free": free})
    desk = Desk(change_plan(catalog, "pro", abuse=limits), "pro")
    refused = c.Charge(feature="free", user="ann")
    assert desk.no(refused, key="not in the plan").code == Code.NOT_IN_PLAN
    desk.charge("generate_goal")
    desk.wait(seconds=3)
    assert desk.no(c.Charge(feature="free", user="ann"), key="nor now").code == Code.NOT_IN_PLAN
    desk.charge("generate_goal")


# R-ABU-2
def test_hammering_does_not_lengthen_the_wait() -> None:
    at = desk(requests_per_minute_max=1)
    assert ask(at) is None
    for _ in range(59):
        at.wait(seconds=1)
        assert ask(at) == Code.RATE
    at.wait(seconds=1)
    assert ask(at) is None


# R-ABU-2: a large limit holds too, where the log is kept in bins
def test_a_large_rate_is_never_exceeded() -> None:
    at = desk(requests_per_minute_max=1000)
    at.ok(c.Grant(tokens=10_000))
    admitted: list[int] = []
    for _ in range(2500):
        at.wait(ms=41)
        if ask(at) is None:
            admitted.append(at.now)
    for index, start in enumerate(admitted):
        assert sum(1 for time in admitted[index : index + 1100] if time < start + 60_000) <= 1000
    assert len(admitted) > 1600


# R-ABU-3: exactly 3.000 s passes
def test_spacing() -> None:
    at = desk(spacing_ms_min=3000)
    assert ask(at) is None
    at.wait(seconds=3, ms=-1)
    refusal = at.no(c.Charge(feature=FEATURE, user="ann"))
    assert (refusal.code, refusal.retry_after_ms) == (Code.SPACING, 1)
    assert ask(at, user="bob") is None
    at.wait(ms=1)
    assert ask(at) is None


# R-ABU-4: asked of the upstream, checked on the answer; the charge never exceeds the hold
@pytest.mark.parametrize(("output", "kinds"), [(2000, ["charge"]), (2001, ["charge", "alert"])])
def test_output_cap(output: int, kinds: list[str]) -> None:
    at = desk(output_tokens_max=2000)
    receipt = at.ok(c.Reserve(feature=FEATURE, user="ann"))
    assert receipt.output_tokens_max == 2000
    assert at.ok(c.Settle(hold=receipt.operation, output_tokens=output)).tokens == 3
    assert at.kinds() == kinds


# R-ABU-5: more than 500 tokens in an hour alerts once, and blocks nobody
def test_burn_alert() -> None:
    at = desk(burn_alert_tokens_per_hour=500)
    alerts = []
    for _ in range(200):
        at.wait(seconds=15)
        assert ask(at) is None
        alerts += [(entry.observed, entry.status) for entry in at.last if isinstance(entry, e.Alerted)]
    assert alerts == [(501, "fraud_flagged")]


# R-ABU-5: a share of the allowance, because a small plan never reaches 500
def test_burn_share_alert() -> None:
    at = desk(burn_alert_percent_of_allowance=50)
    for _ in range(333):
        ask(at)
    assert not [entry for entry in at.journal if isinstance(entry, e.Alerted)]
    ask(at)
    assert [entry.code for entry in at.last if isinstance(entry, e.Alerted)] == ["burn_share"]


# R-ABU-6: the fifth failed attempt within the hour blocks for an hour; it ends by itself
def test_block_after_five_attempts() -> None:
    at = desk(tokens_per_request_max=10, attempts_max=5)
    for _ in range(4):
        assert ask(at, quantity=4) == Code.TOO_LARGE
    assert ask(at) is None
    at.ok(c.Tick())
    assert at.no(c.Attempt(user="ann", reason="no such field")).code == Code.INVALID
    assert at.kinds() == ["refused", "block"]
    refusal = at.no(c.Charge(feature=FEATURE, user="ann"))
    assert (refusal.code, refusal.status, refusal.retry_after_ms) == (
        Code.BLOCKED,
        "fraud_flagged",
        3_600_000,
    )
    assert ask(at, user="bob") is None
    at.wait(hours=1, ms=-1)
    assert ask(at) == Code.BLOCKED
    at.wait(ms=1)
    assert ask(at) is None


# R-ABU-6: only the last hour counts; upstream errors, exhaustion and ordinary waits do not
def test_what_counts_as_an_attempt() -> None:
    at = desk(tokens_per_request_max=10, attempts_max=5, requests_per_minute_max=1)
    for _ in range(4):
        ask(at, quantity=4)
    at.wait(hours=1)
    assert ask(at, quantity=4) == Code.TOO_LARGE
    assert ask(at) is None
    for _ in range(10):
        assert ask(at) == Code.RATE
    at.wait(minutes=1)
    hold = at.hold(FEATURE)
    at.ok(c.Release(hold=hold, reason="failed"))
    at.wait(minutes=1)
    assert ask(at) is None


# R-ABU-6: an operator can lift it
def test_an_operator_lifts_the_block() -> None:
    at = desk(tokens_per_request_max=10, attempts_max=1)
    ask(at, quantity=4)
    assert ask(at) == Code.BLOCKED
    at.ok(c.Unblock(user="ann", reason="a bug in our app", actor="kim"))
    assert ask(at) is None
    assert at.no(c.Unblock(user="ann", reason="again", actor="kim")).code == Code.NOT_POSSIBLE


# R-ABU-7: on the record as prevented, failed or fraud_flagged, but a flood cannot grow the journal
def test_a_flood_of_refusals_is_counted_not_kept() -> None:
    at = desk(requests_per_minute_max=1)
    ask(at)
    before = len(at.journal)
    for _ in range(1000):
        assert ask(at) == Code.RATE
    assert len(at.journal) == before + 1
    assert at.journal[-1].status == "prevented"
    at.wait(minutes=2)
    at.ok(c.CountRefusals(refusals=(("ann", "rate_limited", at.now // 60_000 - 2, 999),)))
    assert at.journal[-1].status == "prevented"
    assert getattr(at.journal[-1], "count", 0) == 999


# R-ABU-7: each refusal says which layer refused
@pytest.mark.parametrize(
    ("limits", "layer"),
    [
        ({"tokens_per_request_max": 200}, "abuse"),
        ({"tokens_per_request_max": 201}, "balance"),
        ({}, "balance"),
    ],
)
def test_a_refusal_names_its_layer(limits: dict[str, int], layer: str) -> None:
    at = Desk(change_plan(GOALS, "pro", abuse={FEATURE: AbuseLimits(**limits)}), "pro")
    refusal = at.no(c.Charge(feature=FEATURE, user="ann", quantity=67))
    assert refusal.layer == layer


# R-ABU-8: the battery alone, changing nothing; every layer says its own
def test_the_battery_alone() -> None:
    at = Desk(GOALS, "pro")
    ask(at)
    before = at.account.dump()
    limits = abuse.limits_of(GOALS, "pro", FEATURE)
    verdicts = abuse.battery(at.account.state, "ann", limits, 12, at.now)
    assert {verdict.layer: verdict.refusal and verdict.refusal.code for verdict in verdicts} == {
        "attempts": None,
        "size": Code.TOO_LARGE,
        "rate": None,
        "spacing": Code.SPACING,
    }
    assert at.account.dump() == before


# R-ABU-8: abuse → licence → plan → balance
def test_the_order_of_the_layers() -> None:
    at = Desk(GOALS, "starter")
    at.ok(c.Freeze())
    asked = [ask(at, quantity=4), ask(at)]
    at.ok(c.Restore())
    asked.append(ask(at))
    pro = Desk(change_plan(GOALS, "pro", tokens=1), "pro")
    asked.append(ask(pro))
    assert asked == [Code.TOO_LARGE, Code.LICENCE, Code.NOT_IN_PLAN, Code.EXHAUSTED]


# R-ABU-7: memory of idle users is let go, of blocked ones kept
def test_idle_users_are_forgotten() -> None:
    at = desk(requests_per_minute_max=30)
    for number in range(100):
        ask(at, user=f"u{number}")
    at.wait(hours=2)
    ask(at, user="last")
    assert list(at.account.state.users) == ["last"]


# A key may bring limits of its own: interactive features keep 3 s, API keys set 0 and use the rate
def test_a_keys_own_limits_replace_the_catalogs() -> None:
    at = Desk(GOALS, "pro")
    own = structs.replace(GOALS.plans["pro"].abuse[FEATURE], spacing_ms_min=None)
    for _ in range(5):
        at.ok(c.Reserve(feature=FEATURE, user="ann", limits=own))


# R-ABU-7: a flood of invalid requests, keyed or not, stops growing the journal once the user is blocked
def test_a_blocked_users_invalid_requests_are_counted_not_kept() -> None:
    at = desk(attempts_max=5, requests_per_minute_max=30)
    for number in range(200):
        at.no(c.Charge(feature="no_such_feature", user="ann"), key=f"k{number}")
        at.no(c.Attempt(user="ann", reason="no such field"))
    assert len([entry for entry in at.journal if isinstance(entry, e.Refused)]) < 10
