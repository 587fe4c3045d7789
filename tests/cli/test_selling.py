"""The commands about selling, on a real database and over HTTP."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Queue
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest

from tests.cli.conftest import Shell
from tests.cli.test_serve import over_http
from tests.support.stripe import T0, Watch
from tokentill.lab.stripe import StripeLab, serving

CARD = "4242424242424242"
__all__ = ["over_http"]


@contextmanager
def served_lab(lab: StripeLab) -> Iterator[str]:
    """The lab on a loop of its own, because a command runs one too; its address."""
    begun: Queue[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = Queue()

    async def run() -> None:
        async with serving(lab) as base:
            stop = asyncio.Event()
            begun.put((base, asyncio.get_running_loop(), stop))
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    base, loop, stop = begun.get(timeout=30)
    yield base
    loop.call_soon_threadsafe(stop.set)
    thread.join(30)


def pay(url: str) -> None:
    """Pay on the test page, as a browser does."""
    form = urlencode({"do": "pay", "card": CARD}).encode()
    with urlopen(Request(url, form)) as page:
        assert page.status == 200


@pytest.fixture
def acme(over_http: Shell) -> Shell:
    over_http.done("org", "open", "acme", "--plan", "pro")
    return over_http


def test_from_packs_to_tokens(acme: Shell) -> None:
    """R-PACK-1, R-PACK-2, R-PACK-7."""
    shown = acme.done("packs", "acme", "--missing", "300")
    assert "→" in shown
    assert "$0.058" in shown
    assert "needs 300 tokens more than you have" in shown
    order = acme.json("buy", "acme", "token_pack_500", "--save-method", "--idempotency-key", "one")
    pay(order["url"])
    assert "delivered" in acme.done("purchase", "acme", order["id"])
    assert acme.json("purchase", "acme", order["id"], "--look")["state"] == "delivered"
    [method] = acme.json("payment-methods", "acme")
    assert method["id"] in acme.done("payment-methods", "acme")
    assert "delivered" in acme.done("buy", "acme", "token_pack_500", "--one-click")
    assert acme.json("balance", "acme")["remaining"] == 1200
    assert acme.done("purchases", "acme").count("token") >= 2
    refused = acme("buy", "acme", "token_pack_500")
    assert (refused.code, "pack_limit" in refused.err) == (3, True)
    acme.done("topup", "acme", "--pack", "token_pack_500", "--threshold", "50", "--ceiling", "5000")
    shown = acme.done("topup", "acme")
    assert "$50.00 a month" in shown
    assert "pays first" in shown
    figures = ("--pack", "token_pack_500", "--threshold", "50", "--ceiling", "5000")
    assert "is kept for other purchases" in acme.done("topup", "acme", *figures, "--keep-credit")
    assert "off" in acme.done("topup", "acme", "--off")
    acme.done("payment-methods", "acme", "--forget", method["id"])
    assert "No payment method" in acme.done("payment-methods", "acme")


def test_a_year_of_a_subscription_in_a_moment(acme: Shell) -> None:
    """R-PLAN-4, R-PLAT-1."""
    acme.done("org", "open", "sim", "--plan", "starter", "--simulated")
    order = acme.json("subscribe", "sim", "pro")["purchase"]
    pay(order["url"])
    assert "active" in acme.done("subscription", "sim")
    with urlopen(acme.done("portal", "sim", "https://shop.example").strip()) as portal:
        assert b"Test portal" in portal.read()
    assert "12 invoices on the way" in acme.done("clock", "sim", "--by", "370")
    assert acme.json("subscribe", "sim", "enterprise")["subscription"]["plan"] == "enterprise"
    assert acme.json("subscription", "sim", "--cancel")["ends_at"] is not None
    assert "then" in acme.done("subscription", "sim")
    acme.done("clock", "sim", "--by", "370")
    over = acme.done("subscription", "sim")
    assert ("cancelled" in over, "nobody" in over, "next invoice" in over) == (True, True, False)
    assert acme("clock", "acme", "--to", "2030-01-01").code == 3


def test_an_open_checkout_is_left(shell: Shell) -> None:
    """R-PACK-4: on the database itself; the page is where `serve` is."""
    shell.done("org", "open", "acme", "--plan", "pro")
    assert "Nothing was ordered" in shell.done("purchases", "acme")
    said = shell.done("buy", "acme", "token_pack_500", "--email", "ann@acme.example")
    assert "Pay at http://127.0.0.1:8420/checkout/" in said
    [one] = shell.json("purchases", "acme")["purchases"]
    assert "abandoned" in shell.done("purchase", "acme", one["id"], "--cancel")
    assert shell("purchase", "acme", one["id"], "--pay").code == 3
    assert shell("portal", "acme", "https://shop.example").code == 3


@pytest.mark.parametrize(
    "words",
    [
        ("buy", "acme"),
        ("buy", "acme", "token_pack_500", "--plan", "pro"),
        ("purchase", "acme", "x", "--look", "--cancel"),
        ("topup", "acme", "--pack", "token_pack_500"),
        ("topup", "acme", "--pack", "token_pack_500", "--off"),
        ("topup", "acme", "--keep-credit"),
        ("clock", "acme"),
        ("clock", "acme", "--to", "2030-01-01", "--by", "3"),
        ("switch", "packs"),
        ("switch", "packs", "--off"),
        ("contact", "acme", "ann@acme.example", "--forget"),
    ],
)
def test_what_contradicts_itself_is_refused(shell: Shell, words: tuple[str, ...]) -> None:
    assert shell(*words).code == 2


def test_the_office(shell: Shell) -> None:
    """R-PACK-8, R-PACK-9, R-PLAN-8."""
    shell.done("org", "open", "acme", "--plan", "pro")
    codes = shell.done("codes", "create", "fair", "40", "--count", "2").split()
    assert "delivered" in shell.done("codes", "redeem", "acme", codes[0])
    assert "used by acme" in shell.done("codes", "list", "fair")
    free = next(one for one in shell.json("codes", "list")["codes"] if one["used_at"] is None)
    assert "Withdrew" in shell.done("codes", "revoke", free["id"])
    assert "Make some" in shell.done("codes", "list", "nothing")
    shell.done("switch", "packs", "--off", "--reason", "a wrong price")
    assert "a wrong price" in shell.done("switch")
    assert shell("buy", "acme", "token_pack_500").code == 3
    assert "nothing to look at" in shell.done("alerts")
    assert shell("alerts", "--seen", "none").code == 3
    assert "Nobody" in shell.done("contact", "acme")
    set_to = shell.done("contact", "acme", "ann@acme.example", "--quiet", "balance.low")
    assert set_to.strip() == "ann@acme.example balance.low"
    assert "Nobody" in shell.done("contact", "acme", "--forget")
    assert "No address" in shell.done("webhooks", "list")
    made = shell.json("webhooks", "add", "https://hooks.example.com/in", "--event", "balance.low")
    assert "balance.low" in shell.done("webhooks", "list")
    assert "whsec_" in shell.done("webhooks", "add", "https://h.example.com/", "--organization", "acme")
    assert "Removed" in shell.done("webhooks", "remove", made["id"])
    assert shell("webhooks", "remove", made["id"]).code == 1
    assert "No message is dead" in shell.done("messages")
    assert shell("messages", "--send", "none").code == 3
    assert "No event is waiting" in shell.done("events", "--state", "waiting")
    assert shell("events", "--retry", "none").code == 3


def test_prices_at_stripe(shell: Shell) -> None:
    """R-PACK-2: made once, and found again."""
    assert shell("stripe", "sync-prices").code == 5
    lab = StripeLab(Watch(T0))
    with served_lab(lab) as base:
        shell.environment |= {"TOKENTILL_STRIPE_KEY": lab.key, "TOKENTILL_STRIPE_API_BASE": base}
        first = shell.json("stripe", "sync-prices")
        assert {(one["item"], one["made"]) for one in first} >= {("token_pack_500", True), ("pro", True)}
        assert "there" in shell.done("stripe", "sync-prices")
    assert shell("stripe", "sync-prices").code == 4


def test_who_gives_up_the_right_of_withdrawal_says_so_and_sees_it(acme: Shell) -> None:
    """R-REF-1: nothing of it unless it was said."""
    assert "right of withdrawal" not in acme.done("buy", "acme", "token_pack_500")
    assert "The right of withdrawal was given up at " in acme.done(
        "buy", "acme", "token_pack_500", "--waive-withdrawal"
    )
