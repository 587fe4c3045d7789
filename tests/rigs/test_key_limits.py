"""Key limits: 60 calls at once on a key that may make 10, and exactly 10 are made (R-SALE-8, R-LED-3).

On either engine, from one process and from two ledgers on one database; charges at once, holds that are settled, and
holds that come to nothing and make room for others. Invariant 8 of the design.
"""

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.rig_plants import ChecksThenDeducts
from tests.support.rig_store import ENGINES, Engine, audit, bench_with, open_ledger
from tokentill.ports import Ledger
from tokentill.rules import commands as c
from tokentill.rules.purses import purse
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Code, Refusal

ACME = "acme"
CALLS = 60
MOST = 10
TOKENS = 1_000


@pytest.fixture(params=ENGINES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Engine, str]:
    engine: Engine = request.param
    return engine, request.getfixturevalue("postgres_url") if engine == "postgres" else str(
        tmp_path / "till.db"
    )


async def ledgers(place: tuple[Engine, str], count: int, kind: Any = None) -> list[Ledger]:
    """Ledgers that have each seen the account as it begins."""
    made = [await open_ledger(*place, bench_with(TOKENS), kind=kind) for _ in range(count)]
    await made[0].submit(c.Envelope(ACME, c.Open(), "0" * 32, keyed=True))
    for ledger in made:
        await ledger.submit(c.Envelope(ACME, c.Release(hold="e" * 32)))
    return made


async def counted(ledger: Ledger) -> tuple[int, int, int]:
    """What the key has spent, what it holds, and what the organization has left; audited."""
    books = await audit(ledger)
    account = await ledger.account(ACME)
    assert account is not None
    now = purse(account, "k1")
    assert books[ACME].purses == account.state.purses
    return now.spent, now.held, account.free


def outcome(reply: Receipt | Refusal) -> str:
    return reply.kind if isinstance(reply, Receipt) else str(reply.code)


def key(number: int) -> str:
    return f"{number + 1:032x}"


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("way", ["charge", "reserve"])
async def test_a_key_of_ten_calls(place: tuple[Engine, str], processes: int, way: str) -> None:
    await call_at_once(await ledgers(place, processes), way)


@pytest.mark.parametrize("way", ["charge", "reserve"])
async def test_deciding_on_what_was_there_is_caught(way: str, tmp_path: Path) -> None:
    """The planted fault does not ask what another process has stored, and writes what it decided all the same."""
    tills = await ledgers(("sqlite", str(tmp_path / "till.db")), 2, ChecksThenDeducts)
    with pytest.raises(AssertionError):
        await call_at_once(tills, way)
    for till in tills:
        await till.close()


async def call_at_once(tills: list[Ledger], way: str) -> None:
    use: c.Command = c.Charge(feature="op", purse="k1", purse_max=MOST)
    if way == "reserve":
        use = c.Reserve(feature="op", timeout_ms=60_000, purse="k1", purse_max=MOST)

    async def ask(number: int) -> Receipt | Refusal:
        return await tills[number % len(tills)].submit(c.Envelope(ACME, use, key(number), keyed=True))

    replies = await asyncio.gather(*map(ask, range(CALLS)))
    seen = Counter(map(outcome, replies))
    if way == "charge":
        assert seen == {"charge": MOST, "key_limit": CALLS - MOST}
    else:
        assert seen == {"hold": MOST, "tokens_held": CALLS - MOST}  # they may come to nothing yet
        holds = [reply.operation for reply in replies if isinstance(reply, Receipt)]
        assert await counted(tills[-1]) == (0, MOST, TOKENS - MOST)
        await asyncio.gather(*(tills[0].submit(c.Envelope(ACME, c.Settle(hold=hold))) for hold in holds))
        last = await tills[-1].submit(c.Envelope(ACME, use, "f" * 32))
        assert outcome(last) == Code.KEY_LIMIT
    assert await counted(tills[0]) == (MOST, 0, TOKENS - MOST)
    for till in tills:
        await till.close()


async def test_what_comes_back_is_used_again_and_no_more(place: tuple[Engine, str], run_seed: int) -> None:
    """Each call holds up to 3, uses some of it or nothing, and some are refunded; all 10 are used in the end."""
    tills = await ledgers(place, 2)

    async def call(number: int) -> None:
        till, dice = tills[number % 2], random.Random(f"{run_seed} {number}")
        quantity = dice.randrange(1, 4)
        use = c.Reserve(feature="op", quantity=quantity, timeout_ms=60_000, purse="k1", purse_max=MOST)
        if isinstance(await till.submit(c.Envelope(ACME, use, key(number))), Refusal):
            return
        account = await till.account(ACME)
        assert account is not None
        now = purse(account, "k1")
        assert now.spent + now.held <= MOST
        roll = dice.randrange(4)
        end: c.Command = c.Settle(hold=key(number), tokens=dice.randrange(quantity + 1))
        await till.submit(c.Envelope(ACME, c.Release(hold=key(number)) if roll == 0 else end))
        if roll == 1:
            await till.submit(c.Envelope(ACME, c.Refund(operation=key(number))))

    await asyncio.gather(*map(call, range(CALLS)))
    spent, held, free = await counted(tills[0])
    assert (held, free) == (0, TOKENS - spent)
    assert 0 <= spent <= MOST
    rest = c.Charge(feature="op", purse="k1", purse_max=MOST)
    answers = [
        await tills[1].submit(c.Envelope(ACME, rest, key(CALLS + number))) for number in range(MOST + 1)
    ]
    assert Counter(map(outcome, answers))["charge"] == MOST - spent
    assert await counted(tills[1]) == (MOST, 0, TOKENS - MOST)
    for till in tills:
        await till.close()
