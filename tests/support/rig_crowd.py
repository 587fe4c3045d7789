"""Crowds: many tasks in several processes at the same accounts, and what each of them saw."""

import asyncio
import base64
import random
import time
from collections import Counter
from typing import Any

import msgspec
from msgspec import Struct

from tests.support.rig_plants import PLANTS
from tests.support.rig_processes import Channel
from tests.support.rig_store import Engine, bench_with, open_ledger
from tokentill.ports import Ledger
from tokentill.rules import commands as c
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Refusal


class Seen(Struct, frozen=True):
    """One command as its caller saw it: sent and answered when (monotonic nanoseconds), and the answer."""

    sent: int
    answered: int
    envelope: c.Envelope
    receipt: Receipt | None = None
    refusal: Refusal | None = None

    @property
    def reply(self) -> Receipt | Refusal:
        reply = self.receipt or self.refusal
        assert reply is not None
        return reply


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Seen]).decode


def tell_seen(channel: Channel, seen: list[Seen]) -> None:
    channel.write({"seen": base64.b64encode(_encode(seen)).decode()})


def read_seen(line: dict[str, Any]) -> list[Seen]:
    return _decode(base64.b64decode(line["seen"]))


def spend(channel: Channel, *, engine: Engine, url: str, organization: str, allowance: int, seed: int, tasks: int,
          attempts: int, mixed: bool, plant: str = "") -> None:  # fmt: skip
    """Make `attempts` at one token each, from so many tasks; tell what became of them."""
    made = 0
    outcomes: Counter[str] = Counter()

    async def ask(ledger: Ledger, envelope: c.Envelope) -> Receipt | None:
        try:
            reply = await ledger.submit(envelope)
        except Exception as trouble:  # noqa: BLE001  # whatever it is, it is one too many
            outcomes[f"trouble: {trouble!r}"] += 1
            return None
        if isinstance(reply, Refusal):
            outcomes[f"refused: {reply.code}"] += 1
            return None
        outcomes[reply.kind] += reply.tokens
        return reply

    async def attempt(ledger: Ledger, dice: random.Random) -> None:
        key = f"{dice.getrandbits(128):032x}"
        way = dice.randrange(5) if mixed else 0
        if way < 2:
            charged = await ask(ledger, c.Envelope(organization, c.Charge(feature="op"), key))
            if charged is not None and way == 1:
                await ask(ledger, c.Envelope(organization, c.Refund(operation=key)))
            return
        held = await ask(ledger, c.Envelope(organization, c.Reserve(feature="op", timeout_ms=60_000), key))
        if held is None:
            return
        await asyncio.sleep(0)
        end: c.Command = c.Release(hold=key) if way == 2 else c.Settle(hold=key)
        await ask(ledger, c.Envelope(organization, end))

    async def task(ledger: Ledger, number: int) -> None:
        nonlocal made
        dice = random.Random(f"{seed} {number}")
        while made < attempts:
            made += 1
            await attempt(ledger, dice)

    async def run() -> None:
        kind = PLANTS[engine, plant] if plant else None
        ledger = await open_ledger(engine, url, bench_with(allowance), kind=kind)
        channel.write({"ready": True})
        channel.read()
        begun = time.monotonic()
        await asyncio.gather(*(task(ledger, number) for number in range(tasks)))
        seconds = time.monotonic() - begun
        await ledger.close()
        channel.write({"outcomes": outcomes, "attempts": made, "seconds": seconds})

    asyncio.run(run())


