"""Reconcile: read what the journal has of model calls in a time, and report it (`tokentill.rules.reconciling`).

Each organization is read from its newest entry back to the beginning of the time, so an old journal costs nothing.

Requirement ids: R-SALE-5, R-LED-5.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from tokentill.ports import Ledger
from tokentill.rules.catalog import DAY_MS
from tokentill.rules.reconciling import WAYS, By, Reconciliation, Reconciling
from tokentill.rules.refusals import Code, Refusal, unknown_organization

SPAN_MS_MAX = 100 * DAY_MS
"""Longest time of one report."""
PAGE = 200


async def reconcile(
    ledger: Ledger, since: int, until: int, organization: str | None = None, by: Sequence[By] = WAYS
) -> Reconciliation | Refusal:
    """The report of calls that ended from `since` to before `until` (epoch ms), of one organization or of all.

    Refused are a time that ends before it begins or is longer than `SPAN_MS_MAX`, and an unknown organization.
    """
    if not 0 <= until - since <= SPAN_MS_MAX:
        message = f"A report is of 0 to {SPAN_MS_MAX // DAY_MS} days; ask for several."
        return Refusal(Code.INVALID, message, detail="since")
    found = Reconciling(ledger.catalog, since, until, by)
    if organization is not None:
        if await ledger.account(organization) is None:
            return unknown_organization()
        await _read(ledger, organization, since, found)
    else:
        async for name in _organizations(ledger):
            await _read(ledger, name, since, found)
    return found.report()


async def _organizations(ledger: Ledger) -> AsyncIterator[str]:
    after = ""
    while names := await ledger.organizations(after, PAGE):
        for name in names:
            yield name
        after = names[-1]


async def _read(ledger: Ledger, organization: str, since: int, found: Reconciling) -> None:
    before = None
    while page := await ledger.journal(organization, before, PAGE):
        for row in page.rows:
            found.take(organization, row.entry)
        before = page.next
        if before is None or page.rows[-1].entry.time < since:
            return
