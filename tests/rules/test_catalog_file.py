import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokentill.catalogs import PRESETS, preset_text
from tokentill.rules.catalog import (
    HOUR_MS,
    MINUTE_MS,
    TOKENS_MAX,
    AbuseLimits,
    Catalog,
    Cycle,
    Exhaustion,
    Licence,
    LicenceStep,
    LowBalance,
    Overage,
    Rollover,
    Unit,
)
from tokentill.rules.catalog_file import CatalogError, load

HEAD = """name = "till"
"""
FEATURE = """
[features.op]
title = "Operation"
tokens = 1
"""
PLAN = """
[plans.pro]
title = "Pro"
price = "10.00"
tokens = 100
features = "all"
"""
PACK = """
[packs.small]
title = "Small"
tokens = 10
price = "5.00"
"""
WHOLE = HEAD + FEATURE + PLAN + PACK


def read(text: str) -> Catalog:
    return load(text, "till.toml")[0]


def problems(text: str) -> list[str]:
    with pytest.raises(CatalogError) as refused:
        load(text, "till.toml")
    return [problem.as_text() for problem in refused.value.problems]


def test_the_smallest_catalog() -> None:
    catalog = read(HEAD + FEATURE + '[no_plan]\nfeatures = ["op"]\n')
    assert (catalog.name, catalog.currency, catalog.unit) == ("till", "USD", Unit())
    assert (catalog.plans, catalog.packs, list(catalog.features)) == ({}, {}, ["op"])
    assert catalog.no_plan_abuse == {"op": AbuseLimits()}
    assert catalog.licence == Licence()


def test_a_whole_catalog_has_no_warnings() -> None:
    assert load(WHOLE, "till.toml")[1] == ()


# What is refused, and the very words.


