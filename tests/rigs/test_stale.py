"""A top-up is seen at once by every process: none is refused for tokens that are there (R-PLAT-5, R-PLAN-7)."""

from pathlib import Path

import pytest

from tests.support import rig_crowd as crowd
from tests.support.rig_processes import Processes
from tests.support.rig_store import ENGINES, Engine, bench_with, open_ledger
from tokentill.rules import commands as c
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Code

ACME = "acme"
ROUNDS = 100


async def top_up_and_buy(processes: Processes, engine: Engine, url: str, plant: str = "") -> list[str | None]:
    """What the other process was answered, before and after each top-up here."""
    ledger = await open_ledger(engine, url, bench_with(1))
    await ledger.submit(c.Envelope(ACME, c.Open(), "0" * 32))
    child = processes.start(
        crowd.buy_when_told, engine=engine, url=url, organization=ACME, allowance=1, plant=plant
    )
    assert child.channel.read() == {"ready": True}, processes.errors()
    answers = []

    def buy(number: int) -> str | None:
        child.channel.write({"key": f"{number:032x}"})
        line = child.channel.read()
        assert line is not None, processes.errors()
        code: str | None = line["code"]
        return code

    answers.append(buy(1))
    for number in range(ROUNDS):
        answers.append(buy(3 * number + 2))
        given = await ledger.submit(c.Envelope(ACME, c.Grant(tokens=1), f"{3 * number + 3:032x}"))
        assert isinstance(given, Receipt)
        answers.append(buy(3 * number + 4))
    child.channel.socket.shutdown(1)
    child.wait()
    child.close()
    await ledger.close()
    return answers


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_top_up_elsewhere_is_seen_at_once(
    engine: Engine, processes: Processes, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("postgres_url") if engine == "postgres" else str(tmp_path / "till.db")
    answers = await top_up_and_buy(processes, engine, url)
    assert answers == [None, *[Code.EXHAUSTED, None] * ROUNDS]


@pytest.mark.parametrize("engine", ENGINES)
async def test_not_looking_is_caught(
    engine: Engine, processes: Processes, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The planted fault decides on what it remembers."""
    url = request.getfixturevalue("postgres_url") if engine == "postgres" else str(tmp_path / "till.db")
    answers = await top_up_and_buy(processes, engine, url, "believes itself")
    assert answers != [None, *[Code.EXHAUSTED, None] * ROUNDS]
