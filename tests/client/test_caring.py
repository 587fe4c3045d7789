"""Customers' questions and what they say, through each face of the till (R-PACK-7)."""

import pytest

from tests.client.conftest import World
from tokentill.client import Refused


async def test_the_difference_between_the_tokens_is_explained(world: World) -> None:  # R-PACK-7
    found = await world.till.faq("acme")
    assert "200 tokens in each period" in found.monthly
    assert found.faq[1].answer == found.additional


async def test_what_is_switched_off_is_offered_nowhere(world: World) -> None:  # R-PACK-9, R-PLAN-7, R-PLAN-8
    till = world.till
    await till.adjust("acme", -195, reason="for the test")
    for switch in ("packs", "plans"):
        await till.switch(switch, on=False, reason="for the test")
    with pytest.raises(Refused) as raised:
        await till.consume("acme", "generate_goal", user="u1", quantity=2)
    assert [way.kind for way in raised.value.refusal.ways_out] == ["wait"]
    checked = await till.check("acme", "generate_goal", user="u2", quantity=2)
    assert checked.refusal is not None
    assert [way.kind for way in checked.refusal.ways_out] == ["wait"]
    notice = (await till.balance("acme")).notice
    assert notice is not None
    assert (notice.link, notice.recommended) == (None, None)


async def test_what_customers_say_is_counted(world: World) -> None:  # R-FIN-4
    till = world.till
    kept = await till.rate("acme", 5, "Good.", idempotency_key="one")
    assert await till.rate("acme", 5, "Good.", idempotency_key="one") == kept
    await till.ticket("acme", "tokens", "Where are they?")
    [month] = await till.feedback_months()
    assert (month.ratings, month.average, month.tickets) == (1, "5.00", {"tokens": 1})
    assert [one.text for one in (await till.feedback("ticket")).feedback] == ["Where are they?"]
    with pytest.raises(Refused):
        await till.rate("acme", 6)


async def test_what_customers_wrote_can_be_erased(world: World) -> None:  # R-FIN-4
    """Words go, figures stay; the name of who ordered or asked for a refund goes with the user."""
    till = world.till
    await till.rate("acme", 5, "Ann was kind.")
    await till.ticket("acme", "tokens", "I am Ann.")
    order = await till.buy("acme", "token_pack_500", user="ann")
    assert order.user == "ann"
    assert await till.forget_words("acme")
    assert not await till.forget_words("acme"), "there is nothing left"
    said = [*(await till.feedback("rating")).feedback, *(await till.feedback("ticket")).feedback]
    assert [one.text for one in said] == ["", ""]
    [month] = await till.feedback_months()
    assert (month.average, month.tickets) == ("5.00", {"tokens": 1})
    assert await till.forget_user("acme", "ann")
    assert not await till.forget_user("acme", "ann")
    assert (await till.purchase("acme", order.id)).user is None
    with pytest.raises(Refused):
        await till.forget_words("nobody")


async def test_the_margin_of_a_month(world: World) -> None:  # R-FIN-1
    found = await world.till.margin(organization="acme")
    assert (found.organizations, found.closed) == (1, False)
    assert {line.kind for line in found.lines} <= {"plan"}
