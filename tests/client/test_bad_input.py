"""What a careless program passes is refused in each face of the till, and nothing of it stands in the journal.

The journal is never changed: what was stored once of a lot in an unknown unit could not be read again.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.client.conftest import World, world_of
from tokentill.client import Hold, Refused
from tokentill.rules.refusals import Code

# R-LED-9, R-LED-10

Call = Callable[[Any], Awaitable[object]]
NAMES = ["", ".", "..", " acme", "acme\n", "a\0b", "x" * 129, "e\u0301"]
ODD: dict[str, Call] = {
    "a fraction": lambda till: till.grant("acme", 1.5),
    "a whole fraction": lambda till: till.grant("acme", 1.0),
    "a text": lambda till: till.grant("acme", "5"),
    "a truth": lambda till: till.grant("acme", True),
    "nothing": lambda till: till.grant("acme", None),
    "no number": lambda till: till.grant("acme", float("nan")),
    "a huge number": lambda till: till.grant("acme", 10**30),
    "an Arabic digit": lambda till: till.grant("acme", "٣"),
    "an unknown unit": lambda till: till.grant("acme", 5, unit="euro"),
    "an unknown origin": lambda till: till.grant("acme", 5, origin="gift"),
    "an unknown moment": lambda till: till.plan("acme", "enterprise", when="soon"),
    "a user that is no text": lambda till: till.consume("acme", "generate_goal", user=5),
    "a feature that is no text": lambda till: till.consume("acme", 5, user="ann"),
    "a reason that is no text": lambda till: till.adjust("acme", 5, 7),
    "a long reason": lambda till: till.adjust("acme", 5, "r" * 201),
    "a reason with a null": lambda till: till.adjust("acme", 5, "r\0"),
    "a long reference": lambda till: till.grant("acme", 5, reference="r" * 201),
    "a page of nothing": lambda till: till.journal("acme", limit=0),
    "a page of everything": lambda till: till.journal("acme", limit=501),
    "half a page": lambda till: till.journal("acme", limit=1.5),
    "no mark of a page": lambda till: till.journal("acme", before="zzz"),
    "a list of nothing": lambda till: till.organizations(limit=0),
    "a check of a fraction": lambda till: till.check("acme", "generate_goal", quantity=1.5),
    "a key named in two lines": lambda till: till.create_key("a\nb"),
}


def opening(name: str) -> Call:
    return lambda till: till.open(name)


def using(user: str) -> Call:
    return lambda till: till.consume("acme", "generate_goal", user=user)


async def kinds(world: World) -> list[str]:
    """What stands in the journal, without the failed attempts of users, which do over HTTP."""
    return [kind for kind in await world.kinds() if kind not in ("refused", "block")]


async def refused(world: World, call: Call) -> None:
    before = await kinds(world)
    with pytest.raises(Refused) as caught:
        await call(world.till)
    assert caught.value.code is Code.INVALID
    assert caught.value.refusal.detail
    assert await kinds(world) == before


async def test_what_is_no_command(world: World) -> None:
    for call in ODD.values():
        await refused(world, call)
    assert await world.remaining() == 200


async def test_what_is_no_name(world: World) -> None:
    for name in NAMES:
        await refused(world, opening(name))
        await refused(world, using(name))
    assert list(await world.till.organizations()) == ["acme"]


async def test_what_is_no_text_at_all(world: World) -> None:
    """Half a character, as a text has that was cut in the middle of an emoji."""
    for call in (
        lambda till: till.open("\ud800"),
        lambda till: till.consume("acme", "generate_goal", user="\ud800"),
        lambda till: till.consume("\ud800", "generate_goal", user="ann"),
        lambda till: till.adjust("acme", 5, "\ud800"),
    ):
        await refused(world, call)


@pytest.mark.parametrize("amount", [-1, 1.5, 1.0, True, "2", None])
async def test_an_operation_that_names_no_amount_is_charged_nothing(tmp_path: Path, amount: Any) -> None:
    # R-LED-3: it fails inside the block, where its author sees it, and not as a charge that is dropped later
    async with world_of("embedded", str(tmp_path / "till.db"), tmp_path / "spool") as world:
        with pytest.raises(ValueError, match="whole number"):
            async with world.till.hold("acme", "generate_goal", user="ann") as hold:
                hold.charge(tokens=amount)
        assert (await world.kinds(), await world.remaining()) == (["hold", "release"], 200)


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), 10**400, "30", True])
async def test_what_is_no_time(world: World, seconds: Any) -> None:
    async def run(_hold: Hold) -> None:
        raise AssertionError("it must not run")

    till = world.till
    for call in (
        lambda: till.charge("acme", "generate_goal", run, timeout=seconds),
        lambda: till.reserve("acme", "generate_goal", timeout=seconds),
        lambda: till.extend("acme", "0" * 32, seconds),
    ):
        with pytest.raises(ValueError, match="a time must be a number of seconds such as 30"):
            await call()
    assert await world.remaining() == 200


async def test_an_idempotency_key_that_is_no_text(world: World) -> None:
    key: Any = 5
    with pytest.raises(ValueError, match="an idempotency key must be a text"):
        await world.till.grant("acme", 5, idempotency_key=key)


async def test_an_operation_that_is_not_async_is_charged_nothing(tmp_path: Path) -> None:
    operation: Any = str
    async with world_of("embedded", str(tmp_path / "till.db"), tmp_path / "spool") as world:
        with pytest.raises(TypeError, match=r"is not async; give it to a SyncTill\. Nothing was charged"):
            await world.till.charge("acme", "generate_goal", operation)
        assert await world.remaining() == 200