def test_a_bad_catalog_is_told_everything_at_once() -> None:
    text = """name = "Till"
currency = "usd"
zzz = "green"

[plan.pro]
title = "Pro"

[plans.pro]
titel = "Pro"
price = 149.0
tokens = 2e3
features = ["opp"]
rollover = "cap"
abuse = { tokens_per_request_max = 0 }

[packs."Small pack"]
title = "Small"

[packs.small]
title = "Small"
tokens = 10
price = "5.001"
plans = ["starter"]

[features.op]
title = "Operation"
tokens = true
timeout_seconds = 30
timeout_ms = 30000
"""
    assert (
        "\n".join(problems(text))
        == """\
till.toml:1: name: "Till" does not fit here; write 1 to 64 of a-z 0-9 . _ -, beginning with a letter or digit
till.toml:2: currency: "usd" does not fit here; did you mean "USD"?
till.toml:3: zzz: unknown key; allowed here: abuse, alerts, checkout, costs, currency, cycle, default_plan, exhaustion, \
faq, features, hold_margin_hours, hold_margin_minutes, hold_margin_ms, hold_margin_seconds, holds_max, licence, \
low_balance, models, name, no_plan, packs, plans, promos, recommend, refunds, rollout, rollover, texts, title, unit, \
upgrade_credit, upstreams
till.toml:5: plan: unknown key; did you mean "plans"?
till.toml:8: plans.pro.title: missing; write a text in quotes
till.toml:9: plans.pro.titel: unknown key; did you mean "title"?
till.toml:10: plans.pro.price: 149.0 does not fit here; write an amount as text, such as "149.00"
till.toml:11: plans.pro.tokens: 2E+3 does not fit here; write a whole number from 0 to 1000000000000000
till.toml:12: plans.pro.features: "opp" is not known; did you mean "op"?
till.toml:13: plans.pro.rollover: "cap" does not fit here; did you mean "capped"?
till.toml:14: plans.pro.abuse.tokens_per_request_max: 0 does not fit here; \
write a whole number from 1 to 1000000000000000, or "off"
till.toml:16: packs.Small pack: is not an id; write 1 to 64 of a-z 0-9 . _ -, beginning with a letter or digit
till.toml:22: packs.small.price: '5.001' has more digits behind the point than USD has (2); \
write an amount in USD as text, such as "149.00"
till.toml:23: packs.small.plans: "starter" is not known; allowed here: pro
till.toml:27: features.op.tokens: true does not fit here; write a whole number from 0 to 1000000000000000
till.toml:28: features.op.timeout_seconds: says the same as timeout_ms; keep one of them"""
    )


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        # money and tokens: no floats, no signs, within bounds
        (
            "[costs]\nper_token = 0.01",
            "till.toml:18: costs.per_token: 0.01 does not fit here; write a text in quotes",
        ),
        (
            '[costs]\nper_token = "0.000000001"',
            (
                'till.toml:18: costs.per_token: "0.000000001" is not a cost; '
                'write an amount as text, such as "0.01"; for a million tokens it must be whole minor units'
            ),
        ),
        (
            '[costs]\nper_token = "-1"',
            (
                'till.toml:18: costs.per_token: "-1" is not a cost; '
                'write an amount as text, such as "0.01"; for a million tokens it must be whole minor units'
            ),
        ),
        (
            '[costs]\nper_token = "0.01"\nper_million_tokens = "10000.00"',
            "till.toml:19: costs.per_million_tokens: says the same as per_token; keep one of them",
        ),
        (
            '[costs]\nfee_fixed = "-0.30"',
            (
                "till.toml:18: costs.fee_fixed: '-0.30' is not an amount; "
                'write an amount in USD as text, such as "149.00"'
            ),
        ),
        (
            f'[packs.x]\ntitle = "X"\nprice = "1.00"\ntokens = {TOKENS_MAX + 1}',
            (
                f"till.toml:20: packs.x.tokens: {TOKENS_MAX + 1} does not fit here; "
                f"write a whole number from 1 to {TOKENS_MAX}"
            ),
        ),
        (
            f'[packs.x]\ntitle = "X"\nprice = "1.00"\ntokens = {10**60}',
            (
                "till.toml:20: packs.x.tokens: a huge number does not fit here; "
                f"write a whole number from 1 to {TOKENS_MAX}"
            ),
        ),
        (
            '[packs.x]\ntitle = "X"\nprice = "99999999999999.00"\ntokens = 1',
            (
                "till.toml:19: packs.x.price: '99999999999999.00' is larger than any amount the till takes; "
                'write an amount in USD as text, such as "149.00"'
            ),
        ),
        (
            '[packs.x]\ntitle = "X"\nprice = "-1.00"\ntokens = 1',
            (
                "till.toml:19: packs.x.price: '-1.00' is not an amount; "
                'write an amount in USD as text, such as "149.00"'
            ),
        ),
        (
            '[packs.x]\ntitle = "X"\ntokens = 1',
            'till.toml:17: packs.x.price: missing; write an amount such as "149.00"',
        ),
        (
            '[plans.x]\ntitle = "X"\nprice = "1.00"\ntokens = -5',
            f"till.toml:20: plans.x.tokens: -5 does not fit here; write a whole number from 0 to {TOKENS_MAX}",
        ),
        (
            '[plans.x]\ntitle = "X"\nprice = "custom"\ntokens = "limitless"',
            (
                'till.toml:20: plans.x.tokens: "limitless" does not fit here; '
                f"write a whole number from 0 to {TOKENS_MAX}"
            ),
        ),
        # texts
        (
            '[texts]\nlow_balance = "Only {tokens} left"',
            "till.toml:18: texts.low_balance: {tokens} is not filled in here; allowed here: days",
        ),
        (
            '[texts]\nheadline = "{days"',
            "till.toml:18: texts.headline: {{} is not filled in here; nothing is allowed here",
        ),
        (
            '[texts]\npurchase_link = "javascript:alert(1)"',
            (
                "till.toml:18: texts.purchase_link: not a link; "
                'write a path such as "/account/buy-credits" or https://...'
            ),
        ),
        (
            '[texts]\npurchase_link = "//elsewhere.example"',
            (
                "till.toml:18: texts.purchase_link: not a link; "
                'write a path such as "/account/buy-credits" or https://...'
            ),
        ),
        (
            '[texts]\noffline = "two\\nlines"',
            (
                'till.toml:18: texts.offline: "two\\nlines" does not fit here; '
                "write 1 to 500 characters on one line, no spaces around"
            ),
        ),
        (
            '[unit]\none = " token"',
            (
                'till.toml:18: unit.one: " token" does not fit here; '
                "write 1 to 500 characters on one line, no spaces around"
            ),
        ),
        ("[unit]\none = 1", "till.toml:18: unit.one: 1 does not fit here; write a text in quotes"),
        (
            '[packs.x]\ntitle = ""\ntokens = 1\nprice = "1.00"',
            (
                'till.toml:18: packs.x.title: "" does not fit here; '
                "write 1 to 500 characters on one line, no spaces around"
            ),
        ),
        (
            '[packs.x]\ntitle = "X"\ntokens = 1\nprice = "1.00"\nuses = "this"',
            'till.toml:21: packs.x.uses: "this" does not fit here; write a list of texts',
        ),
        (
            '[packs.x]\ntitle = "X"\ntokens = 1\nprice = "1.00"\nuses = [""]',
            "till.toml:21: packs.x.uses: a list does not fit here; write texts of 1 to 500 printable characters",
        ),
        # cycles, rollover, exhaustion
        (
            '[cycle]\nzone = "Mars/Olympus"',
            'till.toml:18: cycle.zone: "Mars/Olympus" is not a time zone; write an IANA name such as "Europe/Berlin"',
        ),
        (
            '[cycle]\nzone = "../../etc/passwd"',
            (
                'till.toml:18: cycle.zone: "../../etc/passwd" is not a time zone; '
                'write an IANA name such as "Europe/Berlin"'
            ),
        ),
        (
            '[cycle]\nkind = "weeks"',
            'till.toml:18: cycle.kind: "weeks" does not fit here; allowed here: days, month',
        ),
        (
            "[cycle]\ndays = 0",
            "till.toml:18: cycle.days: 0 does not fit here; write a whole number from 1 to 3660",
        ),
        (
            "[exhaustion]\npacks = 1",
            "till.toml:18: exhaustion.packs: 1 does not fit here; write true or false",
        ),
        (
            '[exhaustion]\noverage = { cap = "5.00" }',
            'till.toml:18: exhaustion.overage.price: missing; write an amount such as "149.00"',
        ),
        ("[exhaustion]\noverage = 5", "till.toml:18: exhaustion.overage: 5 does not fit here; write a table"),
        # durations
        (
            '[features.x]\ntitle = "X"\ntokens = 1\ntimeout_seconds = 2.5',
            (
                "till.toml:20: features.x.timeout_seconds: 2.5 does not fit here; "
                "write a whole number from 1 to 316224000"
            ),
        ),
        (
            '[features.x]\ntitle = "X"\ntokens = 1\ntimeout = 30',
            'till.toml:20: features.x.timeout: unknown key; did you mean "timeout_ms"?',
        ),
        # features
        (
            '[features.x]\ntitle = "X"\ntokens = 1\nmetered = true',
            (
                "till.toml:19: features.x.tokens: a metered feature has rates, not a price; "
                "remove it, or write metered = false"
            ),
        ),
        (
            '[features.x]\ntitle = "X"\ntokens = 1\ninput_per_1000 = 5',
            (
                "till.toml:20: features.x.input_per_1000: only a metered feature has rates; "
                "remove it, or write metered = true"
            ),
        ),
        # licence
        (
            '[licence]\nsteps = [{ group = "sync", after_days = 15 }, { group = "ai", after_days = 0 }]',
            "till.toml:18: licence.steps[2].after_days: a step before the one above it; write 15 or more",
        ),
        (
            '[[licence.steps]]\ngroup = "ai"\nafter_days = 0\n[[licence.steps]]\ngroup = "ai"\nafter_days = 15',
            'till.toml:21: licence.steps[2].group: "ai" has a step already; name each group once',
        ),
        ("[licence]\nsteps = 5", "till.toml:18: licence.steps: 5 does not fit here; write a list of tables"),
        ("[licence]\nsteps = [5]", "till.toml:18: licence.steps[1]: 5 does not fit here; write a table"),
        # names of others
        (
            '[no_plan]\nfeatures = "op"',
            'till.toml:18: no_plan.features: "op" does not fit here; write a list of names, or "all"',
        ),
        (
            "[low_balance]\npercent = 101",
            'till.toml:18: low_balance.percent: 101 does not fit here; write a whole number from 1 to 100, or "off"',
        ),
        # impossible together
        (
            '[features.big]\ntitle = "Big"\ntokens = 11\n[abuse]\ntokens_per_request_max = 10',
            (
                "till.toml:21: abuse.tokens_per_request_max: 10 is below the price of big (11), which could never run; "
                "write 11 or more"
            ),
        ),
        (
            '[features.big]\ntitle = "Big"\ntokens = 11\n[features.big.abuse]\ntokens_per_request_max = 10',
            (
                "till.toml:21: features.big.abuse.tokens_per_request_max: 10 is below the price of big (11), "
                "which could never run; write 11 or more"
            ),
        ),
    ],
)
def test_what_is_refused(section: str, problem: str) -> None:
    text = WHOLE + section + "\n"
    assert text.splitlines()[16] == section.splitlines()[0]
    assert problems(text) == [problem]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "till.toml: name: missing; write a text in quotes"),
        ("", "till.toml: features: missing; write at least one feature, [features.<id>]"),
        ("name = ", "till.toml: not TOML: Invalid value (at end of document)"),
        ("a = 1\na = 2\n", "till.toml:2: not TOML: Cannot overwrite a value (at line 2, column 6)"),
        ("x = " + "[" * 5_000, "till.toml: nested too deeply"),
        ("name = 'till'\nfeatures = 5", "till.toml:2: features: 5 does not fit here; write a table"),
    ],
)
def test_a_file_that_is_no_catalog_at_all(text: str, problem: str) -> None:
    assert problem in problems(text)


