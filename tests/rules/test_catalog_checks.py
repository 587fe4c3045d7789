import inspect
import re

import pytest

from tokentill.rules import catalog_checks, catalog_prices_checks
from tokentill.rules.catalog_file import load

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


# What is dubious: each check, the very words, and that mending it ends the warning.

STARTER = '[plans.starter]\ntitle = "Starter"\nprice = "5.00"\ntokens = 40\nfeatures = "all"\n'
YEARLY = '[plans.yearly]\ntitle = "Yearly"\nprice = "120.00"\ntokens = 100\nperiods_per_payment = 12\n'
YEARLY += 'same_rank = true\nfeatures = "all"\n'
NO_PACKS = "exhaustion = { packs = false }\n"
DUBIOUS: list[tuple[str, str, str]] = [
    (
        "limit-never-binds",
        WHOLE + "[abuse]\nrequests_per_minute_max = 30\nspacing_seconds_min = 3\n",
        (
            "till.toml:18: abuse.requests_per_minute_max: 30 a minute can never bind, "
            "since 3000 ms between requests allow only 20; write less than 20, or a shorter spacing"
        ),
    ),
    (
        "limit-never-binds",
        WHOLE + "[abuse]\nspacing_seconds_min = 3\n[features.op.abuse]\nrequests_per_minute_max = 20\n",
        (
            "till.toml:20: features.op.abuse.requests_per_minute_max: 20 a minute can never bind, "
            "since 3000 ms between requests allow only 20; write less than 20, or a shorter spacing"
        ),
    ),
    (
        "alert-never-raised",
        HEAD + FEATURE + PLAN + NO_PACKS + "[abuse]\nburn_alert_tokens_per_hour = 500\n",
        (
            "till.toml:14: abuse.burn_alert_tokens_per_hour: more than 500 tokens can never burn on plan pro, "
            "which has at most 100; write less, or add burn_alert_percent_of_allowance"
        ),
    ),
    (
        "alert-never-raised",
        HEAD
        + FEATURE
        + PLAN
        + NO_PACKS
        + 'rollover = "capped"\nabuse = { burn_alert_tokens_per_hour = 200 }\n',
        (
            "till.toml:14: plans.pro.abuse.burn_alert_tokens_per_hour: more than 200 tokens can never burn on plan pro, "
            "which has at most 200; write less, or add burn_alert_percent_of_allowance"
        ),
    ),
    (
        "alert-never-raised",
        HEAD + FEATURE + PLAN + NO_PACKS + "[abuse]\nburn_alert_percent_of_allowance = 100\n",
        (
            "till.toml:14: abuse.burn_alert_percent_of_allowance: more than 100 % of 100 can never burn on plan pro, "
            "which has at most 100; write less than 100"
        ),
    ),
    (
        "plan-without-tokens",
        HEAD + FEATURE + PLAN.replace("100", "0") + "exhaustion = { wait = false }\n",
        "till.toml:10: plans.pro.tokens: the plan has features but no way to get tokens; grant tokens or sell it packs",
    ),
    (
        "plan-without-features",
        HEAD + FEATURE + STARTER.replace('"all"', "[]") + PLAN,
        "till.toml:10: plans.starter.features: the plan has tokens but nothing to spend them on; name its features",
    ),
    (
        "wait-for-nothing",
        HEAD + FEATURE + PLAN.replace("100", "0") + PACK,
        (
            "till.toml:7: plans.pro.exhaustion.wait: waiting for the reset is offered, but the reset brings no tokens; "
            "write wait = false"
        ),
    ),
    (
        "always-low",
        WHOLE + "[low_balance]\npercent = 100\n",
        (
            "till.toml:18: low_balance.percent: every balance is low from the start, "
            "since the warning comes at the whole allowance; write less than 100"
        ),
    ),
    (
        "upgrade-cheaper",
        WHOLE + STARTER,
        (
            "till.toml:19: plans.starter.price: the next plan up from pro costs less than it does; "
            "write the lowest plan first"
        ),
    ),
    (
        "upgrade-dearer",
        WHOLE + '[plans.more]\ntitle = "More"\nprice = "30.00"\ntokens = 200\nfeatures = "all"\n',
        (
            "till.toml:19: plans.more.price: $0.15 a token is more than on pro, the plan below ($0.10); "
            "lower it, or grant more tokens"
        ),
    ),
    (
        "upgrade-dearer",  # whatever stands between the two
        WHOLE + YEARLY + '[plans.more]\ntitle = "More"\nprice = "30.00"\ntokens = 200\nfeatures = "all"\n',
        (
            "till.toml:26: plans.more.price: $0.15 a token is more than on pro, the plan below ($0.10); "
            "lower it, or grant more tokens"
        ),
    ),
    (
        "longer-dearer",
        WHOLE + YEARLY.replace("120.00", "121.00"),
        (
            "till.toml:19: plans.yearly.price: $0.1008 a token is more than on pro, "
            "the same plan paid more often ($0.10); lower it"
        ),
    ),
    (
        "limit-never-binds",
        HEAD + FEATURE + PLAN + NO_PACKS + "[abuse]\ntokens_per_request_max = 100\n",
        (
            "till.toml:14: abuse.tokens_per_request_max: 100 tokens a request can never bind on plan pro, "
            "which has at most 100; write less than 100"
        ),
    ),
    (
        "default-plan-paid",
        'default_plan = "pro"\n' + WHOLE,
        (
            "till.toml:1: default_plan: every new account begins on pro, which is not free, without a payment; "
            "name a plan whose price is 0"
        ),
    ),
    (
        "no-effect",
        HEAD + FEATURE + PLAN + "rollover = { cap = 20 }\n",
        'till.toml:12: plans.pro.rollover.cap: a cap has no effect while the mode is "none"; write mode = "capped"',
    ),
    (
        "no-effect",
        HEAD + "rollover = { cap = 20 }\n" + FEATURE + PLAN,
        'till.toml:2: rollover.cap: a cap has no effect while the mode is "none"; write mode = "capped"',
    ),
    (
        "no-effect",
        HEAD + FEATURE + PLAN + 'rollover = { mode = "capped", cap = 0 }\n',
        'till.toml:12: plans.pro.rollover.cap: a cap of 0 keeps nothing; write mode = "none"',
    ),
    (
        "no-effect",
        WHOLE + "[cycle]\ndays = 28\n",
        'till.toml:18: cycle.days: days have no effect on a cycle of months; write kind = "days"',
    ),
    (
        "no-effect",
        WHOLE + '[cycle]\nkind = "days"\nzone = "Europe/Berlin"\n',
        "till.toml:19: cycle.zone: a zone has no effect on a cycle of days, which are 24 hours each; remove it",
    ),
    (
        "no-effect",
        HEAD + FEATURE + PLAN + "fair_use = 500\n",
        "till.toml:12: plans.pro.fair_use: a fair-use cap has no effect on a plan with a token limit; remove it",
    ),
    (
        "no-effect",
        HEAD
        + FEATURE
        + PLAN.replace("100", '"unlimited"')
        + 'exhaustion = { overage = { price = "1.00" } }\n',
        (
            "till.toml:12: plans.pro.exhaustion.overage: an unlimited plan without a fair-use cap is never exhausted; "
            "remove it"
        ),
    ),
    (
        "no-effect",
        HEAD + FEATURE + PLAN + 'exhaustion = { overage = { price = "1.00" }, grace_uses = 2 }\n',
        (
            "till.toml:12: plans.pro.exhaustion.grace_uses: overage and grace uses both let an operation through; "
            "keep one of them"
        ),
    ),
    (
        "overage-cheaper",
        HEAD + FEATURE + PLAN + 'exhaustion = { overage = { price = "0.40" } }\n' + PACK,
        (
            "till.toml:12: plans.pro.exhaustion.overage.price: $0.40 is less than a token of any pack (small: $0.50); "
            "raise it, or nobody on this plan buys packs"
        ),
    ),
    (
        "overage-cheaper",
        HEAD + FEATURE + PLAN + 'exhaustion = { overage = { price = "0.09" } }\n',
        (
            "till.toml:12: plans.pro.exhaustion.overage.price: $0.09 is less than a token of the plan itself "
            "(pro: $0.10); raise it, or nobody needs a larger plan"
        ),
    ),
    (
        "overage-cap-low",
        HEAD + FEATURE + PLAN + 'exhaustion = { overage = { price = "0.40", cap = "0.39" } }\n',
        (
            "till.toml:12: plans.pro.exhaustion.overage.cap: a cap of $0.39 lets not one token of $0.40 through; "
            "raise it, or write 0 where customers raise it themselves"
        ),
    ),
    (
        "overage-free",
        HEAD + FEATURE + PLAN + 'exhaustion = { overage = { price = "0.00" } }\n',
        "till.toml:12: plans.pro.exhaustion.overage.price: tokens beyond the plan cost nothing; raise it",
    ),
    (
        "margin-low",
        HEAD + FEATURE + PLAN + 'margin_min = "9.00"\n[costs]\nper_token = "0.01"\n',
        (
            "till.toml:12: plans.pro.margin_min: the plan leaves $9.00 when every token is used, "
            "which is not more than $9.00; raise the price or grant fewer tokens"
        ),
    ),
    (
        "pack-unsellable",
        HEAD + FEATURE + PLAN + NO_PACKS + PACK,
        "till.toml:14: packs.small: nobody may buy this pack; name plans that have features and sell packs",
    ),
    (
        "pack-free",
        HEAD + FEATURE + PACK.replace("5.00", "0.00") + '[no_plan]\nfeatures = "all"\n',
        "till.toml:10: packs.small.price: the pack costs nothing, so anybody takes it again; raise it",
    ),
    (
        "no-saving",
        WHOLE + 'list_price = "5.00"\n',
        (
            "till.toml:17: packs.small.list_price: the list price is not above the price, "
            "so there is no saving to show; raise or remove it"
        ),
    ),
    (
        "price-inversion",
        HEAD + FEATURE + PLAN + PACK.replace("5.00", "0.99"),
        (
            "till.toml:16: packs.small.price: $0.099 a token is less than on any plan that may buy it (pro: $0.10); "
            "raise it, or make sure that packs need a plan"
        ),
    ),
    (
        "price-inversion",  # for those who need no plan
        HEAD + 'no_plan = { features = "all" }\n' + FEATURE + PLAN + NO_PACKS + PACK.replace("5.00", "0.99"),
        (
            "till.toml:18: packs.small.price: $0.099 a token is less than on any plan, and needs none (pro: $0.10); "
            "raise it, or make sure that packs need a plan"
        ),
    ),
    (
        "larger-pack-dearer",
        WHOLE + '[packs.large]\ntitle = "Large"\ntokens = 20\nprice = "11.00"\n',
        "till.toml:20: packs.large.price: $0.55 a token is more than in the smaller small ($0.50); lower it",
    ),
    (
        "feature-unreachable",
        HEAD + FEATURE + PLAN.replace('"all"', '["op"]') + '[features.x]\ntitle = "X"\ntokens = 1\n',
        "till.toml:12: features.x: no plan runs this feature; name it in a plan or in no_plan.features",
    ),
    (
        "feature-free",
        WHOLE + '[features.x]\ntitle = "X"\nmetered = true\n',
        "till.toml:17: features.x: the feature costs nothing; write its price",
    ),
    (
        "group-never-off",
        WHOLE + '[features.x]\ntitle = "X"\ntokens = 0\ngroup = "export"\n',
        (
            'till.toml:20: features.x.group: group "export" is no step of the licence, '
            "so it runs on when payment fails; "
            "add it to licence.steps"
        ),
    ),
    (
        "no-plan-without-packs",
        HEAD + FEATURE + PLAN + '[no_plan]\nfeatures = ["op"]\n',
        (
            "till.toml:13: no_plan.features: an organization without a plan may run features but buy no pack; "
            "sell a pack that needs no plan"
        ),
    ),
    (
        "step-in-grace",
        WHOLE
        + '[licence]\nsteps = [{ group = "ai_features", after_days = 0 }, { group = "reports", after_days = 7 }]\n',
        (
            'till.toml:18: licence.steps[2].after_days: "reports" goes off on day 7, within the 14 days of grace; '
            "write 0, or 15 or more"
        ),
    ),
]


