"""The catalog file: TOML text becomes a checked, immutable `Catalog`.

The file has the shape of the catalog: `name`, `currency`, `[unit]`, `[plans.<id>]`, `[packs.<id>]`,
`[features.<id>]` and the policies. Plans stand in the order of their rank, lowest first; one with
`same_rank = true` is the plan before it, paid in another rhythm. `[cycle]`, `[rollover]`, `[exhaustion]` and
`[abuse]` at the top are what every plan has unless it says otherwise, so that each of the Options A–D is
switched for one plan by one line (R-PLAN-9). Abuse limits are resolved here, once: the file's, then the
plan's (or those of `[no_plan]`), then the feature's, the later winning.

Money is a decimal text in the catalog's currency ("149.00"), tokens are whole numbers up to `TOKENS_MAX`,
durations are whole numbers of the unit in the key (`spacing_seconds_min`), and a limit that is not wanted is
"off".

Everything wrong with a file is reported at once (`CatalogError`); what is legal but dubious comes back as
warnings, from `tokentill.rules.catalog_checks`. The `version` is a digest of everything the catalog says, so
that a comment does not change it and a price does.

What it does not decide: where files are found and when they are read again.

Requirement ids: R-PLAN-1, R-PLAN-2, R-PLAN-3, R-PLAN-5, R-PLAN-6, R-PLAN-9, R-PACK-1, R-PACK-8, R-PACK-9,
R-ABU-1, R-LIC-2, R-FIN-1.
"""

from __future__ import annotations

import hashlib
from typing import Any, cast

import msgspec
from msgspec import structs

from tokentill.rules import (
    catalog_checks,
    catalog_models_checks,
    catalog_prices_checks,
    catalog_refunds_checks,
    catalog_refunds_sections,
    catalog_shop_checks,
)
from tokentill.rules import catalog_models_sections as models
from tokentill.rules import catalog_sections as sections
from tokentill.rules import catalog_shop_sections as shop
from tokentill.rules.catalog import (
    TOKENS_MAX,
    AbuseLimits,
    Catalog,
    Cycle,
    Exhaustion,
    Feature,
    Pack,
    Plan,
    Rollover,
)
from tokentill.rules.catalog_reader import Finding, Findings, Table, parse
from tokentill.rules.catalog_sections import COUNT_MAX, DAYS_MAX
from tokentill.rules.money import CURRENCIES

PERIODS_MAX = 120
RATE_MAX = 10**9


