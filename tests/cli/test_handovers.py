"""The commands about what came with purchases (R-SALE-1, R-SALE-4)."""

from tests.cli.conftest import Shell
from tests.support.selling_models import keys_in

SHOP = ("--catalog", "shop")


def test_a_key_that_came_is_shown_once_and_the_clocks_are_listed(shell: Shell) -> None:
    shell.done("org", "open", "acme", *SHOP)
    assert "Nothing was handed over yet" in shell.done("handovers", *SHOP)
    [code] = shell.json("codes", "create", "spring fair", "5000", *SHOP)["codes"]
    order = shell.json("codes", "redeem", "acme", code, *SHOP)
    first = shell.done("hand-over", "acme", order["id"], *SHOP)
    assert len(keys_in(first)) == 1
    assert "5,000 tokens delivered" in first
    assert "from openai import OpenAI" in first
    again = shell.done("hand-over", "acme", order["id"], *SHOP)
    assert keys_in(again) == set()
    assert "the one you have" in again
    listed = " ".join(shell.done("handovers", *SHOP).split())
    assert "paid to a key that works under 2 s 1 of 1" in listed
    assert order["id"] in listed
    [clock] = [one for one in shell.json("handovers", *SHOP)["clocks"] if one["clock"] == "paid_to_key"]
    assert (clock["count"], clock["within"]) == (1, 1)
