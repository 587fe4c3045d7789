"""The sections of a catalog that say how things are sold: what they mean, what is refused, what is warned of."""

import pytest

from tests.rules.test_catalog_file import FEATURE, HEAD, PACK, PLAN, WHOLE, problems, read
from tests.support.desk import DAY, HOUR, MINUTE, ms
from tokentill.rules.catalog_file import load
from tokentill.rules.catalog_reader import DATE_ALLOWED
from tokentill.rules.catalog_shop import ALERTS, AlertRule, Checkout, Promo, Recommend, Rollout

LINK = 'checkout.success_link: not a link; write a path such as "/account/buy-credits" or https://...'


def codes(text: str) -> list[tuple[str, str]]:
    return [(finding.code, finding.path) for finding in load(text, "till.toml")[1]]


def test_what_holds_when_nothing_is_said() -> None:
    # R-PACK-4, R-PACK-9
    catalog = read(WHOLE)
    assert catalog.checkout == Checkout(2, DAY, 30 * MINUTE)
    assert (catalog.promos, catalog.rollout, catalog.recommend) == ({}, Rollout(100), Recommend(30, None, 2))
    assert catalog.alerts == tuple(ALERTS.values())


def test_checkout() -> None:
    # R-PACK-2, R-PACK-4
    text = """
[checkout]
packs_max = "off"
packs_window_hours = 12
open_minutes = 60
success_link = "https://app.example.com/thanks?p={purchase}"
cancel_link = "/settings?tab=billing"
"""
    assert read(WHOLE + text).checkout == Checkout(
        None, 12 * HOUR, 60 * MINUTE, "https://app.example.com/thanks?p={purchase}", "/settings?tab=billing"
    )


@pytest.mark.parametrize(
    ("written", "wrong"),
    [
        ("packs_max = 0", 'checkout.packs_max: 0 does not fit here; write a whole number from 1 to 1000000, or "off"'),
        ("open_hours = 25", "checkout.open_hours: no checkout is open for so long; write one minute to 24 hours"),
        ("open_seconds = 59", "checkout.open_seconds: no checkout is open for so long; write one minute to 24 hours"),
        ('success_link = "done"', LINK),
        ('cancel_link = "/{user}"', "checkout.cancel_link: {user} is not filled in here; allowed here: purchase"),
    ],
)  # fmt: skip
def test_a_checkout_that_cannot_be(written: str, wrong: str) -> None:
    [problem] = problems(WHOLE + "[checkout]\n" + written + "\n")
    assert problem.partition(": ")[2] == wrong


# R-PACK-8
def test_promos() -> None:
    text = """
[promos.SPRING-26]
title = "Spring"
percent_off = 10
packs = ["small"]
starts = 2026-03-01
ends = 2026-03-31
uses_max = 100
first_purchase_only = true

[promos.FIVE]
amount_off = "5.00"
ends = "2026-03-31T18:00:00+02:00"

[promos.MORE]
bonus_tokens = 3
once_per_organization = false
"""
    assert list(read(WHOLE + text).promos.values()) == [
        Promo(
            code="SPRING-26",
            title="Spring",
            percent_off=10,
            packs=frozenset({"small"}),
            starts=ms("2026-03-01"),
            ends=ms("2026-04-01"),  # the last day is a whole day
            uses_max=100,
            first_purchase_only=True,
        ),
        Promo(code="FIVE", amount_off=500, ends=ms("2026-03-31T16:00:00")),
        Promo(code="MORE", bonus_tokens=3, once_per_organization=False),
    ]


