"""Notices: who is told what, once, by real e-mail and real signed webhooks (R-PLAN-8, R-PACK-7, R-LIC-1)."""

import asyncio
import json
import re

import pytest

from tests.support.stores import ok
from tests.support.telling import Telling, plain
from tokentill.flows.notices import WAITS_MS
from tokentill.rules import commands as c
from tokentill.rules.notices import TYPES
from tokentill.rules.refusals import Code, Refusal


async def test_a_receipt_names_what_was_paid_and_the_balance_after(telling: Telling) -> None:  # R-PACK-7
    await telling.write_to()
    await telling.buy()
    [letter] = telling.office.letters
    assert (letter["Subject"], letter["To"], telling.office.to) == (
        "Receipt: 500 tokens", "ann@acme.test", ["ann@acme.test"],
    )  # fmt: skip
    text = plain(letter)
    assert "Paid: $29.00" in text
    assert "Balance: 700 tokens" in text
    html = letter.get_body(("html",))
    assert html is not None
    assert "$29.00" in html.get_content()
    assert letter.get_content_type() == "multipart/alternative"


async def test_a_low_balance_is_told_once_for_each_crossing(telling: Telling) -> None:  # R-PLAN-8
    await telling.write_to()
    for tokens in (159, 1, 1, 29, 1, 9):  # 200 → 41 → 40 → 39 → 10 → 9 → 0: crossings at 20 %, at 10, at 0
        await telling.spend(tokens)
    assert telling.office.subjects == [
        "Your tokens are running low", "Your tokens are running low", "You've used all your tokens",
    ]  # fmt: skip
    text = plain(telling.office.letters[0])
    assert "You have 40 tokens left." in text
    assert "Purchase more tokens or wait 31 days for reset." in text
    assert "https://shop.test/account/buy-credits" in text


async def test_payment_failed_and_recovered_are_told(telling: Telling) -> None:  # R-LIC-1, R-LIC-3
    await telling.write_to(quiet=("payment.failed", "payment.recovered"))
    await ok(telling.world.ledger, "acme", c.Freeze())
    await telling.world.follow()
    await ok(telling.world.ledger, "acme", c.Restore())
    await telling.world.follow()
    assert telling.office.subjects == ["Your payment failed"]  # it cannot be turned off, the other was
    assert "200 tokens are kept for you" in plain(telling.office.letters[0])


async def test_nobody_is_written_to_who_gave_no_address(telling: Telling) -> None:  # R-PLAN-8
    await telling.buy()
    assert (telling.office.letters, await telling.states()) == ([], [])


async def test_webhooks_are_signed_and_told_once(telling: Telling) -> None:  # R-PLAN-8
    _, secret = await telling.call()
    _, operators = await telling.call("", ("purchase.delivered",))
    await telling.buy()
    assert telling.types() == ["purchase.delivered"] * 2
    one, two = telling.hook.got
    telling.hook.got = [one]
    first = telling.hook.check(secret)
    telling.hook.got = [two]
    assert {first, telling.hook.check(operators)} in ({True}, {False})
    telling.hook.got = [one]
    assert telling.hook.check(secret) != telling.hook.check(operators)
    await telling.world.rows.keep_position("notices", "")  # read the journal again from its beginning
    telling.hook.got = []
    await telling.world.follow()
    assert "purchase.delivered" not in telling.types()


async def test_what_fails_is_tried_again_and_given_up_in_the_end(telling: Telling) -> None:  # R-PLAN-8
    await telling.call(events=("purchase.delivered",))
    telling.hook.status = 500
    await telling.buy()
    for wait in WAITS_MS:
        assert [state for _, state, _ in await telling.states()] == ["pending"]
        await telling.world.later(wait)
    assert await telling.states() == [("webhook", "dead", len(WAITS_MS) + 1)]
    assert len(telling.hook.got) == len(WAITS_MS) + 1
    assert len({headers["webhook-id"] for headers, _ in telling.hook.got}) == 1
    assert await telling.world.alerts() == ["undelivered_message"]
    [dead] = await telling.notices.messages("dead")
    telling.hook.status = 200
    await telling.notices.send_again(dead.organization, dead.id)
    await telling.world.follow()
    assert await telling.states() == [("webhook", "sent", 1)]