@pytest.mark.parametrize(("code", "text", "warning"), DUBIOUS)
def test_what_is_dubious(code: str, text: str, warning: str) -> None:
    found = load(text, "till.toml")[1]
    if code == "group-never-off":  # which only what costs nothing can be
        assert [each.code for each in found] == ["feature-free", code]
        found = found[1:]
    assert [(each.code, each.as_text()) for each in found] == [(code, warning)]


def test_every_warning_has_its_case() -> None:
    checks = inspect.getsource(catalog_checks) + inspect.getsource(catalog_prices_checks)
    codes = set(re.findall(r'yield \(?\s*"([a-z-]+)"', checks))
    assert codes == {code for code, _, _ in DUBIOUS}


@pytest.mark.parametrize(
    "text",
    [
        WHOLE + "[abuse]\nrequests_per_minute_max = 19\nspacing_seconds_min = 3\n",
        WHOLE + "[abuse]\nburn_alert_tokens_per_hour = 500\n",
        HEAD + FEATURE + PLAN + NO_PACKS + "[abuse]\ntokens_per_request_max = 99\n",
        WHOLE + "[abuse]\ntokens_per_request_max = 100\n",
        WHOLE + '[plans.more]\ntitle = "More"\nprice = "30.00"\ntokens = 300\nfeatures = "all"\n',
        WHOLE + YEARLY,
        HEAD + FEATURE + PLAN + NO_PACKS + "[abuse]\nburn_alert_tokens_per_hour = 99\n",
        HEAD + FEATURE + PLAN + NO_PACKS + "[abuse]\nburn_alert_percent_of_allowance = 99\n",
        HEAD + FEATURE + PLAN + "exhaustion = { grace_uses = 1 }\n[abuse]\ntokens_per_request_max = 100\n",
        HEAD + FEATURE + PLAN + 'exhaustion = { overage = { price = "0.10", cap = "0.10" } }\n',
        HEAD + FEATURE + PLAN + 'exhaustion = { overage = { price = "0.10", cap = "0.00" } }\n',
        HEAD
        + FEATURE
        + PLAN
        + NO_PACKS
        + 'rollover = "unlimited"\n[abuse]\nburn_alert_tokens_per_hour = 500\n',
        HEAD
        + FEATURE
        + PLAN
        + NO_PACKS
        + "[abuse]\nburn_alert_tokens_per_hour = 500\nburn_alert_percent_of_allowance = 50\n",
        HEAD + FEATURE + PLAN + 'margin_min = "8.99"\n[costs]\nper_token = "0.01"\n',
        HEAD + FEATURE + PLAN + 'exhaustion = { overage = { price = "0.50" } }\n' + PACK,
        HEAD + FEATURE + PLAN + PACK.replace("5.00", "1.00"),
        WHOLE + '[packs.large]\ntitle = "Large"\ntokens = 20\nprice = "10.00"\n',
        WHOLE + '[packs.large]\ntitle = "Large"\ntokens = 20\nprice = "11.00"\nmodel = "other"\n',
        HEAD + FEATURE + PLAN + NO_PACKS + PACK + "enabled = false\n",
        HEAD + STARTER + FEATURE + PLAN,
        # The fixed number of tokens is not used where the allowance itself is no larger.
        HEAD + FEATURE + PLAN.replace("100", "10"),
        HEAD + FEATURE + PLAN.replace("100", "1"),
        HEAD + FEATURE + PLAN + "[low_balance]\npercent = 99\ntokens = 100\n",
        HEAD + FEATURE + PLAN.replace("100", '"unlimited"') + "[low_balance]\npercent = 100\n",
        # What costs tokens is off as long as payment is failed, whichever its group.
        WHOLE + '[features.x]\ntitle = "X"\ntokens = 1\ngroup = "export"\n',
        WHOLE + '[features.x]\ntitle = "X"\nmetered = true\ninput_per_1000 = 1\ngroup = "export"\n',
    ],
)
def test_what_is_just_not_dubious(text: str) -> None:
    assert load(text, "till.toml")[1] == ()