def test_a_number_too_long_to_read_is_refused() -> None:
    (problem,) = problems("x = " + "9" * 5_000)
    assert problem.startswith("till.toml: not TOML: ")


def test_a_syntax_error_names_its_line() -> None:
    assert problems('name = "till"\ntitle == 1\n') == [
        "till.toml:2: not TOML: Invalid value (at line 2, column 8)"
    ]


def test_default_plan_must_exist() -> None:
    assert problems('default_plan = "por"\n' + WHOLE) == [
        'till.toml:1: default_plan: "por" does not fit here; did you mean "pro"?'
    ]


def test_lines_are_found_behind_texts_of_several_lines() -> None:
    text = WHOLE + 'x = """\n[plans]\nprice = 1\n"""\n[unit]\none = 1\n'
    assert [line.partition(" ")[0] for line in problems(text)] == ["till.toml:17:", "till.toml:22:"]


# R-PLAN-9: each option is one line of one plan, or of all plans.


@pytest.mark.parametrize(
    ("line", "exhaustion", "rollover"),
    [
        ("exhaustion = { packs = true }", Exhaustion(), Rollover()),
        ("exhaustion = { packs = false }", Exhaustion(packs=False), Rollover()),
        ('exhaustion = { overage = { price = "1.50" } }', Exhaustion(overage=Overage(150)), Rollover()),
        (
            'exhaustion = { overage = { price = "1.50", cap = "50.00" } }',
            Exhaustion(overage=Overage(150, 5_000)),
            Rollover(),
        ),
        (
            'exhaustion = { overage = { price = "1.50", cap = "off" } }',
            Exhaustion(overage=Overage(150)),
            Rollover(),
        ),
        ("exhaustion = { grace_uses = 3 }", Exhaustion(grace_uses=3), Rollover()),
        ("exhaustion = { wait = false, upgrade = false }", Exhaustion(wait=False, upgrade=False), Rollover()),
        ('rollover = "capped"', Exhaustion(), Rollover("capped")),
        ('rollover = { mode = "capped", cap = 20 }', Exhaustion(), Rollover("capped", 20)),
        ('rollover = "unlimited"', Exhaustion(), Rollover("unlimited")),
    ],
)
def test_options_are_switched_for_one_plan_or_for_all(
    line: str, exhaustion: Exhaustion, rollover: Rollover
) -> None:
    own = read(HEAD + FEATURE + PLAN + line + "\n").plans["pro"]
    common = read(HEAD + line + FEATURE + PLAN).plans["pro"]
    assert (own.exhaustion, own.rollover) == (common.exhaustion, common.rollover) == (exhaustion, rollover)


