"""Keys of customers through each face of the till (R-SALE-8)."""

import pytest

from tests.client.conftest import World
from tokentill.client import Code, Refused
from tokentill.rules import keys


async def test_a_key_from_its_making_to_its_end(world: World) -> None:
    till = world.till
    made = await till.create_api_key("acme", "server", user="ada", features=["generate_goal"])
    read = keys.read(made.text)
    assert read is not None
    assert (read.kind, read.id) == ("sk", made.key.id)
    assert (made.key.user, made.key.features, made.text[-4:]) == ("ada", ("generate_goal",), made.key.shown)
    [listed] = await till.api_keys("acme")
    assert listed == made.key
    again = await till.rotate_api_key("acme", made.key.id, overlap_ms=3_600_000)
    assert again.key.user == "ada"
    old = next(key for key in await till.api_keys("acme") if key.id == made.key.id)
    assert old.revoked_at is not None
    assert old.revoked_at > world.clock.now()
    ended = await till.revoke_api_key("acme", again.key.id)
    assert ended.revoked_at is not None


async def test_a_key_with_a_limit_of_its_own(world: World) -> None:
    made = await world.till.create_api_key("acme", "server", spend_max=50)
    assert (made.key.spend_max, made.key.spent, made.key.held) == (50, 0, 0)
    with pytest.raises(Refused) as refused:
        await world.till.create_api_key("acme", "server", spend_max=-1)
    assert refused.value.code is Code.INVALID


async def test_a_limit_is_changed_and_taken_away(world: World) -> None:
    till = world.till
    made = await till.create_api_key("acme", "server", spend_max=50)
    assert (await till.limit_api_key("acme", made.key.id, 80)).spend_max == 80
    assert (await till.limit_api_key("acme", made.key.id, None)).spend_max is None
    for key_id, most, code in (("nothing", 5, Code.NOT_POSSIBLE), (made.key.id, -1, Code.INVALID)):
        with pytest.raises(Refused) as refused:
            await till.limit_api_key("acme", key_id, most)
        assert refused.value.code is code


async def test_the_same_request_makes_one_key(world: World) -> None:
    till = world.till
    await till.create_api_key("acme", "server", idempotency_key="first")
    with pytest.raises(Refused) as refused:
        await till.create_api_key("acme", "server", idempotency_key="first")
    assert refused.value.code is Code.NOT_POSSIBLE
    assert len(await till.api_keys("acme")) == 1


async def test_what_is_refused(world: World) -> None:
    till = world.till
    for asked, code in (
        (till.create_api_key("nobody", "server"), Code.UNKNOWN_ORGANIZATION),
        (till.create_api_key("acme", "server", models=["gpt-9"]), Code.INVALID),
        (till.api_keys("nobody"), Code.UNKNOWN_ORGANIZATION),
        (till.rotate_api_key("acme", "nothing"), Code.NOT_POSSIBLE),
        (till.revoke_api_key("acme", "nothing"), Code.NOT_POSSIBLE),
    ):
        with pytest.raises(Refused) as refused:
            await asked
        assert refused.value.code is code
