"""Keys of customers on both engines: shown once, scoped, replaced with an overlap, revoked at once."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from msgspec.structs import replace

from tests.support.desk import SECRET
from tests.support.flaky import FlakyLedger, ManualClock
from tokentill.flows.api_keys import ApiKeys, Issued, Scope
from tokentill.ports import Ledger, StoreDown
from tokentill.rules import keys
from tokentill.rules.api_keys import LIVE_MAX, NEVER, caller, wrong_with
from tokentill.rules.commands import Charge, Envelope, Grant, Open
from tokentill.rules.refusals import Code, Refusal
from tokentill.rules.rows import ApiKey
from tokentill.settings import Settings
from tokentill.wiring import SystemIds, open_ledger

# R-SALE-8

DAY = 86_400_000
START = ManualClock().time


class Desk:
    """The organizations `acme` and `other` of the preset `shop`, and a clock that the test moves."""

    def __init__(self, ledger: Ledger, clock: ManualClock) -> None:
        self.ledger = ledger
        self.clock = clock
        self.keys = ApiKeys(ledger, clock, SystemIds())

    async def issued(self, scope: Scope | None = None, organization: str = "acme") -> Issued:
        made = await self.keys.issue(organization, "server", scope)
        assert isinstance(made, Issued), made
        return made


@pytest.fixture(params=["sqlite", "postgres"])
async def desk(request: pytest.FixtureRequest) -> AsyncIterator[Desk]:
    database = ":memory:" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    settings = Settings(database=database, catalog="shop", secret=SECRET.hex())
    clock = ManualClock()
    async with open_ledger(settings, clock=clock) as ledger:
        for name in ("acme", "other"):
            await ledger.submit(Envelope(name, Open()))
        desk = Desk(ledger, clock)
        yield desk
        await desk.keys.close()


async def test_a_key_is_shown_once_and_kept_as_a_digest(desk: Desk) -> None:
    made = await desk.issued()
    read = keys.read(made.text)
    assert read is not None
    assert (read.kind, read.id) == ("sk", made.key.id)
    found = await desk.keys.find(read.id)
    assert found is not None
    assert found == made.key
    assert keys.matches(read.secret, found.digest)
    assert read.secret not in repr(found)
    assert made.text.endswith(found.shown)
    assert (found.organization, found.works_until, found.purse) == ("acme", NEVER, found.id)
    assert await desk.keys.find("0" * 20) is None


async def test_every_key_of_an_organization_is_listed_and_nobody_elses(desk: Desk) -> None:
    made = [(await desk.issued()).key.id for _ in range(3)]
    await desk.issued(organization="other")
    listed = await desk.keys.list("acme")
    assert listed is not None
    assert sorted(key.id for key in listed) == sorted(made)
    assert await desk.keys.list("nobody") is None


async def test_a_revoked_key_is_revoked_at_once_and_only_by_its_organization(desk: Desk) -> None:
    made = await desk.issued()
    refused = await desk.keys.revoke("other", made.key.id)
    assert isinstance(refused, Refusal)
    assert wrong_with(made.key, desk.clock.now()) is None
    ended = await desk.keys.revoke("acme", made.key.id)
    assert not isinstance(ended, Refusal)
    found = await desk.keys.find(made.key.id)
    assert found is not None
    wrong = wrong_with(found, desk.clock.now())
    assert wrong is not None
    assert wrong.why == "revoked"
    desk.clock.time += DAY
    again = await desk.keys.revoke("acme", made.key.id)
    assert not isinstance(again, Refusal)
    assert again.revoked_at == ended.revoked_at


async def test_a_key_is_replaced_with_an_overlap_and_keeps_its_purse(desk: Desk) -> None:
    scope = Scope(
        user="ada", models=("echo",), features=("echo",), spend_max=100, expires_at=START + 90 * DAY
    )
    first = await desk.issued(scope)
    second = await desk.keys.rotate("acme", first.key.id, DAY)
    assert isinstance(second, Issued)
    assert second.key.purse == first.key.id
    for name in ("user", "models", "features", "spend_max", "expires_at", "name", "works_until"):
        assert getattr(second.key, name) == getattr(first.key, name)
    old = await desk.keys.find(first.key.id)
    assert old is not None
    assert wrong_with(old, desk.clock.now()) is None
    assert wrong_with(old, desk.clock.now() + DAY - 1) is None
    assert wrong_with(old, desk.clock.now() + DAY) is not None
    desk.clock.time += DAY
    refused = await desk.keys.rotate("acme", first.key.id)
    assert isinstance(refused, Refusal)
    assert refused.code == Code.NOT_POSSIBLE
    too_long = await desk.keys.rotate("acme", second.key.id, 31 * DAY)
    assert isinstance(too_long, Refusal)
    assert too_long.detail == "overlap_ms"


async def test_the_same_request_makes_one_key(desk: Desk) -> None:
    first = await desk.keys.issue("acme", "server", key_id="k" * 20)
    again = await desk.keys.issue("acme", "server", key_id="k" * 20)
    assert isinstance(first, Issued)
    assert isinstance(again, Refusal)
    assert again.detail == "k" * 20


@pytest.mark.parametrize(
    ("organization", "scope", "code", "detail"),
    [
        ("nobody", Scope(), Code.UNKNOWN_ORGANIZATION, None),
        ("acme", Scope(models=("gpt-9",)), Code.INVALID, "models"),
        ("acme", Scope(features=("gpt-9",)), Code.INVALID, "features"),
        ("acme", Scope(expires_at=START), Code.INVALID, "expires_at"),
        ("acme", Scope(spend_max=-1), Code.INVALID, "spend_max"),
        ("acme", Scope(spend_max=2**63), Code.INVALID, "spend_max"),
    ],
)
async def test_what_no_key_is_made_for(
    desk: Desk, organization: str, scope: Scope, code: Code, detail: str | None
) -> None:
    refused = await desk.keys.issue(organization, "server", scope)
    assert isinstance(refused, Refusal)
    assert (refused.code, refused.detail) == (code, detail)


async def test_what_a_key_has_spent_goes_on_through_its_rotation(desk: Desk) -> None:
    old = (await desk.issued(Scope(spend_max=10))).key
    new = await desk.keys.rotate("acme", old.id)
    assert isinstance(new, Issued)
    await desk.ledger.submit(Envelope("acme", Grant(tokens=100), "0" * 32))
    for key, number in ((old, "a"), (new.key, "b")):
        use = Charge(feature="echo", tokens=4, purse=key.purse, purse_max=key.spend_max)
        answer = await desk.ledger.submit(Envelope("acme", use, number * 32))
        assert not isinstance(answer, Refusal), answer
    has = await desk.keys.spent(new.key)
    assert (has.spent, has.held, has.left(10)) == (8, 0, 2)


async def test_a_limit_is_changed_for_every_key_that_shares_its_count(desk: Desk) -> None:
    old = (await desk.issued(Scope(spend_max=10))).key
    new = await desk.keys.rotate("acme", old.id, DAY)
    assert isinstance(new, Issued)
    other = (await desk.issued(Scope(spend_max=10))).key
    changed = await desk.keys.limit("acme", new.key.id, 25)
    assert isinstance(changed, ApiKey)
    found = [await desk.keys.find(one.id) for one in (old, new.key, other)]
    assert [None if one is None else one.spend_max for one in found] == [25, 25, 10]
    assert await desk.keys.limit("acme", new.key.id, 25) == changed
    for organization, key_id, most, detail in (
        ("other", new.key.id, 5, "unknown_key"),
        ("acme", "nothing", 5, "unknown_key"),
        ("acme", new.key.id, -1, "spend_max"),
    ):
        refused = await desk.keys.limit(organization, key_id, most)
        assert isinstance(refused, Refusal)
        assert refused.detail == detail


async def test_keys_that_work_are_limited_and_others_do_not_count(desk: Desk) -> None:
    assert LIVE_MAX == 1_000
    first = await desk.issued()
    await asyncio.gather(*(desk.issued() for _ in range(LIVE_MAX - 2)))
    await desk.issued(Scope(expires_at=START + DAY))
    full = await desk.keys.issue("acme", "server")
    assert isinstance(full, Refusal)
    assert full.code == Code.NOT_POSSIBLE
    await desk.keys.revoke("acme", first.key.id)
    await desk.issued()
    desk.clock.time += DAY
    await desk.issued()


async def test_when_a_key_was_used_is_noted_to_the_minute(desk: Desk) -> None:
    made = await desk.issued()
    desk.clock.time += 1
    used: list[Any] = []
    for _ in range(3):
        key = await desk.keys.find(made.key.id)
        assert key is not None
        desk.keys.used(key, desk.clock.now())
        await desk.keys.close()
        found = await desk.keys.find(made.key.id)
        assert found is not None
        used.append(found.used_at)
        desk.clock.time += 30_001
    assert used == [START + 1, START + 1, START + 1 + 60_002]


NOW = START
CASES = [
    ({}, None),
    ({"revoked_at": NOW}, "revoked"),
    ({"revoked_at": NOW + 1}, None),
    ({"expires_at": NOW}, "expired"),
    ({"expires_at": NOW + 1}, None),
    ({"read_only": True}, "read_only"),
    ({"models": ("echo",)}, None),
    ({"models": ("gpt-4",)}, "model"),
    ({"features": ("echo",)}, None),
    ({"features": ("gpt-4",)}, "feature"),
]


@pytest.mark.parametrize(("fields", "why"), CASES)
def test_what_is_wrong_with_a_key(fields: dict[str, Any], why: str | None) -> None:
    plain = ApiKey(id="k", digest=b"", name="", shown="", purse="k", works_until=NEVER)
    key = replace(plain, **fields)
    wrong = wrong_with(key, NOW, "echo", "echo")
    assert (None if wrong is None else wrong.why) == why
    asking = wrong_with(key, NOW)
    assert (None if asking is None else asking.why) == (why if why in ("revoked", "expired") else None)


def test_a_key_is_its_own_user_unless_it_is_somebodys() -> None:
    plain = ApiKey(id="k", digest=b"", name="", shown="", purse="k", works_until=NEVER)
    assert caller(plain) == "key k"


async def test_many_look_ups_at_once_find_each_its_own(desk: Desk) -> None:
    made = [(await desk.issued(organization=name)).key for name in ("acme", "other", "acme")]
    found = await asyncio.gather(
        *(desk.keys.find(key.id) for key in [*made, *made]), desk.keys.find("0" * 20)
    )
    assert found == [*made, *made, None]


async def test_a_look_up_never_answers_with_what_was_before_it_was_asked(desk: Desk) -> None:
    key = (await desk.issued()).key
    running = [asyncio.ensure_future(desk.keys.find(key.id)) for _ in range(5)]
    await asyncio.sleep(0)
    await desk.keys.revoke("acme", key.id)
    after = await desk.keys.find(key.id)
    assert after is not None
    assert after.revoked_at == desk.clock.now()
    await asyncio.gather(*running)


async def test_a_look_up_that_fails_is_told_to_all_who_wait_and_the_next_one_works(desk: Desk) -> None:
    key = (await desk.issued()).key
    line = FlakyLedger(desk.ledger)
    keys_there = ApiKeys(cast("Ledger", line), desk.clock, SystemIds())
    line.down = True
    outcomes = await asyncio.gather(*(keys_there.find(key.id) for _ in range(3)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StoreDown] * 3
    line.down = False
    assert await keys_there.find(key.id) == key
    await keys_there.close()