def test_a_plan_says_otherwise_than_all_plans() -> None:
    head = (
        HEAD
        + """
rollover = { mode = "capped", cap = 20 }
exhaustion = { overage = { price = "1.50" }, packs = false, grace_uses = 2 }
cycle = { kind = "days", days = 30 }
"""
    )
    same = read(head + FEATURE + PLAN).plans["pro"]
    assert same.exhaustion == Exhaustion(grace_uses=2, overage=Overage(150), packs=False)
    other = read(
        head
        + FEATURE
        + PLAN
        + """
rollover = "none"
exhaustion = { overage = "off", packs = true }
cycle = { kind = "month", zone = "Europe/Berlin" }
"""
    ).plans["pro"]
    assert other.rollover == Rollover("none")
    assert other.exhaustion == Exhaustion(grace_uses=2)
    assert other.cycle == Cycle("month", 30, "Europe/Berlin")
    wider = read(head + FEATURE + PLAN + "rollover = { cap = 30 }\n").plans["pro"]
    assert wider.rollover == Rollover("capped", 30)


# R-ABU-1 … R-ABU-6: the file's limits, then the plan's, then the feature's.


def test_abuse_limits_are_resolved_at_load() -> None:
    catalog = read(
        HEAD
        + """
[abuse]
tokens_per_request_max = 10
requests_per_minute_max = 15
spacing_seconds_min = 3
output_tokens_max = 2000
burn_alert_tokens_per_hour = 500
burn_alert_percent_of_allowance = 50
attempts_max = 5
attempts_window_minutes = 30
block_hours = 2

[no_plan]
features = ["op"]
abuse = { tokens_per_request_max = 5 }

[features.op]
title = "Operation"
tokens = 1

[features.batch]
title = "Batch"
tokens = 1
abuse = { tokens_per_request_max = 20, spacing_ms_min = 0 }

[plans.pro]
title = "Pro"
price = "10.00"
tokens = 2000
features = ["op", "batch"]
abuse = { tokens_per_request_max = 15, requests_per_minute_max = "off" }
"""
    )
    limits = AbuseLimits(10, 15, 3_000, 2_000, 500, 50, 5, 30 * MINUTE_MS, 2 * HOUR_MS)
    assert catalog.no_plan_abuse["op"] == AbuseLimits(
        5, 15, 3_000, 2_000, 500, 50, 5, 30 * MINUTE_MS, 2 * HOUR_MS
    )
    assert catalog.no_plan_abuse["batch"].tokens_per_request_max == 20
    pro = catalog.plans["pro"].abuse
    assert pro["op"] == AbuseLimits(15, None, 3_000, 2_000, 500, 50, 5, 30 * MINUTE_MS, 2 * HOUR_MS)
    assert pro["batch"] == AbuseLimits(20, None, None, 2_000, 500, 50, 5, 30 * MINUTE_MS, 2 * HOUR_MS)
    assert limits.spacing_ms_min == 3_000


