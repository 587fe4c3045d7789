"""The command that compares the journal with what upstreams reported (R-SALE-5)."""

import asyncio

from tests.cli.conftest import Shell
from tokentill.rules import commands as c
from tokentill.rules.entry import ModelUse
from tokentill.settings import Settings
from tokentill.wiring import SystemIds, open_ledger


def charged(shell: Shell, used: int, counted: int) -> None:
    async def write() -> None:
        async with open_ledger(Settings(database=str(shell.folder / "till.db"))) as ledger:
            key = SystemIds().operation()
            await ledger.submit(
                c.Envelope("acme", c.Reserve(feature="generate_goal", user=f"user {used}"), key)
            )
            use = ModelUse(model="m", key="k1", upstream="u", counted="estimated", read=counted, cost=counted)
            await ledger.submit(c.Envelope("acme", c.Settle(hold=key, tokens=used, use=use)))

    asyncio.run(write())


def test_the_report_says_what_fits_and_ends_with_1_where_something_does_not(shell: Shell) -> None:
    shell.done("org", "open", "acme", "--plan", "pro")
    assert "No model call" in shell.done("reconcile")
    charged(shell, 3, 8)
    said = " ".join(shell.done("reconcile").split())
    assert "beyond hold" in said
    assert "1 estimated" in said
    assert "Every difference has a name." in said
    [line] = shell.json("reconcile", "--by", "model,organization")["lines"]
    assert (line["model"], line["organization"], line["charged"], line["beyond_hold"]) == ("m", "acme", 3, 5)
    charged(shell, 1, 2)
    ran = shell("reconcile")
    assert ran.code == 1
    assert "without a name" in ran.out
    assert shell("reconcile", "--by", "colour").code == 3
