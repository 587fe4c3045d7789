"""The sections of a catalog file that hold policies: each function reads one table into its value.

What a table does not say is as in the default that the caller hands in, which for a plan is what the file
says for all plans. Mistakes are recorded by the table (`tokentill.rules.catalog_reader`), never raised.

Requirement ids: R-PLAN-4, R-PLAN-5, R-PLAN-6, R-PLAN-8, R-PLAN-9, R-ABU-1, R-ABU-6, R-LIC-2, R-FIN-1.
"""

from __future__ import annotations

import re
import string
from decimal import Decimal
from typing import Any, cast
from zoneinfo import ZoneInfo

from tokentill.rules.catalog import (
    ATTEMPTS_MAX,
    HOUR_MS,
    TOKENS_MAX,
    Costs,
    Cycle,
    Exhaustion,
    Licence,
    LicenceStep,
    LowBalance,
    Overage,
    Rollover,
    Texts,
    Unit,
)
from tokentill.rules.catalog_reader import OFF, Table, nearest
from tokentill.rules.money import MONEY_MAX, currency

COUNT_MAX = 1_000_000
DAYS_MAX = 3_660
PERCENT_MAX = 100_000
ROLLOVERS = ("none", "capped", "unlimited")
TEXT_PLACES = {"low_balance": frozenset({"days"})}
"""The places in braces that a text may have; a text not named here has none."""

COST_KEYS = {"per_token": 1_000_000, "per_1000_tokens": 1_000, "per_million_tokens": 1}
COST_ALLOWED = 'write an amount as text, such as "0.01"; for a million tokens it must be whole minor units'
_COST = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?")


def unit(table: Table) -> Unit:
    """What a token is called; the plural adds an s unless it is said."""
    one = table.text("one", "token")
    found = Unit(one, table.text("many", f"{one}s"))
    table.end()
    return found


def abuse(table: Table) -> dict[str, Any]:
    """The limits that are written in one `[…abuse]` table, by the names of `AbuseLimits`."""
    limits: dict[str, Any] = {}
    for key, most in (
        ("tokens_per_request_max", TOKENS_MAX),
        ("requests_per_minute_max", COUNT_MAX),
        ("output_tokens_max", TOKENS_MAX),
        ("burn_alert_tokens_per_hour", TOKENS_MAX),
        ("burn_alert_percent_of_allowance", PERCENT_MAX),
        ("attempts_max", ATTEMPTS_MAX),
    ):
        limits[key] = table.limit(key, None, 1, most)
    limits["spacing_ms_min"] = table.duration_ms("spacing", None, end="_min", least=0)
    limits["attempts_window_ms"] = table.duration_ms("attempts_window", HOUR_MS)
    limits["block_ms"] = table.duration_ms("block", HOUR_MS)
    table.end()
    return {name: limit for name, limit in limits.items() if name in table.written}


def cycle(table: Table, default: Cycle) -> Cycle:
    """How long a period is (R-PLAN-4)."""
    kind = table.choice("kind", default.kind, ("month", "days"))
    days = table.whole("days", default.days, 1, DAYS_MAX)
    zone = table.text("zone", default.zone)
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        table.bad("zone", f'"{zone}" is not a time zone', 'write an IANA name such as "Europe/Berlin"')
        zone = default.zone
    table.end()
    return Cycle(cast("Any", kind), days, zone)


def rollover(owner: Table, default: Rollover) -> Rollover:
    """`rollover = "capped"`, or a table that states the cap too."""
    if isinstance(owner.data.get("rollover"), str):
        return Rollover(cast("Any", owner.choice("rollover", default.mode, ROLLOVERS)))
    table = owner.table("rollover")
    mode = table.choice("mode", default.mode, ROLLOVERS)
    cap = table.limit("cap", default.cap if mode == default.mode else None, 0, TOKENS_MAX)
    table.end()
    return Rollover(cast("Any", mode), cap)


