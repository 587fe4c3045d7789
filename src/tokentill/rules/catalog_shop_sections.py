"""The sections of a catalog file that say how things are sold; each function reads one table into its value.

As in `tokentill.rules.catalog_sections`, mistakes are recorded by the table and never raised.

Requirement ids: R-PACK-2, R-PACK-4, R-PACK-5, R-PACK-6, R-PACK-7, R-PACK-8, R-PACK-9, R-SALE-4.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast, get_args

from msgspec.structs import replace

from tokentill.rules.catalog import DAY_MS, MINUTE_MS, TOKENS_MAX
from tokentill.rules.catalog_reader import Table
from tokentill.rules.catalog_sections import COUNT_MAX, fills, link
from tokentill.rules.catalog_shop import (
    ALERTS,
    PROVIDERS,
    AlertRule,
    Checkout,
    KeyWhen,
    Promo,
    Question,
    Recommend,
    Rollout,
)

TRIAL_DAYS_MAX = 730
HISTORY_DAYS_MAX = 366
PRICE_ID_MAX = 255
LINK_PLACES = frozenset({"purchase"})
COUNTED = ("declines", "shared_method")
"""The patterns that are counted over a time; every other is an event by itself."""


def checkout(table: Table) -> Checkout:
    """How packs and plans are bought; a checkout is open for at most a day, the most any provider allows."""
    default = Checkout()
    found = Checkout(
        packs_max=table.limit("packs_max", default.packs_max, 1, COUNT_MAX),
        packs_window_ms=table.duration_ms("packs_window", default.packs_window_ms) or 0,
        open_ms=table.duration_ms("open", default.open_ms) or 0,
        success_link=table.text("success_link", default.success_link),
        cancel_link=table.text("cancel_link", default.cancel_link),
        key=key_when(table),
    )
    if not MINUTE_MS <= found.open_ms <= DAY_MS:
        key = next((key for key in table.data if key.startswith("open_")), "open_minutes")
        table.bad(key, "no checkout is open for so long", "write one minute to 24 hours")
    for key in ("success_link", "cancel_link"):
        link(table, key, getattr(found, key))
        fills(table, key, getattr(found, key), LINK_PLACES)
    table.end()
    return found


def key_when(table: Table) -> KeyWhen | None:
    """When what is bought brings a key (R-SALE-4); None where the table does not say."""
    return cast("KeyWhen", table.choice("key", "first", get_args(KeyWhen))) if table.has("key") else None


def promo(code: str, table: Table, currency: str, packs: Iterable[str]) -> Promo:
    """One promotion code (R-PACK-8)."""
    ways = [key for key in ("percent_off", "amount_off", "bonus_tokens") if table.has(key)]
    if not ways:
        table.bad("percent_off", "the code gives nothing", "write percent_off, amount_off or bonus_tokens")
    elif len(ways) > 1:
        table.bad(ways[1], f"the code gives {ways[0]} already", "keep one of them")
    starts, ends = table.moment("starts"), table.moment("ends", last=True)
    if starts is not None and ends is not None and ends <= starts:
        table.bad("ends", "the code ends before it begins", "write a later date")
    found = Promo(
        code=code,
        title=table.text("title", ""),
        percent_off=table.whole("percent_off", None, 1, 100) if "percent_off" in ways else None,
        amount_off=table.money("amount_off", currency) if "amount_off" in ways else None,
        bonus_tokens=table.whole("bonus_tokens", None, 1, TOKENS_MAX) if "bonus_tokens" in ways else None,
        packs=table.names("packs", packs),
        starts=starts,
        ends=ends,
        uses_max=table.limit("uses_max", None, 1, COUNT_MAX),
        once_per_organization=table.flag("once_per_organization", default=True),
        first_purchase_only=table.flag("first_purchase_only", default=False),
    )
    if found.amount_off == 0:
        table.bad("amount_off", "the code takes nothing off", "write an amount above zero")
    table.end()
    return found


def rollout(table: Table) -> Rollout:
    """Who is offered what is being introduced (R-PACK-9); naming organizations alone means only those."""
    organizations = frozenset(table.texts("organizations"))
    percent = table.whole("percent", 0 if organizations else 100, 0, 100)
    table.end()
    return Rollout(percent, organizations)


def alerts(top: Table) -> tuple[AlertRule, ...]:
    """The patterns listed, every known one where none is listed (R-PACK-4)."""
    if not top.has("alerts"):
        return tuple(ALERTS.values())
    found: dict[str, AlertRule] = {}
    for row in top.rows("alerts"):
        pattern = row.choice("pattern", "dispute", ALERTS) if row.has("pattern") else row.id("pattern")
        rule = ALERTS.get(pattern)
        if rule is not None and pattern in COUNTED:
            least = 1 if pattern == "declines" else 2
            rule = replace(
                rule,
                count=row.whole("count", rule.count, least, COUNT_MAX),
                window_ms=row.duration_ms("window", rule.window_ms),
            )
        if pattern in found:
            row.bad("pattern", f'"{pattern}" is listed already', "list each pattern once")
        row.end()
        if rule is not None:
            found[pattern] = rule
    return tuple(found.values())


def recommend(table: Table) -> Recommend:
    """What a recommendation looks at (R-PACK-5, R-PACK-6)."""
    to_reset = table.is_word("horizon_days", "reset") or not table.has("horizon_days")
    default = Recommend()
    found = Recommend(
        history_days=table.whole("history_days", default.history_days, 1, HISTORY_DAYS_MAX),
        horizon_days=None if to_reset else table.whole("horizon_days", None, 1, HISTORY_DAYS_MAX),
        upgrade_packs=table.whole("upgrade_packs", default.upgrade_packs, 1, COUNT_MAX),
    )
    table.end()
    return found


def faq(top: Table) -> tuple[Question, ...]:
    """The questions and answers that stand in place of those that follow from the catalog (R-PACK-7)."""
    found = []
    for row in top.rows("faq"):
        found.append(Question(row.text("question"), row.text("answer")))
        row.end()
    return tuple(found)


def prices(table: Table) -> dict[str, str]:
    """The ids of one item's price at payment providers (R-PACK-2)."""
    found = {
        provider: table.text(provider, "", PRICE_ID_MAX) for provider in PROVIDERS if table.has(provider)
    }
    for provider, price in found.items():
        if not price or " " in price:
            table.bad(provider, "not a price id", 'write it as the provider shows it, such as "price_1Abc"')
    table.end()
    return found


def launch(table: Table, currency: str) -> tuple[int | None, int | None]:
    """A pack's launch price and its true end (R-PACK-8); neither stands without the other."""
    keys = ("launch_price", "launch_until")
    written = [key for key in keys if table.has(key)]
    if len(written) == 1:
        missing = keys[written[0] == keys[0]]
        table.bad(missing, f"missing, since {written[0]} is written", "write both or neither")
        return None, None
    if not written:
        return None, None
    return table.money("launch_price", currency), table.moment("launch_until", last=True)
