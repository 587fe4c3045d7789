"""What is particular to a till in this process, and to async code (R-PLAT-5, R-LED-3)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

import tokentill
from tokentill import client
from tokentill.client import AlreadyRan, Refused, Till, TimedOut, current_hold
from tokentill.settings import SettingsError

FEATURE = "suite_analyzer"


@pytest.fixture
async def till(tmp_path: Path) -> AsyncIterator[Till]:
    """`acme` on the plan starter of the preset `analysis`: 50 tokens, 1 for each use."""
    async with Till.embedded(tmp_path / "till.db", catalog="analysis") as opened:
        await opened.open("acme", plan="starter")
        yield opened


def test_the_public_names_are_the_clients() -> None:
    for name in set(tokentill.__all__) - {"__version__"}:
        assert getattr(tokentill, name) is getattr(client, name)
    with pytest.raises(AttributeError, match="no attribute"):
        _ = tokentill.no_such_name  # type: ignore[attr-defined]  # that is the point


async def test_it_is_awaited_or_entered(tmp_path: Path) -> None:
    """R-PLAT-5."""
    till = await Till.embedded(tmp_path / "till.db", catalog="analysis")
    await till.open("acme")
    await till.close()
    async with Till.embedded(tmp_path / "till.db", catalog="analysis") as again:
        assert list(await again.organizations()) == ["acme"]
        assert (await again.verify()).findings == ()


async def test_what_is_not_given_comes_from_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-PLAT-5."""
    monkeypatch.setenv("TOKENTILL_DATABASE", str(tmp_path / "till.db"))
    monkeypatch.setenv("TOKENTILL_CATALOG", "shop")
    monkeypatch.setenv("TOKENTILL_URL", "http://127.0.0.1:9")
    async with Till.embedded() as till:
        assert (await till.catalog()).name == "shop"
    async with Till.embedded(catalog="goals") as till:
        assert (await till.catalog()).name == "goals"


async def test_what_cannot_be_opened_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="There is no catalog"):
        await Till.embedded(tmp_path / "till.db", catalog="gaols")


async def test_a_spool_that_cannot_be_used_is_said_at_the_start(tmp_path: Path) -> None:
    """R-LED-4: not when it is needed."""
    (tmp_path / "spool").write_text("a file where the folder should be")
    with pytest.raises(SettingsError, match="spool"):
        await Till.embedded(tmp_path / "till.db", catalog="analysis", spool=tmp_path / "spool")


async def test_a_block_that_takes_too_long_is_cancelled_and_charged_nothing(till: Till) -> None:
    """R-LED-4."""
    with pytest.raises(TimedOut):
        async with till.hold("acme", FEATURE, timeout=0.001):
            await asyncio.Event().wait()
    assert (await till.balance("acme")).remaining == 50
    [line] = (await till.journal("acme", limit=1)).entries
    assert (line.kind, line.reason) == ("release", "timeout")


async def test_a_block_that_will_not_be_cancelled_is_charged_nothing_either(till: Till) -> None:
    """R-LED-4, readings: its success came too late; the loss is on the record."""

    async def stubborn() -> None:
        async with till.hold("acme", FEATURE, timeout=0.001):
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    with pytest.raises(TimedOut):
        await stubborn()
    assert (await till.balance("acme")).remaining == 50
    [line] = (await till.journal("acme", limit=1)).entries
    assert line.kind == "late"


async def test_a_timeout_of_the_blocks_own_is_a_failure(till: Till) -> None:
    """R-LED-4: what the block raises is what the caller sees."""
    with pytest.raises(TimeoutError) as raised:
        async with till.hold("acme", FEATURE):
            raise TimeoutError("the model's own")
    assert not isinstance(raised.value, TimedOut)
    assert (await till.balance("acme")).remaining == 50


async def test_a_block_whose_caller_goes_away_is_charged_nothing(till: Till) -> None:
    """R-LED-3."""
    begun = asyncio.Event()

    async def caller() -> None:
        async with till.hold("acme", FEATURE):
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(caller())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(30):
        while (await till.balance("acme")).reserved:  # noqa: ASYNC110 the account has no event
            await asyncio.sleep(0)
    assert (await till.balance("acme")).remaining == 50


async def test_closing_waits_for_open_blocks(tmp_path: Path) -> None:
    """R-LED-3: what was begun is settled before the database goes."""
    till = await Till.embedded(tmp_path / "till.db", catalog="analysis")
    await till.open("acme", plan="starter")
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def caller() -> str:
        async with till.hold("acme", FEATURE) as hold:
            begun.set()
            await go_on.wait()
        assert hold.outcome is not None
        return hold.outcome.state

    task = asyncio.create_task(caller())
    await begun.wait()
    closing = asyncio.create_task(till.close())
    await asyncio.sleep(0)
    go_on.set()
    await closing
    assert await task == "settled"


class TestCharged:
    """The decorator (R-LED-3)."""

    async def test_arguments_are_named_or_computed(self, till: Till) -> None:
        """R-LED-3."""

        @till.charged(
            FEATURE,
            organization="account",
            user=lambda account, request: request["user"] + account,
            idempotency_key=lambda account, request: f"{account} {request['id']}",
        )
        async def analyze(account: str, *, request: dict[str, str]) -> str:
            hold = current_hold()
            assert hold is not None
            return f"{account} {hold.tokens}"

        assert await analyze("acme", request={"user": "ann", "id": "1"}) == "acme 1"
        [line] = (await till.journal("acme", limit=1)).entries
        assert (line.kind, line.user_name) == ("charge", "annacme")
        with pytest.raises(AlreadyRan):
            await analyze("acme", request={"user": "ann", "id": "1"})

    async def test_defaults_count_as_arguments(self, till: Till) -> None:
        """R-LED-3."""

        @till.charged(FEATURE, organization="account")
        async def analyze(account: str = "acme") -> str:
            return account

        assert await analyze() == "acme"

    async def test_a_refusal_is_raised_and_nothing_runs(self, till: Till) -> None:
        """R-LED-3."""

        @till.charged(FEATURE, organization="account")
        async def analyze(account: str) -> str:
            pytest.fail(f"ran for {account}")

        with pytest.raises(Refused):
            await analyze("nobody")

    async def test_a_name_that_is_no_parameter_is_found_at_once(self, till: Till) -> None:
        with pytest.raises(TypeError, match=r"names no parameter of .+analyze, which has account"):

            @till.charged(FEATURE, organization="acount")
            async def analyze(account: str) -> str:
                return account

    async def test_a_function_without_async_is_for_the_other_face(self, till: Till) -> None:
        with pytest.raises(TypeError, match="SyncTill"):

            @till.charged(FEATURE, organization="account")  # type: ignore[arg-type]  # that is the point
            def analyze(account: str) -> str:
                return account