async def test_a_webhook_can_be_verified_whatever_its_organization_is_called(telling: Telling) -> None:
    """R-PLAN-8: the specification wants an id that no user controls and no full stop in it; a header is ASCII."""
    name = "müller.1.株 b"
    await telling.world.begin(name)
    _, secret = await telling.call(name, ("balance.exhausted",))
    await ok(telling.world.ledger, name, c.Adjust(tokens=-200, reason="spent", actor="test"))
    await telling.world.follow()
    [(headers, body)] = telling.hook.got
    assert re.fullmatch(r"msg_[0-9a-f]{32}", headers["webhook-id"])
    assert telling.hook.check(secret)
    assert json.loads(body)["organization"] == name


@pytest.mark.parametrize("status", [301, 302, 307, 404, 429, 500])
async def test_only_2xx_is_a_yes_and_no_redirect_is_followed(
    telling: Telling, status: int
) -> None:  # R-PLAN-8
    await telling.call(events=("purchase.delivered",))
    telling.hook.status = status
    await telling.buy()
    assert await telling.states() == [("webhook", "pending", 1)]
    assert len(telling.hook.got) == 1


async def test_an_endpoint_that_is_gone_is_switched_off(telling: Telling) -> None:  # R-PLAN-8
    await telling.call(events=("purchase.delivered",))
    telling.hook.status = 410
    await telling.buy()
    [endpoint] = await telling.notices.endpoints("acme")
    assert (endpoint.enabled, await telling.states()) == (False, [("webhook", "dead", 1)])


@pytest.mark.parametrize(
    ("answer", "state"),
    [("451 try later", "pending"), ("550 no such user here", "dead"), ("421 busy", "pending")],
)
async def test_a_receiver_that_the_mail_server_refuses(telling: Telling, answer: str, state: str) -> None:
    await telling.write_to()  # R-PACK-7
    telling.office.refused_to = answer
    await telling.buy()
    assert await telling.states() == [("mail", state, 1)]


@pytest.mark.parametrize(
    "email", ["", "ann", "ann@", "@x.test", "ann@x", "a b@x.test", "a@x.test\nBcc: b@x.test", "<a@x.test>"]
)
async def test_what_is_no_address_is_refused(telling: Telling, email: str) -> None:  # R-PACK-7
    refused = await telling.notices.set_contact("acme", email, "", ())
    assert isinstance(refused, Refusal)
    assert refused.detail == "email"


async def test_an_unknown_type_is_refused_with_those_there_are(telling: Telling) -> None:  # R-PLAN-8
    refused = await telling.notices.add_endpoint("acme", telling.hook.url, ("balance.high",))
    assert isinstance(refused, Refusal)
    assert all(kind in refused.message for kind in TYPES)


async def test_the_secret_of_an_endpoint_is_not_kept_in_plain_text(telling: Telling) -> None:  # R-SALE-8
    endpoint, secret = await telling.call()
    assert secret not in endpoint.secret
    assert secret.removeprefix("whsec_") not in endpoint.secret


async def test_a_receipt_counts_what_came_on_top(telling: Telling) -> None:  # R-PACK-7, R-PACK-8
    world = telling.world
    await telling.write_to()
    ordered = await world.place(world.order("acme", bonus=50, title="500 tokens\r\nBcc: eve@evil.test"))
    await world.tell(*world.provider.pay(ordered.checkout or ""))
    await world.follow()
    [letter] = telling.office.letters
    assert (letter["Subject"], letter["Bcc"]) == ("Receipt: 500 tokens Bcc: eve@evil.test", None)
    assert await world.balance("acme") == 750
    assert "Balance: 750 tokens" in plain(letter)


async def test_many_at_once_get_the_one_secret_of_an_endpoint(telling: Telling) -> None:  # R-LED-9
    """Each is told the secret that its webhooks are signed with, whoever was first."""
    made = await asyncio.gather(
        *(telling.notices.add_endpoint("acme", telling.hook.url, (), "same key") for _ in range(10))
    )
    secrets_told = {one[1] for one in made if not isinstance(one, Refusal)}
    assert len(secrets_told) == 1
    again = await telling.notices.add_endpoint("acme", telling.hook.url, (), "same key")
    assert not isinstance(again, Refusal)
    assert {again[1]} == secrets_told
    other = await telling.notices.add_endpoint("acme", telling.hook.url, ("balance.low",), "same key")
    assert isinstance(other, Refusal)
    assert other.code == Code.KEY_REUSED
