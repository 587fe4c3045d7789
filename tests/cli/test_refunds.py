"""Refunds on the command line, from the reasons that the till sees to what operators decide (R-REF-4, R-REF-5, R-REF-6).

Over HTTP, so that the client of `Till.connect` and the routes are gone through too.
"""

import re
from typing import Any

import pytest

from tests.cli.conftest import Shell
from tests.cli.test_selling import pay
from tests.cli.test_serve import over_http

__all__ = ["over_http"]


@pytest.fixture
def acme(over_http: Shell) -> Shell:
    over_http.done("org", "open", "acme", "--plan", "pro")
    return over_http


def bought(shell: Shell, *words: str) -> str:
    """The id of a pack of 500 tokens that was paid."""
    order = shell.json("buy", "acme", "token_pack_500", *words)
    if order["state"] != "delivered":
        pay(order["url"])
    return str(order["id"])


def quoted(shell: Shell, purchase: str, *words: str) -> Any:
    return shell.json("refunds", "quote", "acme", purchase, *words)


def test_what_a_customer_asks_and_an_operator_decides(acme: Shell) -> None:
    purchase = bought(acme, "--save-method")
    said = acme.done("refunds", "reasons", "acme", purchase)
    assert said.splitlines() == [
        "unused: 0 of 500 tokens were used.", "first_time: It was the first purchase."
    ]  # fmt: skip
    shown = acme.done("refunds", "quote", "acme", purchase, "--reason", "quality")
    assert shown.index("cash: Get $15.95") < shown.index("upgrade token_pack_2000")
    assert re.search(r": quoted, holds until 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC$", shown.rstrip())
    one = quoted(acme, purchase)
    assert (one["options"][0]["choice"], one["amount"], one["held"], one["left"]) == ("cash", 1450, 0, 500)
    assert "settled" in acme.done("refunds", "accept", "acme", one["id"])
    assert acme.json("refunds", "show", "acme", one["id"])["money"] == 1450
    assert acme.json("balance", "acme")["remaining"] == 200

    again = bought(acme, "--one-click")
    two = quoted(acme, again, "--reason", "technical", "--text", "it failed")
    assert "waiting" in acme.done("refunds", "accept", "acme", two["id"])
    seen = acme.done("refunds", "queue")
    assert f"{two['id']}: needs operator. The guarantee was used before by this customer" in seen
    assert "“it failed”" in seen
    assert "withdrawn" in acme.done("refunds", "withdraw", "acme", two["id"])
    assert "none" in acme.done("refunds", "queue")

    def waiting(choice: str = "cash") -> str:
        row = quoted(acme, again, "--reason", "technical")
        acme.done("refunds", "accept", "acme", row["id"], choice)
        return str(row["id"])

    three = waiting()
    assert acme("refunds", "approve", "acme", three).code == 2, "a decision needs a reason"
    assert "denied" in acme.done("refunds", "deny", "acme", three, "--reason", "used up")
    adjusted = acme.done("refunds", "adjust", "acme", waiting(), "500", "--reason", "a gesture")
    assert "settled, $5.00" in adjusted
    assert "settled" in acme.done("refunds", "approve", "acme", waiting(), "--reason", "the rest")
    page = acme.json("refunds", "list", "acme", "--limit", "2")
    older = acme.json("refunds", "list", "acme", "--before", page["next"])["refunds"]
    assert {row["id"] for row in page["refunds"]} & {row["id"] for row in older} == set()
    assert len(page["refunds"]) + len(older) == 6
    assert "token_pack_500" in acme.done("refunds", "report")


def test_a_larger_pack_is_paid_by_a_saved_method_and_credit(acme: Shell) -> None:
    first = quoted(acme, bought(acme, "--save-method"))
    assert "$17.40 as credit" in acme.done("refunds", "accept", "acme", first["id"], "credit")
    second = quoted(acme, bought(acme))
    [method] = acme.json("payment-methods", "acme")
    upgrade = ("upgrade", "--item", "token_pack_2000", "--payer", method["id"], "--use-credit")
    done = acme.json("refunds", "accept", "acme", second["id"], *upgrade)
    paid = acme.json("purchase", "acme", done["upgrade"])
    assert (done["state"], paid["amount"], paid["credit_used"]) == ("settled", 5_000 - 1_740, 1_740)
    assert acme.json("balance", "acme")["remaining"] == 2_200
