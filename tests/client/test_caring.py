"""Customers' questions and what they say, through each face of the till (R-PACK-7)."""

from tests.client.conftest import World


async def test_the_difference_between_the_tokens_is_explained(world: World) -> None:  # R-PACK-7
    found = await world.till.faq("acme")
    assert "200 tokens in each period" in found.monthly
    assert found.faq[1].answer == found.additional
