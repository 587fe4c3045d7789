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

Requirement ids: R-PLAN-1, R-PLAN-2, R-PLAN-3, R-PLAN-5, R-PLAN-6, R-PLAN-9, R-PACK-1, R-ABU-1, R-LIC-2,
R-FIN-1.
"""

from __future__ import annotations

import hashlib
import re
import string
from decimal import Decimal
from typing import Any, cast
from zoneinfo import ZoneInfo

import msgspec
from msgspec import structs

from tokentill.rules import catalog_checks
from tokentill.rules.catalog import (
    HOUR_MS,
    TOKENS_MAX,
    AbuseLimits,
    Catalog,
    Costs,
    Cycle,
    Exhaustion,
    Feature,
    Licence,
    LicenceStep,
    LowBalance,
    Overage,
    Pack,
    Plan,
    Rollover,
    Texts,
    Unit,
)
from tokentill.rules.catalog_reader import OFF, Finding, Findings, Table, nearest, parse
from tokentill.rules.money import CURRENCIES, MONEY_MAX, currency

COUNT_MAX = 1_000_000
DAYS_MAX = 3_660
RATE_MAX = 10**9
PERCENT_MAX = 100_000
PERIODS_MAX = 120
TEXT_PLACES = {"low_balance": frozenset({"days"})}
"""The places in braces that a text may have; a text not named here has none."""

COST_ALLOWED = 'write an amount as text, such as "0.01"; for a million tokens it must be whole minor units'

_COST_SCALES = {"per_token": 1_000_000, "per_1000_tokens": 1_000, "per_million_tokens": 1}
_COST = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?")


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
    if findings.found:
        raise CatalogError(tuple(sorted(findings.found, key=lambda finding: finding.line or 0)))
    catalog_checks.dubious(catalog, data, findings)
    return structs.replace(catalog, version=digest(catalog)), tuple(findings.found)


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
    common = _abuse(top.table("abuse"))
    own = {id_: _abuse(table.table("abuse")) for id_, table in features_at.items()}

    def limits(table: Table) -> dict[str, AbuseLimits]:
        special = _abuse(table.table("abuse"))
        return {id_: AbuseLimits(**{**common, **special, **own[id_]}) for id_ in own}

    base = Plan(
        id="",
        rank=-1,
        title="",
        price=None,
        tokens=0,
        features=frozenset(own),
        abuse={},
        cycle=_cycle(top.table("cycle"), Cycle()),
        rollover=_rollover(top, Rollover()),
        exhaustion=_exhaustion(top.table("exhaustion"), code, Exhaustion()),
    )
    plans: dict[str, Plan] = {}
    for id_, table in top.tables("plans").items():
        base = structs.replace(base, rank=base.rank + (0 if table.flag("same_rank", default=False) else 1))
        plans[id_] = _plan(id_, table, code, structs.replace(base, abuse=limits(table)))
    none_at = top.table("no_plan")
    catalog = Catalog(
        name=top.id("name"),
        title=top.text("title", ""),
        version="",
        currency=code,
        unit=_unit(top.table("unit")),
        plans=plans,
        packs={id_: _pack(id_, table, code, plans) for id_, table in top.tables("packs").items()},
        features={id_: _feature(id_, table) for id_, table in features_at.items()},
        no_plan_abuse=limits(none_at),
        no_plan_features=none_at.names("features", own),
        default_plan=_default_plan(top, plans),
        licence=_licence(top.table("licence")),
        costs=_costs(top.table("costs"), code),
        low_balance=_low_balance(top.table("low_balance")),
        texts=_texts(top.table("texts")),
        upgrade_credit=cast("Any", top.choice("upgrade_credit", "time", ("time", "tokens", "none"))),
        holds_max=top.whole("holds_max", 10_000, 1, COUNT_MAX),
        hold_margin_ms=top.duration_ms("hold_margin", 5_000, least=0) or 0,
    )
    none_at.end()
    top.end()
    return catalog


def _currency(top: Table) -> str:
    return top.choice("currency", "USD", CURRENCIES)


def _default_plan(top: Table, plans: dict[str, Plan]) -> str | None:
    return top.choice("default_plan", "", plans) if top.has("default_plan") else None


def _unit(table: Table) -> Unit:
    one = table.text("one", "token")
    unit = Unit(one, table.text("many", f"{one}s"))
    table.end()
    return unit


def _abuse(table: Table) -> dict[str, Any]:
    """The limits that are written in one `[…abuse]` table, by the names of `AbuseLimits`."""
    limits: dict[str, Any] = {}
    for key, most in (
        ("tokens_per_request_max", TOKENS_MAX),
        ("requests_per_minute_max", COUNT_MAX),
        ("output_tokens_max", TOKENS_MAX),
        ("burn_alert_tokens_per_hour", TOKENS_MAX),
        ("burn_alert_percent_of_allowance", PERCENT_MAX),
        ("attempts_max", COUNT_MAX),
    ):
        limits[key] = table.limit(key, None, 1, most)
    limits["spacing_ms_min"] = table.duration_ms("spacing", None, end="_min", least=0)
    limits["attempts_window_ms"] = table.duration_ms("attempts_window", HOUR_MS)
    limits["block_ms"] = table.duration_ms("block", HOUR_MS)
    table.end()
    return {name: limit for name, limit in limits.items() if name in table.written}


def _cycle(table: Table, default: Cycle) -> Cycle:
    kind = table.choice("kind", default.kind, ("month", "days"))
    days = table.whole("days", default.days, 1, DAYS_MAX)
    zone = table.text("zone", default.zone)
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        table.bad(
            "zone", f'"{zone}" is not a time zone', 'write an IANA name such as "Europe/Berlin" or "UTC"'
        )
        zone = default.zone
    table.end()
    return Cycle(cast("Any", kind), days, zone)


def _rollover(owner: Table, default: Rollover) -> Rollover:
    """`rollover = "capped"`, or a table that states the cap too."""
    modes = ("none", "capped", "unlimited")
    if isinstance(owner.data.get("rollover"), str):
        return Rollover(cast("Any", owner.choice("rollover", "none", modes)))
    table = owner.table("rollover")
    if not table.data:
        return default
    mode = table.choice("mode", "none", modes)
    cap = table.limit("cap", None, 0, TOKENS_MAX)
    table.end()
    return Rollover(cast("Any", mode), cap)


def _exhaustion(table: Table, code: str, default: Exhaustion) -> Exhaustion:
    overage = default.overage
    if table.data.get("overage") == OFF:
        overage = None
        table.known.add("overage")
    elif (bill := table.table("overage")).data:
        capped = not bill.is_word("cap", OFF) and bill.has("cap")
        overage = Overage(bill.money("price", code), bill.money("cap", code) if capped else None)
        bill.end()
    exhaustion = Exhaustion(
        grace_uses=table.whole("grace_uses", default.grace_uses, 0, COUNT_MAX),
        overage=overage,
        packs=table.flag("packs", default=default.packs),
        wait=table.flag("wait", default=default.wait),
        upgrade=table.flag("upgrade", default=default.upgrade),
    )
    table.end()
    return exhaustion


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
        rollover=_rollover(table, base.rollover),
        exhaustion=_exhaustion(table.table("exhaustion"), code, base.exhaustion),
        cycle=_cycle(table.table("cycle"), base.cycle),
        margin_min=table.money("margin_min", code) if table.has("margin_min") else None,
    )
    table.end()
    return plan


def _pack(id_: str, table: Table, code: str, plans: dict[str, Plan]) -> Pack:
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
    )
    table.end()
    return pack


def _feature(id_: str, table: Table) -> Feature:
    """One feature: a fixed price, or rates; cached input costs what input costs unless it is said."""
    metered = table.flag("metered", default=False)
    rates = ("input_per_1000", "output_per_1000", "cached_per_1000")
    for key in ("tokens",) if metered else rates:
        if table.has(key):
            table.bad(
                key,
                f"a {'metered' if metered else 'fixed-price'} feature has none",
                "remove it, or `metered`",
            )
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


def _licence(table: Table) -> Licence:
    """The ladder; a step may not come before the one above it (R-LIC-2)."""
    default = Licence()
    steps: list[LicenceStep] = []
    for row in table.rows("steps"):
        step = LicenceStep(row.id("group"), row.whole("after_days", None, 0, DAYS_MAX))
        if step.group in {earlier.group for earlier in steps}:
            row.bad("group", f'"{step.group}" has a step already', "name each group once")
        if steps and step.after_days < steps[-1].after_days:
            row.bad("after_days", "a step before the one above it", f"write {steps[-1].after_days} or more")
        row.end()
        steps.append(step)
    licence = Licence(
        table.whole("grace_days", default.grace_days, 0, DAYS_MAX), tuple(steps) or default.steps
    )
    table.end()
    return licence


def _costs(table: Table, code: str) -> Costs:
    """What tokens cost the operator, stated for one, a thousand or a million of them, exactly."""
    written = [key for key in _COST_SCALES if table.has(key)]
    if len(written) > 1:
        table.bad(written[1], f"says the same as {written[0]}", "keep one of them")
    million = 0
    for key, times in _COST_SCALES.items():
        text = table.text(key, "0")
        exact = Decimal(text) * times * currency(code).scale if _COST.fullmatch(text) else Decimal("0.1")
        if exact != int(exact) or exact > MONEY_MAX:
            table.bad(
                key, f'"{text}" is not a cost', 'write an amount as text, such as "0.01", exact for a million'
            )
        else:
            million = int(exact) or million
    costs = Costs(
        per_million_tokens=million,
        fee_basis_points=table.whole("fee_basis_points", 290, 0, 10_000),
        fee_fixed=table.money("fee_fixed", code, 30),
    )
    table.end()
    return costs


def _low_balance(table: Table) -> LowBalance:
    low = LowBalance(table.limit("percent", 20, 1, 100), table.limit("tokens", 10, 1, TOKENS_MAX))
    table.end()
    return low


def _texts(table: Table) -> Texts:
    """What customers read; a place in braces must be one that is filled in."""
    texts = Texts(**{name: table.text(name, getattr(Texts(), name)) for name in Texts.__struct_fields__})
    for name in sorted(table.written & set(Texts.__struct_fields__)):
        allowed = TEXT_PLACES.get(name, frozenset())
        for place in sorted(_places(getattr(texts, name)) - allowed):
            table.bad(name, f"{{{place}}} is not filled in here", nearest(place, allowed))
    link = texts.purchase_link
    if not link.startswith(("/", "https://")) or link.startswith("//"):
        table.bad("purchase_link", "not a link", 'write a path such as "/account/buy-credits" or https://...')
    table.end()
    return texts


def _places(text: str) -> set[str]:
    """The places in braces of a text; a lone brace counts as one."""
    try:
        return {place for _, place, _, _ in string.Formatter().parse(text) if place is not None}
    except ValueError:
        return {"{"}