@pytest.mark.parametrize(
    ("written", "wrong"),
    [
        ("uses_max = 3",
         "promos.A-1.percent_off: the code gives nothing; write percent_off, amount_off or bonus_tokens"),
        ("percent_off = 1\nbonus_tokens = 1",
         "promos.A-1.bonus_tokens: the code gives percent_off already; keep one of them"),
        ("percent_off = 101", "promos.A-1.percent_off: 101 does not fit here; write a whole number from 1 to 100"),
        ('amount_off = "0.00"', "promos.A-1.amount_off: the code takes nothing off; write an amount above zero"),
        ("percent_off = 5\nstarts = 2026-02-02\nends = 2026-02-01",
         "promos.A-1.ends: the code ends before it begins; write a later date"),
        ('percent_off = 5\npacks = ["smal"]', 'promos.A-1.packs: "smal" is not known; did you mean "small"?'),
        ('percent_off = 5\nends = "soon"', f'promos.A-1.ends: "soon" does not fit here; {DATE_ALLOWED}'),
        ("percent_off = 5\nends = 2026-03-31T18:00:00",
         f"promos.A-1.ends: 2026-03-31 18:00:00 does not fit here; {DATE_ALLOWED}"),
        ("percent_off = 5\nstarts = 1969-12-31", f"promos.A-1.starts: 1969-12-31 does not fit here; {DATE_ALLOWED}"),
    ],
)  # fmt: skip
def test_a_promo_that_cannot_be(written: str, wrong: str) -> None:
    [problem] = problems(WHOLE + "[promos.A-1]\n" + written + "\n")
    assert problem.partition(": ")[2] == wrong


def test_a_code_is_in_capitals() -> None:
    [problem] = problems(WHOLE + "[promos.spring]\npercent_off = 5\n")
    assert problem.endswith(
        "promos.spring: is not a code; write 3 to 32 of A-Z 0-9 -, in capitals, beginning with a letter or digit"
    )


# R-PACK-8: a true deadline
def test_a_launch_price_has_an_end() -> None:
    whole = WHOLE + '[packs.new]\ntitle = "New"\ntokens = 20\nprice = "9.00"\n'
    pack = read(whole + 'launch_price = "7.00"\nlaunch_until = 2026-03-31\nbonus_tokens = 2\n').packs["new"]
    assert (pack.launch_price, pack.launch_until, pack.bonus_tokens) == (700, ms("2026-04-01"), 2)
    for alone, other in (('launch_price = "7.00"', "until"), ("launch_until = 2026-03-31", "price")):
        [problem] = problems(f"{whole}{alone}\n")
        assert f"packs.new.launch_{other}: missing, since launch_" in problem


# R-PACK-9
def test_rollout() -> None:
    assert read(WHOLE + "[rollout]\npercent = 20\n").rollout == Rollout(20)
    assert read(WHOLE + '[rollout]\norganizations = ["acme"]\n').rollout == Rollout(0, frozenset({"acme"}))
    pack = read(WHOLE.replace('price = "5.00"\n', 'price = "5.00"\nrollout = { percent = 5 }\n')).packs[
        "small"
    ]
    assert pack.rollout == Rollout(5)


# R-PACK-4
def test_alerts() -> None:
    text = """
[[alerts]]
pattern = "declines"
count = 3
window_minutes = 30

[[alerts]]
pattern = "dispute"
"""
    assert read(WHOLE + text).alerts == (AlertRule("declines", 3, 30 * MINUTE), AlertRule("dispute"))
    assert read(HEAD + "alerts = []\n" + FEATURE + PLAN + PACK).alerts == ()


@pytest.mark.parametrize(
    ("row", "wrong"),
    [
        ('pattern = "chargeback"',
         f'alerts[1].pattern: "chargeback" does not fit here; allowed here: {", ".join(sorted(ALERTS))}'),
        ("", "alerts[1].pattern: missing; write a text in quotes"),
        ('pattern = "dispute"\ncount = 2', "alerts[1].count: unknown key; allowed here: pattern"),
        ('pattern = "shared_method"\ncount = 1',
         "alerts[1].count: 1 does not fit here; write a whole number from 2 to 1000000"),
        ('pattern = "dispute"\n[[alerts]]\npattern = "dispute"',
         'alerts[2].pattern: "dispute" is listed already; list each pattern once'),
    ],
)  # fmt: skip
def test_an_alert_that_cannot_be(row: str, wrong: str) -> None:
    [problem] = problems(f"{WHOLE}[[alerts]]\n{row}\n")
    assert problem.partition(": ")[2] == wrong


