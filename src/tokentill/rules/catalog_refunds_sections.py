"""The `[refunds]` section of a catalog: every figure of the refund engine, as the operator writes it.

What is not written is as the documents have it (`tokentill.rules.refund_policy`); amounts that the documents give
in dollars are so many whole units of the catalog's currency. The bands end by themselves: the last one written
holds for all use above it. As elsewhere, mistakes are recorded by the table and never raised.

Requirement ids: R-REF-1, R-REF-2, R-REF-3, R-REF-4, R-REF-5, R-REF-6.
"""

from __future__ import annotations

from msgspec.structs import replace

from tokentill.rules.catalog_reader import Table
from tokentill.rules.catalog_sections import fills, places
from tokentill.rules.money import currency
from tokentill.rules.refund_policy import REASONS, S0_REASONS, Band, RefundPolicy, Tier, Withdrawal
from tokentill.rules.refund_sentences import RefundTexts

PERCENT_MAX = 1_000
DAYS_MAX = 3_660
COUNT_MAX = 1_000_000
OPEN_END = 101
"""The last band holds for all use; its end is above every percentage."""


def refunds(table: Table, code: str) -> RefundPolicy:
    """The refund policy (R-REF-1 to R-REF-6)."""
    scale = 10 ** currency(code).exponent
    default = RefundPolicy()
    found = RefundPolicy(
        enabled=table.flag("enabled", default=default.enabled),
        title=table.text("title", default.title),
        text=table.text("text", default.text),
        waiting=table.text("waiting", default.waiting),
        bands=_bands(table, default.bands),
        reasons=_reasons(table.table("reasons")),
        tiers=_tiers(table, code, scale, default.tiers),
        early_s=_seconds(table, "early", default.early_s),
        early_percent=table.whole("early_percent", default.early_percent, 0, PERCENT_MAX),
        late_s=_seconds(table, "late", default.late_s),
        late_percent=table.whole("late_percent", default.late_percent, 0, PERCENT_MAX),
        guarantee_percent=table.limit("guarantee_percent", default.guarantee_percent, 1, 100),
        guarantee_s=_seconds(table, "guarantee", default.guarantee_s),
        bonus_percent=table.limit("bonus_percent", default.bonus_percent, 1, PERCENT_MAX),
        credit_percent=table.limit("credit_percent", default.credit_percent, 1, PERCENT_MAX),
        upgrade=table.flag("upgrade", default=default.upgrade),
        plans=table.flag("plans", default=default.plans),
        unused_share=table.flag("unused_share", default=default.unused_share),
        window_days=table.whole("window_days", default.window_days, 1, DAYS_MAX),
        quote_ms=table.duration_ms("quote", default.quote_ms) or default.quote_ms,
        automatic_max=_amount(table, "automatic_max", code, scale, default.automatic_max),
        four_eyes_above=_amount(table, "four_eyes_above", code, scale, default.four_eyes_above),
        review_refunds=table.whole("review_refunds", default.review_refunds, 1, COUNT_MAX),
        review_accounts=table.whole("review_accounts", default.review_accounts, 2, COUNT_MAX),
        review_usage_percent=table.whole("review_usage_percent", default.review_usage_percent, 1, 100),
        withdrawal=_withdrawal(table.tables("withdrawal")),
        waiver_text=table.text("waiver_text", default.waiver_text),
        waiver_required=table.flag("waiver_required", default=default.waiver_required),
        texts=_texts(table.table("texts")),
    )
    if found.late_s <= found.early_s:
        table.bad("late_hours", "late begins before early is over", "write a longer time")
    table.end()
    return found


def _seconds(table: Table, stem: str, default: int) -> int:
    found = table.duration_ms(stem, default * 1000)
    if found is None or found % 1000:
        table.bad(f"{stem}_ms", "a part of a second does not count here", "write whole seconds")
    return (found or 1000) // 1000


def _amount(table: Table, key: str, code: str, scale: int, default: int | None) -> int | None:
    """An amount or "off"; the default is written for a currency of two digits."""
    if table.is_word(key, "off"):
        return None
    return table.money(key, code, None if default is None else default * scale // 100)


def _bands(table: Table, default: tuple[Band, ...]) -> tuple[Band, ...]:
    """Usage bands, lowest first; the rate never rises with use (R-REF-1)."""
    rows = table.rows("bands")
    found: list[Band] = []
    for number, row in enumerate(rows, 1):
        last = number == len(rows)
        below = OPEN_END if last and not row.has("below") else row.whole("below", None, 1, OPEN_END)
        band = Band(below, row.whole("rate", None, 0, 100))
        if found and band.below <= found[-1].below:
            row.bad("below", "a band that ends before the one above it", f"write more than {found[-1].below}")
        if found and band.rate > found[-1].rate:
            row.bad("rate", "more is given back for more use", f"write {found[-1].rate} or less")
        row.end()
        found.append(band)
    if found and found[-1].below < OPEN_END:
        found[-1] = replace(found[-1], below=OPEN_END)
    return tuple(found) or default


def _reasons(table: Table) -> dict[str, int]:
    found: dict[str, int] = {reason: table.whole(reason, S0_REASONS[reason], 0, 100) for reason in REASONS}
    table.end()
    return found


def _tiers(table: Table, code: str, scale: int, default: tuple[Tier, ...]) -> tuple[Tier, ...]:
    """What customers who have spent more get, highest first (R-REF-2)."""
    if not table.has("tiers"):
        return tuple(Tier(tier.above * scale // 100, tier.percent) for tier in default)
    found: list[Tier] = []
    for row in table.rows("tiers"):
        tier = Tier(row.money("above", code), row.whole("percent", None, 0, PERCENT_MAX))
        if tier.above in {other.above for other in found}:
            row.bad("above", "this amount is listed already", "list each amount once")
        row.end()
        found.append(tier)
    return tuple(sorted(found, key=lambda tier: -tier.above))


def _texts(table: Table) -> RefundTexts:
    """The sentences of quotes; each has the places of its default and none is empty, so no figure is left out."""
    default, found = RefundTexts(), {}
    for key in filter(table.has, RefundTexts.__struct_fields__):
        allowed = frozenset(places(getattr(default, key)))
        found[key] = table.text(key)
        fills(table, key, found[key], allowed)
        written = places(found[key])
        if found[key] and written < allowed:
            for place in sorted(allowed - written):
                table.bad(key, f"{{{place}}} is missing", "write each figure that the customer is told")
    table.end()
    return RefundTexts(**found)


def _withdrawal(tables: dict[str, Table]) -> dict[str, Withdrawal]:
    """Regions where the law gives a right of withdrawal (readings)."""
    found = {}
    for region, table in tables.items():
        found[region] = Withdrawal(table.whole("days", Withdrawal().days, 1, DAYS_MAX))
        table.end()
    return found