class CatalogError(Exception):
    """A catalog file that cannot be used, with everything that is wrong with it."""

    def __init__(self, problems: tuple[Finding, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(problem.as_text() for problem in problems))


def load(text: str, file: str) -> tuple[Catalog, tuple[Finding, ...]]:
    """The catalog written in `text`, and the warnings about it; `file` is the name that findings cite.

    Raises `CatalogError` with every problem found.
    """
    findings = Findings(file)
    data = parse(text, findings)
    if data is None:
        raise CatalogError(tuple(findings.found))
    catalog = _catalog(Table(data, "", findings))
    catalog_checks.impossible(catalog, data, findings)
    catalog_shop_checks.impossible(catalog, data, findings)
    if findings.found:
        raise CatalogError(findings.in_order())
    catalog_checks.dubious(catalog, data, findings)
    catalog_prices_checks.dubious(catalog, data, findings)
    catalog_shop_checks.dubious(catalog, data, findings)
    catalog_refunds_checks.dubious(catalog, findings)
    catalog_models_checks.dubious(catalog, data, findings)
    return structs.replace(catalog, version=digest(catalog)), findings.in_order()


def digest(catalog: Catalog) -> str:
    """The version of a catalog: 16 hex digits over the canonical encoding of all it says but the version."""
    content = msgspec.json.encode(structs.replace(catalog, version=""), order="deterministic")
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def _catalog(top: Table) -> Catalog:
    """Read every section, those that are named by others first."""
    code = _currency(top)
    features_at = top.tables("features")
    if not features_at:
        top.bad("features", "missing", "write at least one feature, [features.<id>]")
    common = sections.abuse(top.table("abuse"))
    own = {id_: sections.abuse(table.table("abuse")) for id_, table in features_at.items()}

    def limits(table: Table) -> dict[str, AbuseLimits]:
        special = sections.abuse(table.table("abuse"))
        return {id_: AbuseLimits(**{**common, **special, **own[id_]}) for id_ in own}

    base = Plan(
        id="",
        rank=-1,
        title="",
        price=None,
        tokens=0,
        features=frozenset(own),
        abuse={},
        cycle=sections.cycle(top.table("cycle"), Cycle()),
        rollover=sections.rollover(top, Rollover()),
        exhaustion=sections.exhaustion(top.table("exhaustion"), code, Exhaustion()),
    )
    plans: dict[str, Plan] = {}
    for id_, table in top.tables("plans").items():
        same = table.flag("same_rank", default=False) and bool(plans)
        base = structs.replace(base, rank=base.rank + (0 if same else 1))
        plans[id_] = _plan(id_, table, code, structs.replace(base, abuse=limits(table)))
    none_at = top.table("no_plan")
    packs = {id_: _pack(id_, table, code, plans) for id_, table in top.tables("packs").items()}
    promos_at = top.tables("promos", codes=True)
    features = {id_: _feature(id_, table) for id_, table in features_at.items()}
    upstreams = {id_: models.upstream(id_, table) for id_, table in top.tables("upstreams").items()}
    sold = top.tables("models")
    catalog = Catalog(
        name=top.id("name"),
        title=top.text("title", ""),
        version="",
        currency=code,
        unit=sections.unit(top.table("unit")),
        plans=plans,
        packs=packs,
        features=features,
        no_plan_abuse=limits(none_at),
        no_plan_features=none_at.names("features", own),
        default_plan=_default_plan(top, plans),
        licence=sections.licence(top.table("licence")),
        costs=sections.costs(top.table("costs"), code),
        low_balance=sections.low_balance(top.table("low_balance")),
        texts=sections.texts(top.table("texts")),
        upgrade_credit=cast("Any", top.choice("upgrade_credit", "time", ("time", "tokens", "none"))),
        holds_max=top.whole("holds_max", 10_000, 1, COUNT_MAX),
        hold_margin_ms=top.duration_ms("hold_margin", 5_000, least=0) or 0,
        checkout=shop.checkout(top.table("checkout")),
        promos={id_: shop.promo(id_, table, code, packs) for id_, table in promos_at.items()},
        rollout=shop.rollout(top.table("rollout")),
        alerts=shop.alerts(top),
        recommend=shop.recommend(top.table("recommend")),
        faq=shop.faq(top),
        refunds=catalog_refunds_sections.refunds(top.table("refunds"), code),
        upstreams=upstreams,
        models={id_: models.model(id_, table, features, upstreams) for id_, table in sold.items()},
    )
    none_at.end()
    top.end()
    return catalog


def _currency(top: Table) -> str:
    return top.choice("currency", "USD", CURRENCIES)


def _default_plan(top: Table, plans: dict[str, Plan]) -> str | None:
    return top.choice("default_plan", "", plans) if top.has("default_plan") else None


def _plan(id_: str, table: Table, code: str, base: Plan) -> Plan:
    """One plan; what it does not say is as in `base`."""
    unlimited = table.is_word("tokens", "unlimited")
    plan = Plan(
        id=id_,
        rank=base.rank,
        title=table.text("title"),
        price=None if table.is_word("price", "custom") else table.money("price", code),
        tokens=0 if unlimited else table.whole("tokens", None, 0, TOKENS_MAX),
        features=table.names("features", base.features),
        abuse=base.abuse,
        unlimited=unlimited,
        fair_use=table.limit("fair_use", None, 1, TOKENS_MAX),
        periods_per_payment=table.whole("periods_per_payment", 1, 1, PERIODS_MAX),
        audience=table.text("audience", ""),
        rollover=sections.rollover(table, base.rollover),
        exhaustion=sections.exhaustion(table.table("exhaustion"), code, base.exhaustion),
        cycle=sections.cycle(table.table("cycle"), base.cycle),
        margin_min=table.money("margin_min", code) if table.has("margin_min") else None,
        trial_days=table.whole("trial_days", 0, 0, shop.TRIAL_DAYS_MAX),
        bundled_tokens=table.whole("bundled_tokens", 0, 0, TOKENS_MAX),
        key=shop.key_when(table),
        prices=shop.prices(table.table("prices")),
    )
    table.end()
    return plan


def _pack(id_: str, table: Table, code: str, plans: dict[str, Plan]) -> Pack:
    launch_price, launch_until = shop.launch(table, code)
    pack = Pack(
        id=id_,
        title=table.text("title"),
        tokens=table.whole("tokens", None, 1, TOKENS_MAX),
        price=table.money("price", code),
        best_for=table.text("best_for", ""),
        list_price=table.money("list_price", code) if table.has("list_price") else None,
        valid_days=table.limit("valid_days", None, 1, DAYS_MAX),
        plans=table.names("plans", plans),
        enabled=table.flag("enabled", default=True),
        model=table.text("model", ""),
        uses=table.texts("uses"),
        tip=table.text("tip", ""),
        refund_line=table.text("refund_line", ""),
        bonus_tokens=table.whole("bonus_tokens", 0, 0, TOKENS_MAX),
        launch_price=launch_price,
        launch_until=launch_until,
        rollout=shop.rollout(table.table("rollout")) if table.has("rollout") else None,
        key=shop.key_when(table),
        prices=shop.prices(table.table("prices")),
    )
    table.end()
    return pack


def _feature(id_: str, table: Table) -> Feature:
    """One feature: a fixed price, or rates; cached input costs what input costs unless it is said."""
    metered = table.flag("metered", default=False)
    rates = ("input_per_1000", "output_per_1000", "cached_per_1000")
    for key in filter(table.has, ("tokens",) if metered else rates):
        what = "a metered feature has rates, not a price" if metered else "only a metered feature has rates"
        table.bad(key, what, f"remove it, or write metered = {'false' if metered else 'true'}")
    paid = table.whole("input_per_1000", 0, 0, RATE_MAX)
    feature = Feature(
        id=id_,
        title=table.text("title"),
        group=table.id("group", "ai_features"),
        tokens=table.whole("tokens", 0 if metered else None, 0, TOKENS_MAX),
        metered=metered,
        input_per_1000=paid,
        output_per_1000=table.whole("output_per_1000", 0, 0, RATE_MAX),
        cached_per_1000=table.whole("cached_per_1000", paid, 0, RATE_MAX),
        timeout_ms=table.duration_ms("timeout", 30_000) or 30_000,
    )
    table.end()
    return feature