# R-PACK-6
def test_recommend() -> None:
    assert read(WHOLE + "[recommend]\nhistory_days = 14\nhorizon_days = 60\n").recommend == Recommend(14, 60)
    assert read(WHOLE + '[recommend]\nhorizon_days = "reset"\n').recommend == Recommend()


# R-PACK-2
def test_price_ids() -> None:
    text = (
        '[packs.small.prices]\nstripe = "price_1"\n[plans.pro.prices]\nstripe = "price_2"\npaypal = "P-3"\n'
    )
    catalog = read(WHOLE + text)
    assert (catalog.packs["small"].prices, catalog.plans["pro"].prices) == (
        {"stripe": "price_1"},
        {"stripe": "price_2", "paypal": "P-3"},
    )
    [problem] = problems(
        WHOLE + '[packs.small.prices]\nstripe = "price_2"\n[plans.pro.prices]\nstripe = "price_2"\n'
    )
    assert problem.endswith(
        "plans.pro.prices.stripe: price_2 is the price of small too, which costs something else; "
        "give each its own price"
    )
    assert "unknown key" in problems(WHOLE + '[packs.small.prices]\nstrip = "price_2"\n')[0]


@pytest.mark.parametrize(
    ("more", "warning"),
    [
        ("[checkout]\nopen_minutes = 29", ("checkout-short", "checkout.open_minutes")),
        ("[rollout]\npercent = 0", ("rollout-to-nobody", "rollout")),
        ("[packs.small.rollout]\npercent = 0", ("rollout-to-nobody", "packs.small.rollout")),
        ("[promos.ABC]\npercent_off = 5", ("promo-without-end", "promos.ABC")),
        ("[promos.ABC]\nuses_max = 9\npercent_off = 100", ("promo-free", "promos.ABC")),
        ('[promos.ABC]\nuses_max = 9\namount_off = "5.00"', ("promo-free", "promos.ABC")),
    ],
)  # fmt: skip
def test_warnings(more: str, warning: tuple[str, str]) -> None:
    assert codes(f"{WHOLE}{more}\n") == [warning]


def test_prices_of_three_decimals_end_in_0() -> None:  # R-PACK-2
    dinars = WHOLE.replace('"10.00"', '"10.005"').replace('"5.00"', '"5.010"') + 'launch_price = "4.009"\n'
    dinars += "launch_until = 2026-03-31\n"
    found = codes(f'currency = "KWD"\n{dinars}')
    assert found == [("price-step", "plans.pro.price"), ("price-step", "packs.small.launch_price")]
    assert codes(f'currency = "KWD"\n{WHOLE}') == codes(WHOLE) == []


def test_warnings_inside_packs_and_plans() -> None:
    launch = PACK + 'launch_price = "5.00"\nlaunch_until = 2026-03-31\n'
    assert codes(HEAD + FEATURE + PLAN + launch) == [("launch-no-saving", "packs.small.launch_price")]
    bundle = PLAN + "bundled_tokens = 5\n"
    assert codes(HEAD + FEATURE + bundle + PACK) == [("bundle-piles-up", "plans.pro.bundled_tokens")]
    free = PLAN.replace("10.00", "0.00") + "trial_days = 5\n"
    assert ("no-effect", "plans.pro.trial_days") in codes(HEAD + FEATURE + free + PACK)
    off = PACK + "enabled = false\n[promos.ABC]\nuses_max = 9\npercent_off = 5\n"
    assert codes(HEAD + FEATURE + PLAN + off) == [("promo-for-nothing", "promos.ABC")]
    twin = PACK.replace("packs.small", "packs.pro")
    assert codes(HEAD + FEATURE + PLAN + twin) == [("price-name-shared", "plans.pro")]
    assert codes(HEAD + "alerts = []\n" + FEATURE + PLAN + PACK) == [("no-alerts", "alerts")]