def test_without_an_abuse_table_every_limit_is_off() -> None:
    assert read(WHOLE).plans["pro"].abuse == {"op": AbuseLimits()}


@pytest.mark.parametrize(
    ("line", "spacing_ms"),
    [
        ("spacing_seconds_min = 3", 3_000),
        ("spacing_ms_min = 250", 250),
        ("spacing_minutes_min = 1", 60_000),
        ("spacing_ms_min = 0", None),
        ("spacing_seconds_min = 0", None),
        ('spacing_seconds_min = "off"', None),
    ],
)
def test_a_duration_is_in_the_unit_of_its_key(line: str, spacing_ms: int | None) -> None:
    assert read(WHOLE + f"[abuse]\n{line}\n").plans["pro"].abuse["op"].spacing_ms_min == spacing_ms


# The rest of what a file can say.


def test_plans_are_ranked_in_the_order_of_the_file() -> None:
    plans = "".join(
        f'[plans.{id_}]\ntitle = "{id_}"\nprice = "{price}"\ntokens = 100\nfeatures = "all"\n{more}\n'
        for id_, price, more in (
            ("basic", "10.00", ""),
            ("basic-annual", "100.00", "same_rank = true\nperiods_per_payment = 12"),
            ("pro", "20.00", ""),
        )
    )
    catalog = read(HEAD + FEATURE + plans)
    assert {id_: plan.rank for id_, plan in catalog.plans.items()} == {
        "basic": 0,
        "basic-annual": 0,
        "pro": 1,
    }
    assert catalog.plans["basic-annual"].periods_per_payment == 12
    assert read(HEAD + FEATURE + PLAN + "same_rank = true\n").plans["pro"].rank == 0


def test_custom_and_unlimited() -> None:
    plan = read(
        HEAD
        + FEATURE
        + '[plans.x]\ntitle = "X"\nprice = "custom"\ntokens = "unlimited"\nfair_use = 900\nfeatures = "all"'
    ).plans["x"]
    assert (plan.price, plan.tokens, plan.unlimited, plan.fair_use) == (None, 0, True, 900)


def test_cached_input_costs_what_input_costs_unless_it_is_said() -> None:
    rates = '[features.m]\ntitle = "M"\nmetered = true\ninput_per_1000 = 40\noutput_per_1000 = 80\n'
    plain, cheaper = read(WHOLE + rates), read(WHOLE + rates + "cached_per_1000 = 4\n")
    assert (plain.features["m"].cached_per_1000, cheaper.features["m"].cached_per_1000) == (40, 4)
    assert plain.features["m"].tokens == 0


