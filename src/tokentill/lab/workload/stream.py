"""The stream itself: what is sent next, under which key, and how much later."""

from __future__ import annotations

from msgspec import Struct, structs

from tokentill.lab.workload.makers import WEIGHTS, advance, open_account
from tokentill.lab.workload.memory import Dice, Memory
from tokentill.rules import commands as c
from tokentill.rules.catalog import DAY_MS, Catalog
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Refusal

MENU = tuple(make for make, weight in WEIGHTS.items() for _ in range(weight))


class Step(Struct, frozen=True):
    """One step of a run: at `now`, submit the envelope; `reopen` loads the account anew before that."""

    now: int
    envelope: c.Envelope
    reopen: bool = False


class Workload:
    """Random steps for one account. `next` gives a step, `seen` takes its reply."""

    def __init__(self, dice: Dice, catalog: Catalog, organization: str, start: int) -> None:
        self.memory = Memory(dice, catalog, start)
        self.organization = organization
        self.count = 0

    def next(self) -> Step:
        """The next step of the run."""
        m = self.memory
        self._advance()
        self.count += 1
        envelope = self._new()
        if m.opened and m.sent and m.chance(7):
            envelope = self._again()
        return Step(m.now, envelope, m.chance(3))

    def seen(self, step: Step, reply: Receipt | Refusal) -> None:
        """Learn from a reply what a client would."""
        self.memory.learn(step.envelope, reply)

    def _new(self) -> c.Envelope:
        m = self.memory
        menu = MENU if m.opened else tuple(WEIGHTS)
        command = m.pick(menu)(m) if m.opened or m.chance(50) else open_account(m)
        if m.simulated and m.chance(25):
            command = advance(m)
        return c.Envelope(self.organization, command, f"{self.count:032x}", m.chance(60))

    def _again(self) -> c.Envelope:
        """An old envelope once more: as it was, as a retry, or its key under another command."""
        m = self.memory
        envelope = m.pick(m.sent[-40:])
        if isinstance(envelope.command, c.Adjust | c.Unblock) and m.chance(30):
            other = structs.replace(envelope.command, actor="another op")
            return structs.replace(envelope, command=other, retry=True)
        if isinstance(envelope.command, c.Reserve | c.Charge) and envelope.command.purse_max and m.chance(50):
            more = structs.replace(envelope.command, purse_max=m.pick((1, 20, 500)))
            return structs.replace(envelope, command=more, retry=True)
        if envelope.keyed and m.chance(30):
            return structs.replace(envelope, command=m.pick(MENU)(m))
        return envelope if envelope.keyed else structs.replace(envelope, retry=True)

    def _advance(self) -> None:
        """Let some time pass: none, moments, exactly to a deadline and around it, days, or back a little."""
        m = self.memory
        roll = m.dice.randrange(100)
        if roll < 40:
            return
        if roll < 60:
            m.now += m.pick((1, 3, 10, 400, 999))
        elif roll < 75:
            m.now += m.pick((1_000, 2_999, 3_000, 3_001, 15_000, 60_000, 61_000))
        elif roll < 88:
            coming = [each.deadline for each in m.known[-12:] if each.deadline > m.now]
            if coming:
                m.now = m.pick(coming) + m.pick((-1, 0, 1))
        elif roll < 94:
            m.now += m.pick((300_000, 3_600_000, DAY_MS - 1, DAY_MS, 3 * DAY_MS))
        elif roll < 98:
            m.now += m.pick((14, 15, 20, 28, 30, 31, 90)) * DAY_MS
        else:
            m.now -= m.pick((1, 5_000, 3_600_000))
