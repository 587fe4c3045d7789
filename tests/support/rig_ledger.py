"""A ledger of either engine as the till of the model rig: synchronous, one organization after another."""

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any, Self

from msgspec import structs

from tests.support.rig_model import START, Reply
from tests.support.rig_store import Engine, Still, open_ledger
from tokentill.lab.workload.makers import USERS
from tokentill.ports import Ledger
from tokentill.rules import account as a
from tokentill.rules import commands as c
from tokentill.rules import entries as e
from tokentill.rules.catalog import Catalog


class World:
    """One database and an event loop of its own; `organization` names the next one."""

    def __init__(self, engine: Engine, url: str, catalog: Catalog) -> None:
        self.engine = engine
        self.url = url
        self.catalog = catalog
        self.clock = Still(START)
        self.runner = asyncio.Runner()
        self.ledger: Ledger | None = None
        self.names = (f"org-{number}" for number in itertools.count(1))

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self.runner.close()

    def open(self) -> None:
        self.ledger = self.runner.run(open_ledger(self.engine, self.url, self.catalog, clock=self.clock))

    def close(self) -> None:
        if self.ledger is not None:
            closing: Any = self.ledger
            self.runner.run(closing.close())
            self.ledger = None

    def verify(self) -> None:
        assert self.ledger is not None
        verdict = self.runner.run(self.ledger.verify())
        assert verdict.findings == ()


class Stored:
    """One organization of a world, whatever the envelopes call it."""

    def __init__(self, world: World, organization: str) -> None:
        self.world = world
        self.organization = organization
        self.seq = self.last = 0
        ledger = world.ledger
        assert ledger is not None
        self.users = {ledger.opaque(organization, name): name for name in USERS if name is not None}

    def account(self) -> a.Account:
        ledger = self.world.ledger
        assert ledger is not None
        return self.world.runner.run(ledger.account(self.organization)) or a.Account()

    def time(self) -> int:
        return self.last

    def submit(self, envelope: c.Envelope, now: int) -> tuple[Reply, list[e.Entry]]:
        replies, entries = self.submit_all([envelope], now)
        return replies[0], entries

    def submit_all(self, envelopes: Sequence[c.Envelope], now: int) -> tuple[list[Reply], list[e.Entry]]:
        """All at once, so that they are decided in one batch, in this order."""
        return self.world.runner.run(self._submit(envelopes, now))

    async def _submit(self, envelopes: Sequence[c.Envelope], now: int) -> tuple[list[Reply], list[e.Entry]]:
        ledger = self.world.ledger
        assert ledger is not None
        self.world.clock.time = now
        replies = await asyncio.gather(
            *(ledger.submit(structs.replace(each, organization=self.organization)) for each in envelopes)
        )
        rows: list[e.Entry] = []
        before = None
        while page := await ledger.journal(self.organization, before, 25):
            rows += [row.entry for row in page.rows if row.entry.seq > self.seq]
            before = page.next
            if before is None or page.rows[-1].entry.seq <= self.seq:
                break
        entries = [self._named(entry) for entry in rows[::-1]]
        self.seq += len(entries)
        self.last = max((entry.time for entry in entries), default=self.last)
        return list(replies), entries

    def _named(self, entry: e.Entry) -> e.Entry:
        """Users under the names they were sent with, as the model knows them."""
        if isinstance(entry, e.Alerted) and entry.user is not None:
            return structs.replace(entry, user=self.users[entry.user])
        return entry

    def reopen(self) -> None:
        self.world.close()
        self.world.open()
