"""The section `[refunds]` of a catalog: what it means, what is refused, what is warned of."""

import pytest

from tests.rules.test_catalog_file import HEAD, WHOLE, problems, read
from tokentill.catalogs import PRESETS, preset_text
from tokentill.rules.catalog_file import load
from tokentill.rules.refund_policy import Band, RefundPolicy, Tier, Withdrawal
from tokentill.rules.refund_sentences import RefundTexts


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_has_the_figures_of_the_document(
    name: str,
) -> None:  # R-REF-1, R-REF-2, R-REF-3, R-REF-4
    assert load(preset_text(name), name)[0].refunds == RefundPolicy()


def test_every_figure_can_be_written() -> None:  # R-REF-1, R-REF-6
    text = """
[refunds]
enabled = false
title = "Back"
text = "Why?"
waiting = "Wait."
bands = [{ below = 10, rate = 90 }, { rate = 0 }]
reasons = { technical = 90, quality = 0 }
tiers = [{ above = "50.00", percent = 105 }, { above = "500.00", percent = 130 }]
early_minutes = 30
early_percent = 100
late_hours = 48
late_percent = 50
guarantee_percent = "off"
bonus_percent = 10
credit_percent = "off"
upgrade = false
plans = true
unused_share = true
window_days = 14
quote_minutes = 5
automatic_max = "off"
four_eyes_above = "20.00"
review_refunds = 1
review_accounts = 2
review_usage_percent = 50
withdrawal.de.days = 14
waiver_text = "At once, please."
waiver_required = true
texts.cash = "{money} zurück."
"""
    found = read(WHOLE + text).refunds
    assert found == RefundPolicy(
        enabled=False, title="Back", text="Why?", waiting="Wait.", bands=(Band(10, 90), Band(101, 0)),
        reasons={"technical": 90, "quality": 0, "unused": 100, "first_time": 50},
        tiers=(Tier(50_000, 130), Tier(5_000, 105)), early_s=1_800, early_percent=100, late_s=172_800,
        late_percent=50, guarantee_percent=None, bonus_percent=10, credit_percent=None, upgrade=False, plans=True,
        unused_share=True, window_days=14, quote_ms=300_000, automatic_max=None, four_eyes_above=2_000,
        review_refunds=1, review_accounts=2, review_usage_percent=50, withdrawal={"de": Withdrawal(14)},
        waiver_text="At once, please.", waiver_required=True, texts=RefundTexts(cash="{money} zurück."),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("currency", "tier", "automatic"), [("USD", 100_000, 10_000), ("JPY", 1_000, 100), ("KWD", 1_000_000, 100_000)]
)  # fmt: skip
def test_amounts_that_are_not_written_fit_the_currency(
    currency: str, tier: int, automatic: int
) -> None:  # R-REF-2
    text = WHOLE.replace('price = "10.00"', 'price = "10"').replace('price = "5.00"', 'price = "5"')
    found = read(text.replace(HEAD, f'{HEAD}currency = "{currency}"\n')).refunds
    assert (found.tiers[0].above, found.automatic_max) == (tier, automatic)


@pytest.mark.parametrize(
    ("written", "wrong"),
    [
        ("bands = [{ below = 5, rate = 50 }, { rate = 60 }]",
         "refunds.bands[2].rate: more is given back for more use; write 50 or less"),
        ("bands = [{ below = 5, rate = 50 }, { below = 5, rate = 40 }]",
         "refunds.bands[2].below: a band that ends before the one above it; write more than 5"),
        ("early_ms = 1500", "refunds.early_ms: a part of a second does not count here; write whole seconds"),
        ("early_hours = 200", "refunds.late_hours: late begins before early is over; write a longer time"),
        ('tiers = [{ above = "1.00", percent = 110 }, { above = "1.00", percent = 120 }]',
         "refunds.tiers[2].above: this amount is listed already; list each amount once"),
        ('texts.early = "In {spam}: {percent} %."',
         'refunds.texts.early: {spam} is not filled in here; did you mean "span"?'),
        ('texts.total = "{rate} %, {price}, {amount}, {x}"',
         "refunds.texts.total: {x} is not filled in here; allowed here: amount, price, rate"),
        ('texts.cash = "{money} {money.real}"',
         'refunds.texts.cash: {money.real} is not filled in here; did you mean "money"?'),
        ('texts.bonus = "{left} {tokens} {tokens:q}"',
         'refunds.texts.bonus: {tokens:q} is not filled in here; did you mean "tokens"?'),
        ('texts.clamp = "{}"', "refunds.texts.clamp: {} is not filled in here; nothing is allowed here"),
        ('texts.clamp = "100 }"', "refunds.texts.clamp: {{} is not filled in here; nothing is allowed here"),
        ('texts.upgrade = "{title}: {tokens}"',
         "refunds.texts.upgrade: {pay} is missing; write each figure that the customer is told"),
        ('texts.plan_ends = ""',
         'refunds.texts.plan_ends: "" does not fit here; write 1 to 500 characters on one line, no spaces around'),
        ('texts.upgrad = "{pay}"', 'refunds.texts.upgrad: unknown key; did you mean "upgrade"?'),
        ("reasons = { bored = 10 }",
         "refunds.reasons.bored: unknown key; allowed here: first_time, quality, technical, unused"),
    ],
)  # fmt: skip
def test_a_policy_that_cannot_be(written: str, wrong: str) -> None:  # R-REF-1, R-REF-5
    [problem] = problems(WHOLE + "[refunds]\n" + written + "\n")
    assert problem.partition(": ")[2] == wrong


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ('four_eyes_above = "50.00"', "refunds-limits"),
        ("window_days = 1\nguarantee_hours = 25", "refunds-window"),
        ("waiver_required = true", "refunds-waiver"),
        ('tiers = [{ above = "1.00", percent = 120 }, { above = "9.00", percent = 110 }]', "refunds-tiers"),
        ('enabled = false\nfour_eyes_above = "50.00"', None),
    ],
)
def test_what_is_dubious(written: str, code: str | None) -> None:  # R-REF-6
    found = [finding.code for finding in load(WHOLE + "[refunds]\n" + written + "\n", "till.toml")[1]]
    assert found == ([] if code is None else [code])
