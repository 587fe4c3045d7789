"""Margins: sum a month by organization, once it is over, and raise an alert where a plan left too little (R-FIN-1).

The check of a month is a row that is due an hour after its end; every clerk sees to it that there is one. It goes on
by a few organizations at a time, so that whoever dies leaves the rest to the next, and two at once write the same.
A month that is not over, or was not summed yet, is summed for whoever asks.

Requirement ids: R-FIN-1.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from tokentill.flows.means import Means, later
from tokentill.rules import commands as c
from tokentill.rules.account import Account
from tokentill.rules.catalog import HOUR_MS
from tokentill.rules.margins import (
    Line,
    MarginCheck,
    MarginMonth,
    MarginReport,
    Reading,
    Source,
    judged,
    month_before,
    remedy,
    report,
    span,
    total,
)
from tokentill.rules.ordering import bill_id
from tokentill.rules.purchases import BILLED, Purchase
from tokentill.rules.refusals import Code, Refusal, unknown_organization
from tokentill.rules.takings import booked, first_credit, since
from tokentill.rules.topups import month_of

BATCH = 20
"""Organizations that are summed before the check is put down again."""

LEASE_MS = 10 * 60_000
"""A batch may have a month of many entries to read."""

WAIT_MS = 1_000
"""A month waits for so long before it looks again whether the one before it was summed, and its bills were made."""

LIVE_MAX = 500
"""So many organizations are summed while somebody waits for the answer."""

PAGE = 500


class Margins:
    """What plans, packs and organizations leave."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._seeded = ""

    async def seed(self) -> None:
        """See to it that the present month will be checked when it is over, and each since the last that was."""
        now = self._means.clock.now()
        month = month_of(now)
        if month == self._seeded:
            return
        newest = await self._means.rows.find(MarginCheck, {}, limit=1)
        known = newest[0].id if newest else month
        while known <= month:
            end = span(known)[1]
            await self._means.rows.add(MarginCheck(id=known, created_at=now, due_at=end + HOUR_MS))
            known = month_of(end)
        self._seeded = month

    async def attend(self, check: MarginCheck) -> None:
        """Sum the next organizations; after the last, look at what plans have left."""
        means, month = self._means, check.id
        before = await means.rows.get(MarginCheck, month_before(month))
        if before is not None and before.done_at is None:
            # What is booked in this month depends on what was booked before.
            await means.change(check, lambda row: later(row, means.clock.now() + WAIT_MS))
            return
        names = await means.ledger.organizations(check.reached, BATCH)
        for name in names:
            await means.ledger.submit(c.Envelope(name, c.Tick()))  # what is due in it belongs to the journal
            account = await means.ledger.account(name)
            if account is None or account.state.simulated:
                continue
            lines, money, whole = await self._summed(name, account, month)
            if not whole:
                await means.change(check, lambda row: later(row, means.clock.now() + WAIT_MS))
                return
            await self._keep(month, name, lines, money)
        if names:
            reached, now = names[-1], means.clock.now()
            await means.change(check, lambda row: later(replace(row, reached=max(row.reached, reached)), now))
            return
        catalog = means.ledger.catalog
        for line in total(one for row in await self._kept(month) for one in row.lines):
            found = judged(catalog, line)
            if found.below:
                await means.alert("", "margin_low", f"{month}:{found.item}", remedy(catalog, month, found))
        done_at = means.clock.now()
        await means.change(check, lambda row: later(replace(row, done_at=done_at), None))

    async def report(self, month: str | None, organization: str | None) -> MarginReport | Refusal:
        """The margins of a month, by default of the present one; of one organization or of all."""
        means = self._means
        now = means.clock.now()
        month = month_of(now) if month is None else month
        try:
            start, _ = span(month)
        except ValueError:
            return Refusal(Code.INVALID, 'There is no such month. Write it as "2026-03".', detail="month")
        if start > now:
            return Refusal(Code.INVALID, "This month has not begun yet.", detail="month")
        catalog = means.ledger.catalog
        check = await means.rows.get(MarginCheck, month)
        closed = check is not None and check.done_at is not None
        if organization is not None:
            account = await means.ledger.account(organization)
            if account is None:
                return unknown_organization()
            row = (
                await means.rows.get(MarginMonth, f"{month}:{organization}", organization) if closed else None
            )
            own = row.lines if row is not None else (await self._summed(organization, account, month))[0]
            return report(catalog, month, {organization: own}, closed=row is not None)
        if closed:
            kept = {row.organization: row.lines for row in await self._kept(month)}
            return report(catalog, month, kept, closed=True)
        names = await means.ledger.organizations("", LIVE_MAX + 1)
        if len(names) > LIVE_MAX:
            message = f"More than {LIVE_MAX} organizations are summed by the till itself, an hour after the month ends. "
            return Refusal(
                Code.NOT_POSSIBLE, f"{message}Name one of them to see it now.", detail="organization"
            )
        live = {}
        for name in names:
            account = await means.ledger.account(name)
            if account is not None and not account.state.simulated:
                live[name], _, _ = await self._summed(name, account, month)
        return report(catalog, month, live, closed=False)

    async def _keep(
        self, month: str, organization: str, lines: tuple[Line, ...], money: tuple[Line, ...]
    ) -> None:
        row = MarginMonth(
            id=f"{month}:{organization}",
            organization=organization,
            created_at=self._means.clock.now(),
            month=month,
            lines=lines,
            booked=money,
        )
        await self._means.upsert(row, lambda known: replace(known, lines=lines, booked=money))

    async def _kept(self, month: str) -> Sequence[MarginMonth]:
        found: list[MarginMonth] = []
        before = None
        while True:
            page = await self._means.rows.find(MarginMonth, {"month": month}, before=before, limit=PAGE)
            found += page
            if len(page) < PAGE:
                return found
            before = page[-1].id

    async def _summed(
        self, organization: str, account: Account, month: str
    ) -> tuple[tuple[Line, ...], tuple[Line, ...], bool]:
        """What the organization brought and used in the month, up to now, and all that was ever booked of it.

        Last whether that is all there is: each bill that the journal tells of was made.
        """
        means, catalog = self._means, self._means.ledger.catalog
        start, end = span(month)
        bought = await means.every(Purchase, {"organization": organization})
        items = {row.id: row.item for row in bought if row.kind in ("pack", "code")}
        lots = account.state.lots

        def source(number: int) -> Source | None:
            lot = lots.get(number)
            if lot is None:
                return "given", ""
            if lot.reference in items:
                return "pack", items[lot.reference or ""]
            if lot.origin == "pack":
                return "pack", ""
            return None if lot.origin in ("plan", "rollover") else ("given", "")

        trials = [
            (row.plan_start, row.plan_end)
            for row in bought
            if row.kind == "plan" and row.amount == 0 < row.list_amount
            if row.plan_start is not None and row.plan_end is not None
        ]
        bills = {row.id: first_credit(row) for row in bought if row.kind == "overage"}
        reading = Reading(
            start,
            end,
            account.moment(means.clock.now()),
            account.state.plan,
            source,
            trials,
            {row.id for row in bought if row.kind in BILLED},
            lambda seq: bills.get(bill_id(organization, seq)),
        )
        money = booked(bought, end, catalog.currency, catalog.costs)
        reading.book(since(money, await self._before(organization, bought, month)))
        await self._read(organization, reading)
        return reading.lines(), money, not reading.unbilled

    async def _before(self, organization: str, bought: Sequence[Purchase], month: str) -> tuple[Line, ...]:
        """What was booked in the months before: as the last one was summed, else what moved before this one."""
        catalog, start = self._means.ledger.catalog, span(month)[0]
        known = await self._means.rows.get(MarginMonth, f"{month_before(month)}:{organization}", organization)
        return known.booked if known is not None else booked(bought, start, catalog.currency, catalog.costs)

    async def _read(self, organization: str, reading: Reading) -> None:
        before: int | None = None
        costs = self._means.ledger.catalog.costs
        while True:
            page = await self._means.ledger.journal(organization, before, PAGE)
            if page is None:
                return
            for row in page.rows:
                if not reading.take(row.entry, costs):
                    return
            before = page.next
            if before is None:
                return
