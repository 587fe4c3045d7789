"""R-PACK-4: suspicious patterns; S1 §9 risk 2 "Monitor for suspicious patterns"."""

from typing import Any

import pytest
from msgspec.structs import replace

from tests.support.desk import DAY, HOUR, ms, preset
from tokentill.rules import happenings as h
from tokentill.rules.catalog_shop import ALERTS, AlertRule
from tokentill.rules.purchases import Purchase, derive, merge
from tokentill.rules.suspicion import Seen, above_limit, alerts, declines, window

ANALYSIS = preset("analysis")
NOW = ms("2026-03-15T12:00")


def bought(*facts: h.AnyHappening, **more: Any) -> Purchase:
    row = Purchase(
        id="p1", organization="acme", created_at=NOW, kind="pack", item="token_pack_25", title="25 Token Pack",
        amount=2500, currency="USD", tokens=25, provider="stripe", slot_ms=DAY, **more,
    )  # fmt: skip
    row = derive(row)
    for fact in facts:
        row = merge(row, fact)
    return row


def paid(payment: str = "pi_1", amount: int = 2500, at: int = NOW) -> h.Paid:
    return h.Paid(at=at, payment=payment, amount=amount, currency="USD", method="card_a")


def raised(row: Purchase, seen: Seen | None = None, now: int = NOW) -> list[tuple[str, str]]:
    return [(alert.id, alert.text) for alert in alerts(ANALYSIS, row, seen or Seen(), now)]


MISMATCHED = (
    "acme paid $24.00 for 25 Token Pack (p1), which costs $25.00. Nothing was delivered for it; give it back."
)
FRAUD = "The card network warns that the payment for 25 Token Pack (p1) of acme may be fraud."


@pytest.mark.parametrize(
    ("row", "alert"),
    [
        (bought(paid(), h.Suspected(at=NOW, payment="pi_1", warning="w1")),
         ("fraud_warning:w1", f"{FRAUD} Giving it back now may spare a dispute.")),
        (bought(paid(), flagged="over_limit"),
         ("over_limit:p1", "acme has paid for 25 Token Pack (p1) above the limit of packs. Its tokens were delivered.")),
        (bought(paid(amount=2400)),
         ("mismatched:p1:pi_1", MISMATCHED)),
        (bought(paid(), paid("pi_2", at=NOW + 1)),
         ("paid_twice:p1:pi_2", "acme paid for 25 Token Pack (p1) twice. Give pi_2 back.")),
    ],
)  # fmt: skip
def test_single_events(row: Purchase, alert: tuple[str, str]) -> None:
    # R-PACK-4
    assert raised(row) == [alert]


def test_an_ordinary_purchase_is_not_suspicious() -> None:
    assert raised(bought(paid()), Seen(declines=9, organizations=1)) == []


# R-PACK-4: declines an hour
def test_declines() -> None:
    tries = [h.Declined(at=NOW - n * 10 * 60_000, attempt=f"a{n}") for n in range(8)]
    row = bought(*tries)
    span = window(ANALYSIS, "declines")
    assert span == HOUR
    count = declines([row, bought()], NOW - span)
    assert count == 6  # those of the last hour; the one exactly an hour ago is out
    assert raised(row, Seen(declines=4)) == []
    [(cause, text)] = raised(row, Seen(declines=5))
    assert text == ("5 payments of acme were declined within one hour. The last was for 25 Token Pack (p1).")
    assert raised(row, Seen(declines=9), NOW + 59 * 60_000)[0][0] == cause
    assert raised(row, Seen(declines=9), NOW + 60 * 60_000)[0][0] != cause


# R-PACK-4: one payment method across organizations
def test_one_method_for_several_organizations() -> None:
    assert raised(bought(paid()), Seen(organizations=2)) == []
    assert raised(bought(paid()), Seen(organizations=3)) == [
        (
            "shared_method:stripe:card_a",
            "One payment method has paid for 3 or more organizations within 30 days, for acme last.",
        )
    ]


@pytest.mark.parametrize(
    ("state", "aside", "fate"),
    [
        ("open", 20, "its unspent tokens (20) are set aside"),
        ("open", 0, "none of its tokens are left to set aside, because they are spent or their time is over"),
        ("won", 0, "it is won, so its tokens can be used again"),
        ("lost", 0, "it is lost, so its unspent tokens are taken back"),
    ],
)
@pytest.mark.parametrize("kind", ["pack", "plan", "renewal", "upgrade"])
def test_what_a_dispute_does_to_the_tokens_is_told(kind: Any, state: Any, aside: int, fate: str) -> None:
    # R-PACK-4, R-REF-6
    wants = h.Disputed(at=NOW, payment="pi_1", dispute="d1", state=state, amount=2500, currency="USD")
    invoice = h.InvoicePaid(
        at=NOW, subscription="sub_1", invoice="in_1", plan="starter", amount=2500, currency="USD", start=NOW,
        end=NOW + 1, reason="cycle", payment="pi_1",
    )  # fmt: skip
    told = merge(merge(replace(bought(), kind=kind), paid() if kind == "pack" else invoice), wants)
    [(cause, text)] = raised(replace(told, done=("deliver",)), Seen(aside=aside))
    assert (cause, text) == (
        "dispute:d1",
        f"acme disputes $25.00 of 25 Token Pack (p1); {fate}. Answer it at stripe.",
    )
    [(_, early)] = raised(told)
    assert "none of its tokens are delivered yet" in early


def test_an_alert_of_several_organizations_is_nobodys_own() -> None:
    [shared] = alerts(ANALYSIS, bought(paid()), Seen(organizations=3), NOW)
    [twice] = alerts(ANALYSIS, bought(paid(), paid("pi_2")), Seen(), NOW)
    assert (shared.organization, twice.organization) == ("", "acme")


def test_what_the_catalog_does_not_list_raises_nothing_unless_money_is_in_the_wrong_place() -> None:
    quiet = replace(ANALYSIS, alerts=(AlertRule("dispute"),))
    row = bought(paid(), paid("pi_2"), h.Suspected(at=NOW, payment="pi_1", warning="w1"))
    assert [alert.code for alert in alerts(quiet, row, Seen(9, 9), NOW)] == ["paid_twice"]
    wrong = bought(
        paid(amount=1), h.RefundFailed(at=NOW, payment="pi_1", refund="r", amount=1, currency="USD")
    )
    none = replace(ANALYSIS, alerts=())
    assert {alert.code for alert in alerts(none, wrong, Seen(9, 9), NOW)} == {"mismatched", "refund_failed"}
    assert window(quiet, "declines") is None
    assert (
        {alert.code for alert in alerts(ANALYSIS, row, Seen(), NOW)}
        == {"fraud_warning", "paid_twice"}
        <= set(ALERTS)
    )


# R-PACK-4, readings: a payment above the limit is honoured and flagged
@pytest.mark.parametrize(
    ("others", "above"),
    [
        ([], False),
        ([NOW - 1], False),
        ([NOW - 1, NOW - DAY], False),  # exactly 24 hours ago is out
        ([NOW - 1, NOW - DAY + 1], True),
        ([NOW, NOW], True),
        ([NOW - 1, NOW + 1], False),  # the later one will be the one too many
    ],
)
def test_paid_above_the_limit(others: list[int], above: bool) -> None:
    assert above_limit(ANALYSIS, NOW, others) == above