def exhaustion(table: Table, code: str, default: Exhaustion) -> Exhaustion:
    """Options A, B and D (R-PLAN-6); overage is a table with its price, or "off"."""
    overage = default.overage
    if table.data.get("overage") == OFF:
        overage = None
        table.known.add("overage")
    elif (bill := table.table("overage")).data:
        capped = not bill.is_word("cap", OFF) and bill.has("cap")
        overage = Overage(bill.money("price", code), bill.money("cap", code) if capped else None)
        bill.end()
    found = Exhaustion(
        grace_uses=table.whole("grace_uses", default.grace_uses, 0, COUNT_MAX),
        overage=overage,
        packs=table.flag("packs", default=default.packs),
        wait=table.flag("wait", default=default.wait),
        upgrade=table.flag("upgrade", default=default.upgrade),
    )
    table.end()
    return found


def licence(table: Table) -> Licence:
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
    grace_days = table.whole("grace_days", default.grace_days, 0, DAYS_MAX)
    wait = table.whole("renewal_wait_days", default.renewal_wait_days, 0, DAYS_MAX)
    found = Licence(grace_days, tuple(steps) or default.steps, wait)
    table.end()
    return found


def costs(table: Table, code: str) -> Costs:
    """What tokens cost the operator, stated for one, a thousand or a million of them, exactly."""
    written = [key for key in COST_KEYS if table.has(key)]
    if len(written) > 1:
        table.bad(written[1], f"says the same as {written[0]}", "keep one of them")
    stated = {key: _per_million(table, key, times, code) for key, times in COST_KEYS.items()}
    found = Costs(
        per_million_tokens=next((stated[key] for key in written), 0),
        fee_basis_points=table.whole("fee_basis_points", 290, 0, 10_000),
        fee_fixed=table.money("fee_fixed", code, 30),
    )
    table.end()
    return found


def _per_million(table: Table, key: str, times: int, code: str) -> int:
    """Minor units for a million tokens of a cost that is stated for a `times`-th of them."""
    text = table.text(key, "0")
    if _COST.fullmatch(text):
        exact = Decimal(text) * times * currency(code).scale
        if exact == int(exact) and exact <= MONEY_MAX:
            return int(exact)
    table.bad(key, f'"{text}" is not a cost', COST_ALLOWED)
    return 0


def low_balance(table: Table) -> LowBalance:
    """When the customer is warned (R-PLAN-8)."""
    low = LowBalance(
        table.limit("percent", 20, 1, 100),
        table.limit("tokens", 10, 1, TOKENS_MAX),
        table.limit("expiring_days", 7, 1, DAYS_MAX),
    )
    table.end()
    return low


def texts(table: Table) -> Texts:
    """What customers read; a place in braces must be one that is filled in."""
    found = Texts(**{name: table.text(name, getattr(Texts(), name)) for name in Texts.__struct_fields__})
    for name in sorted(table.written & set(Texts.__struct_fields__)):
        fills(table, name, getattr(found, name), TEXT_PLACES.get(name, frozenset()))
    link(table, "purchase_link", found.purchase_link)
    table.end()
    return found


def link(table: Table, key: str, written: str) -> None:
    """Report what is neither a path of this site nor an https address."""
    if not written.startswith(("/", "https://")) or written.startswith("//"):
        table.bad(key, "not a link", 'write a path such as "/account/buy-credits" or https://...')


def fills(table: Table, key: str, text: str, allowed: frozenset[str]) -> None:
    """Report every place in braces of a text that is not filled in."""
    for place in sorted(places(text) - allowed):
        table.bad(key, f"{{{place}}} is not filled in here", nearest(place, allowed))


def places(text: str) -> set[str]:
    """The places in braces of a text, a format written with one included; a lone brace counts as one."""
    try:
        parts = [part for part in string.Formatter().parse(text) if part[1] is not None]
    except ValueError:
        return {"{"}
    return {
        f"{name}{f'!{change}' if change else ''}{f':{form}' if form else ''}"
        for _, name, form, change in parts
    }