class Walk:
    """A task's random commands: it ends its own holds and refunds its own charges."""

    def __init__(self, seed: str, organizations: list[str], keys: int) -> None:
        self.dice = random.Random(seed)
        self.organizations = organizations
        self.keys = keys
        self.held: list[tuple[str, str]] = []
        self.charged: list[tuple[str, str]] = []

    def next(self) -> c.Envelope:
        dice = self.dice
        organization = dice.choice(self.organizations)
        if dice.randrange(8) == 0:
            # A key out of few is sometimes another task's too, and then it is the same command (R-LED-9).
            key = f"{dice.randrange(self.keys):032x}"
            return c.Envelope(self.organizations[0], c.Charge(feature="op3"), key, keyed=True)
        key = f"{dice.getrandbits(128):032x}"
        roll = dice.randrange(100)
        if roll < 30 and self.held:
            organization, hold = self.held.pop(dice.randrange(len(self.held)))
            end = c.Release(hold=hold) if roll < 8 else c.Settle(hold=hold, tokens=dice.choice((None, 0, 1)))
            return c.Envelope(organization, end)
        if roll < 35 and self.charged:
            organization, operation = self.charged.pop()
            return c.Envelope(organization, c.Refund(operation=operation))
        if roll < 42:
            return c.Envelope(organization, c.Grant(tokens=1 + dice.randrange(9)), key)
        if roll < 70:
            return c.Envelope(organization, c.Charge(feature="op", quantity=1 + dice.randrange(4)), key)
        return c.Envelope(organization, c.Reserve(feature="op3", timeout_ms=3_600_000), key)

    def answered(self, envelope: c.Envelope, reply: Receipt | Refusal) -> None:
        if isinstance(reply, Refusal) or reply.replayed:
            return
        if reply.kind == "hold":
            self.held.append((envelope.organization, reply.operation))
        elif reply.kind == "charge":
            self.charged.append((envelope.organization, reply.operation))


async def send(ledger: Ledger, envelope: c.Envelope) -> Seen:
    """Send it, and note when and what came back."""
    sent = time.monotonic_ns()
    reply = await ledger.submit(envelope)
    answered = time.monotonic_ns()
    if isinstance(reply, Receipt):
        return Seen(sent, answered, envelope, receipt=reply)
    return Seen(sent, answered, envelope, refusal=reply)


def wander(channel: Channel, *, engine: Engine, url: str, organizations: list[str], allowance: int, seed: int,
           tasks: int, commands: int, plant: str = "") -> None:  # fmt: skip
    """Send random commands to random organizations; tell each with its times and its answer."""
    seen: list[Seen] = []
    left = commands

    async def task(ledger: Ledger, number: int) -> None:
        nonlocal left
        walk = Walk(f"{seed} {number}", organizations, commands)
        while left > 0:
            left -= 1
            try:
                each = await send(ledger, walk.next())
            except AssertionError:
                # The ledger's own guard against the planted fault; what it does not guard must be found.
                if not plant:
                    raise
                continue
            walk.answered(each.envelope, each.reply)
            seen.append(each)

    async def run() -> None:
        kind = PLANTS[engine, plant] if plant else None
        ledger = await open_ledger(engine, url, bench_with(allowance), kind=kind)
        channel.write({"ready": True})
        channel.read()
        await asyncio.gather(*(task(ledger, number) for number in range(tasks)))
        for start in range(0, len(seen), 500):
            tell_seen(channel, seen[start : start + 500])
        await ledger.close()

    asyncio.run(run())


def buy_when_told(channel: Channel, *, engine: Engine, url: str, organization: str, allowance: int,
                  plant: str = "") -> None:  # fmt: skip
    """For each line: charge one token, and tell what came of it."""

    async def run() -> None:
        kind = PLANTS[engine, plant] if plant else None
        ledger = await open_ledger(engine, url, bench_with(allowance), kind=kind)
        channel.write({"ready": True})
        loop = asyncio.get_running_loop()
        while (line := await loop.run_in_executor(None, channel.read)) is not None:
            reply = await ledger.submit(c.Envelope(organization, c.Charge(feature="op"), line["key"]))
            channel.write({"code": reply.code if isinstance(reply, Refusal) else None})
        await ledger.close()

    asyncio.run(run())


def open_once(channel: Channel, *, engine: Engine, url: str, organization: str) -> None:
    """Open the database when told, open an account, and go."""

    async def run() -> None:
        channel.write({"ready": True})
        channel.read()
        ledger = await open_ledger(engine, url, bench_with(1000))
        await ledger.submit(c.Envelope(organization, c.Open(), "0" * 32))
        await ledger.close()
        channel.write({"done": True})

    asyncio.run(run())