@pytest.mark.parametrize(
    ("cost", "per_million"),
    [
        ('per_token = "0.01"', 1_000_000),
        ('per_1000_tokens = "10.00"', 1_000_000),
        ('per_million_tokens = "10000"', 1_000_000),
        ('per_token = "0.00000015"', 15),
        ('per_1000_tokens = "0.00015"', 15),
        ("", 0),
    ],
)
def test_costs_are_stated_for_one_a_thousand_or_a_million(cost: str, per_million: int) -> None:
    # R-FIN-1
    assert read(WHOLE + f"[costs]\n{cost}\n").costs.per_million_tokens == per_million


def test_another_currency() -> None:
    catalog = read('currency = "JPY"\n' + WHOLE.replace("10.00", "1000").replace("5.00", "100"))
    assert (catalog.plans["pro"].price, catalog.packs["small"].price) == (1_000, 100)


def test_licence_and_low_balance() -> None:
    # R-LIC-2, R-PLAN-8
    catalog = read(
        WHOLE
        + """
[licence]
grace_days = 7
steps = [{ group = "ai_features", after_days = 0 }, { group = "export", after_days = 8 }]

[low_balance]
percent = "off"
tokens = 3
"""
    )
    assert catalog.licence == Licence(7, (LicenceStep("ai_features", 0), LicenceStep("export", 8)))
    assert catalog.low_balance == LowBalance(None, 3)


# The version


def test_the_version_is_of_what_is_said_and_not_of_how() -> None:
    version = read(WHOLE).version
    assert re.fullmatch("[0-9a-f]{16}", version)
    assert read("# a comment\n" + WHOLE.replace("10.00", "10")).version == version
    assert read(HEAD + PACK + PLAN + FEATURE).version == version
    assert read(WHOLE + '[unit]\none = "token"\n').version == version
    assert read(WHOLE.replace("10.00", "10.01")).version != version
    assert read(WHOLE.replace("Small", "Little")).version != version
    assert read(WHOLE + "[low_balance]\ntokens = 9\n").version != version


# Whatever is written, a file is a catalog or a list of what is wrong with it.

values = st.one_of(
    st.sampled_from(
        ['""', '"off"', '"all"', '"1.00"', "true", "[]", "{}", "[1]", '["op"]', "{ a = 1 }", "1979-05-27"]
    ),
    st.integers(-(10**20), 10**20).map(str),
    st.floats(allow_nan=True, allow_infinity=True).map(lambda number: f"{number:.17g}"),
    st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='"\\'), max_size=20).map(
        '"{}"'.format
    ),
)


def attempt(text: str) -> Catalog | None:
    """The catalog, or None when it was refused with reasons that point into the file."""
    try:
        catalog, found = load(text, "till.toml")
    except CatalogError as refused:
        catalog, found = None, refused.problems
        if not found:
            pytest.fail("refused without a reason")
    lines = text.count("\n") + 1
    if not all(finding.line is None or 1 <= finding.line <= lines for finding in found):
        pytest.fail(f"a line that is not there: {found}")
    return catalog


@given(st.text(max_size=200))
def test_any_text_is_a_catalog_or_refused(text: str) -> None:
    attempt(text)


@given(st.sampled_from(PRESETS), st.data())
def test_a_damaged_preset_is_a_catalog_or_refused(name: str, data: st.DataObject) -> None:
    """One to three lines get another value, vanish, come twice or lose a letter."""
    lines = preset_text(name).splitlines()
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(lines) - 1))
        key = lines[at].partition("=")[0]
        match data.draw(st.sampled_from(["value", "remove", "double", "letter"])):
            case "value":
                lines[at] = f"{key}= {data.draw(values)}"
            case "remove":
                lines[at] = ""
            case "double":
                lines.insert(at, lines[at])
            case _:
                lines[at] = lines[at].replace("e", "", 1)
    text = "\n".join(lines)
    catalog = attempt(text)
    assert attempt(text) == catalog
    assert catalog is None or all(0 <= plan.tokens <= TOKENS_MAX for plan in catalog.plans.values())


@pytest.mark.parametrize("name", PRESETS)
def test_the_line_of_every_table_of_a_preset_is_found(name: str) -> None:
    lines = preset_text(name).splitlines()
    for number, line in enumerate(lines, 1):
        if line.startswith("["):
            broken = "\n".join([*lines[:number], "zzz = 1", *lines[number:]])
            assert [problem.partition(" ")[0] for problem in problems(broken)] == [f"till.toml:{number + 1}:"]
