"""What is particular to the face without async (R-LED-3)."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.conftest import public_coroutines
from tokentill.client import AlreadyRan, Refused, SyncHold, SyncTill, Till, TimedOut, current_hold

FEATURE = "suite_analyzer"


@pytest.fixture
def till(tmp_path: Path) -> Iterator[SyncTill]:
    """`acme` on the plan starter of the preset `analysis`: 50 tokens, 1 for each use."""
    with SyncTill.embedded(tmp_path / "till.db", catalog="analysis") as opened:
        opened.open("acme", plan="starter")
        yield opened


def test_it_has_every_method_of_the_till() -> None:
    """So that neither face is forgotten."""
    made_by_hand = {"charge", "close"}
    for name in public_coroutines(Till):
        method = getattr(SyncTill, name)
        assert not inspect.iscoroutinefunction(method), name
        assert name in made_by_hand or method.__wrapped__ is getattr(Till, name), name
    assert SyncTill.hold.__wrapped__ is Till.hold  # type: ignore[attr-defined]  # functools.wraps set it
    assert SyncTill.consume.__doc__ == Till.consume.__doc__


def test_many_threads_share_one(till: SyncTill) -> None:
    """R-LED-3: no token is spent twice."""
    refused: list[Refused] = []

    def use(number: int) -> None:
        for _ in range(4):
            try:
                with till.hold("acme", FEATURE, user=f"u{number}"):
                    pass
            except Refused as error:
                refused.append(error)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    now = till.balance("acme")
    assert (now.used, now.remaining, now.reserved) == (50, 0, 0)
    assert len(refused) == 14


def test_a_block_that_ends_too_late_is_charged_nothing(till: SyncTill) -> None:
    """R-LED-4: it cannot be interrupted, so it is told at its end; the loss is on the record."""
    with pytest.raises(TimedOut), till.hold("acme", FEATURE, timeout=0.001):
        threading.Event().wait(0.01)
    assert till.balance("acme").remaining == 50
    [line] = till.journal("acme", limit=1).entries
    assert (line.kind, line.details["lost"]) == ("late", 1)


def test_a_block_may_ask_for_more_time(till: SyncTill) -> None:
    """R-LED-3."""
    with till.hold("acme", FEATURE, timeout=5) as hold:
        before = hold.deadline
        assert hold.extend(60)
        assert before is not None
        assert hold.deadline is not None
        assert hold.deadline > before + 50_000
    assert hold.outcome is not None
    assert hold.outcome.state == "settled"


def test_the_hold_is_known_inside(till: SyncTill) -> None:
    """R-LED-3: deep inside, where the hold was not handed down."""
    assert current_hold() is None
    with till.hold("acme", FEATURE) as hold:
        inside = current_hold()
        assert inside is not None
        assert inside.id == hold.id
        inside.charge(tokens=0)
    assert current_hold() is None
    assert hold.outcome is not None
    assert hold.outcome.tokens == 0

    def operation(hold: SyncHold) -> str:
        inside = current_hold()
        assert inside is not None
        return f"{inside.id == hold.id}"

    assert till.charge("acme", FEATURE, operation).result == "True"


def test_an_operation_that_raises_is_charged_nothing(till: SyncTill) -> None:
    """R-LED-4: in its own thread, raised in the caller's."""

    def fails(_hold: SyncHold) -> str:
        raise KeyError("no model")

    with pytest.raises(KeyError, match="no model"):
        till.charge("acme", FEATURE, fails)
    assert till.balance("acme").remaining == 50


def test_an_async_operation_is_charged_nothing(till: SyncTill) -> None:
    """R-LED-3: it would never run."""

    async def operation(_hold: SyncHold) -> str:
        raise AssertionError("it must not run")

    with pytest.raises(TypeError, match=r"is async; give it to a Till\. Nothing was charged"):
        till.charge("acme", FEATURE, operation)
    assert till.balance("acme").remaining == 50


class TestCharged:
    """The decorator for functions without async (R-LED-3)."""

    def test_every_call_is_charged(self, till: SyncTill) -> None:
        """R-LED-3."""

        @till.charged(FEATURE, organization="account", user=lambda account, text: f"{account} {text}")
        def analyze(account: str, text: str) -> str:
            """Analyze."""
            return text.upper()

        assert analyze("acme", text="hello") == "HELLO"
        assert analyze.__doc__ == "Analyze."
        [line, *_] = till.journal("acme", limit=1).entries
        assert (line.kind, line.user_name) == ("charge", "acme hello")

    def test_a_key_holds_for_every_function_that_is_decorated(self, till: SyncTill) -> None:
        """R-LED-9."""
        charged = till.charged(FEATURE, organization="account", idempotency_key="key")

        def analyze(account: str, key: str) -> str:
            return f"{account} {key}"

        first, second = charged(analyze), charged(analyze)
        assert (first("acme", "k1"), second("acme", "k2")) == ("acme k1", "acme k2")
        for again, key in ((first, "k1"), (second, "k2")):
            with pytest.raises(AlreadyRan):
                again("acme", key)
        assert till.balance("acme").remaining == 48

    def test_an_async_function_is_none_of_its_own(self, till: SyncTill) -> None:
        with pytest.raises(TypeError, match="async"):

            @till.charged(FEATURE, organization="account")
            async def analyze(account: str) -> str:
                return account


def test_it_is_not_used_on_its_own_loop(till: SyncTill) -> None:
    """It would wait for itself."""

    async def asks() -> None:
        till.balance("acme")

    with pytest.raises(RuntimeError, match="use Till there"):
        till.background.run(asks())


def test_what_cannot_be_opened_leaves_no_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    (tmp_path / "till.db").mkdir()
    with pytest.raises(Exception, match="till"):
        SyncTill.embedded(tmp_path / "till.db", secret="0123456789abcdef" * 4)
    assert threading.active_count() <= before + 1, "the loop's thread has ended"


def test_closing_twice_is_closing(tmp_path: Path) -> None:
    till = SyncTill.embedded(tmp_path / "till.db", catalog="analysis")
    till.close()
    till.close()
    with pytest.raises(RuntimeError, match="closed"):
        till.balance("acme")
