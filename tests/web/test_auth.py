"""Every route denies by default: the table of routes crossed with every wrong key (R-SALE-8)."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.web.conftest import Till, running_till
from tokentill.flows.keys import create_operator_key
from tokentill.rules import keys
from tokentill.web.limiter import ADDRESSES_MAX, Limiter, network
from tokentill.web.routes import ROUTES, Route

OPEN = {"/v1/health", "/openapi.json"}
SIGNED = {"/v1/webhooks/{provider}"}
"""Open, because what comes there is signed."""
RIGHT = keys.Key("op", "0123456789abcdef", "s" * 43)


def address(route: Route) -> str:
    """A path of the route with something in place of each parameter."""
    parts = [
        ("acme" if part == "{org}" else "x1") if part[:1] == "{" else part for part in route.path.split("/")
    ]
    return "/".join(parts)


def wrong_keys(till: Till, revoked: str, customers: str) -> Iterator[tuple[str, str | None]]:
    own = keys.read(till.key)
    assert own is not None
    yield "none", None
    yield "empty", ""
    yield "no scheme", till.key
    yield "basic", f"Basic {till.key}"
    yield "malformed", "Bearer tt_op_x"
    yield "cut", f"Bearer {till.key[:-1]}"
    yield "padded", f"Bearer {till.key}x"
    yield "wrong checksum", f"Bearer {till.key[:-8]}00000000"
    yield "unknown id", f"Bearer {keys.write(RIGHT)}"
    yield "wrong secret", f"Bearer {keys.write(keys.Key('op', own.id, 's' * 43))}"
    yield "revoked", f"Bearer {revoked}"
    yield "a customer's", f"Bearer {customers}"


async def test_every_route_with_every_wrong_key(till: Till) -> None:
    # R-SALE-8
    made = await till.done("POST", "/v1/operator-keys", {"name": "gone"})
    await till.done("DELETE", f"/v1/operator-keys/{made['id']}")
    customers = await till.done("POST", "/v1/organizations/acme/keys", {"name": "app"})
    before = await till.entries()
    guarded = [route for route in ROUTES if not route.open]
    for route in guarded:
        for what, header in wrong_keys(till, made["key"], customers["key"]):
            sent = {} if header is None else {"Authorization": header}
            async with till.client.request(route.method, till.url + address(route), headers=sent) as answer:
                assert answer.status == 401, (route.name, what, await answer.text())
                assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="tokentill"'), (
                    route.name,
                    what,
                )
                problem = await answer.json(content_type="application/problem+json")
                assert problem["code"] == "unauthorized"
    assert await till.entries() == before
    assert {route.path for route in ROUTES} - {route.path for route in guarded} == OPEN | SIGNED


async def test_what_is_open_holds_no_secret_and_names_nobody(till: Till) -> None:
    # R-PLAT-3
    await till.done("POST", "/v1/organizations", {"id": "secretive-ltd"})
    for path in (*OPEN, "/"):
        async with till.client.get(till.url + path) as answer:
            text = await answer.text()
            assert answer.status == 200
            assert "secretive-ltd" not in text, path
            assert "canary" not in text, path


async def test_a_right_key_is_admitted_however_the_scheme_is_written(till: Till) -> None:
    for header in (f"Bearer {till.key}", f"bearer {till.key}", f"BEARER  {till.key} "):
        reply = await till.ask("GET", "/v1/catalog", headers={"Authorization": header})
        assert reply.status == 200, header


async def test_a_key_is_shown_once_listed_without_its_secret_and_revoked(each_till: Till) -> None:
    # R-SALE-8
    made = await each_till.done("POST", "/v1/operator-keys", {"name": "ci"})
    mine = {"Authorization": f"Bearer {made['key']}"}
    assert (await each_till.ask("GET", "/v1/catalog", headers=mine)).status == 200
    listed = await each_till.ask("GET", "/v1/operator-keys")
    assert [key["name"] for key in listed.json["keys"]] == ["backend", "ci"]
    secret = keys.read(made["key"])
    assert secret is not None
    assert secret.secret.encode() not in listed.raw
    revoked = await each_till.done("DELETE", f"/v1/operator-keys/{made['id']}")
    assert revoked["revoked_at"] == each_till.clock.now()
    assert (await each_till.ask("GET", "/v1/catalog", headers=mine)).status == 401
    assert (await each_till.done("DELETE", f"/v1/operator-keys/{made['id']}"))["revoked_at"] is not None
    unknown = await each_till.ask("DELETE", "/v1/operator-keys/nobody")
    assert (unknown.status, unknown.code) == (404, "unknown_operator_key")


async def test_a_key_revoked_elsewhere_is_refused_within_a_second(each_till: Till) -> None:
    # R-SALE-8
    made = await each_till.done("POST", "/v1/operator-keys", {"name": "ci"})
    mine = {"Authorization": f"Bearer {made['key']}"}
    assert (await each_till.ask("GET", "/v1/catalog", headers=mine)).status == 200
    await each_till.ledger.revoke_operator_key(made["id"])
    each_till.clock.pass_ms(1000)
    assert (await each_till.ask("GET", "/v1/catalog", headers=mine)).status == 401


async def test_when_a_key_was_used_is_recorded_once_a_minute(each_till: Till) -> None:
    # R-SALE-8
    noted = each_till.moods.used
    made = await each_till.done("POST", "/v1/operator-keys", {"name": "ci"})
    mine = {"Authorization": f"Bearer {made['key']}"}
    noted.clear()
    start = each_till.clock.now()
    for _ in range(150):
        assert (await each_till.ask("GET", "/v1/catalog", headers=mine)).status == 200
        each_till.clock.pass_ms(1000)
    assert noted == [(made["id"], start), (made["id"], start + 60_000), (made["id"], start + 120_000)]
    async with asyncio.timeout(10):
        while True:
            listed = await each_till.done("GET", "/v1/operator-keys")
            (used,) = [key.get("last_used_at") for key in listed["keys"] if key["id"] == made["id"]]
            if used == start + 120_000:
                break
            await asyncio.sleep(0.1)
    noted.clear()
    wrong = {"Authorization": f"Bearer {keys.write(keys.Key('op', made['id'], 's' * 43))}"}
    each_till.clock.pass_ms(100_000)
    assert (await each_till.ask("GET", "/v1/catalog", headers=wrong)).status == 401
    assert noted == [], "a wrong key is no use of it"


async def test_a_clock_that_is_set_back_keeps_no_revoked_key_alive(till: Till) -> None:
    made = await till.done("POST", "/v1/operator-keys", {"name": "ci"})
    mine = {"Authorization": f"Bearer {made['key']}"}
    assert (await till.ask("GET", "/v1/catalog", headers=mine)).status == 200
    await till.ledger.revoke_operator_key(made["id"])
    till.clock.pass_ms(-3_600_000)
    assert (await till.ask("GET", "/v1/catalog", headers=mine)).status == 401


async def test_a_key_made_with_an_idempotency_key_is_made_once(each_till: Till) -> None:
    # R-LED-9
    first = await each_till.ask("POST", "/v1/operator-keys", {"name": "ci"}, key="make-ci")
    assert first.status == 201
    again = await each_till.ask("POST", "/v1/operator-keys", {"name": "ci"}, key="make-ci")
    assert (again.status, again.code) == (409, "operator_key_exists")
    assert len((await each_till.done("GET", "/v1/operator-keys"))["keys"]) == 2


async def test_of_many_creations_at_once_one_makes_a_key(each_till: Till) -> None:
    # R-LED-9
    replies = await asyncio.gather(
        *(each_till.ask("POST", "/v1/operator-keys", {"name": "ci"}, key="make-ci") for _ in range(20))
    )
    assert sorted(reply.status for reply in replies) == [201] + [409] * 19
    (made,) = [reply.json["key"] for reply in replies if reply.status == 201]
    mine = {"Authorization": f"Bearer {made}"}
    assert (await each_till.ask("GET", "/v1/catalog", headers=mine)).status == 200
    assert len((await each_till.done("GET", "/v1/operator-keys"))["keys"]) == 2


async def test_many_requests_share_one_look_up(till: Till) -> None:
    till.clock.pass_ms(10_000)
    replies = await asyncio.gather(*(till.ask("GET", "/v1/catalog") for _ in range(50)))
    assert {reply.status for reply in replies} == {200}


async def test_wrong_keys_are_limited_by_address_and_lock_nobody_out() -> None:
    # R-ABU-6
    async with running_till(":memory:", wrong_keys_burst=5, wrong_key_interval_ms=1000) as till:
        assert (await till.ask("GET", "/v1/catalog")).status == 200
        wrong = {"Authorization": f"Bearer {keys.write(RIGHT)}"}
        statuses = [(await till.ask("GET", "/v1/catalog", headers=wrong)).status for _ in range(7)]
        assert statuses == [401] * 5 + [429] * 2
        limited = await till.ask("GET", "/v1/catalog", headers=wrong)
        assert (limited.code, limited.headers["Retry-After"]) == ("too_many_wrong_keys", "1")
        # Who has been admitted here before goes on, also when the store has to be asked again.
        assert (await till.ask("GET", "/v1/catalog")).status == 200
        till.clock.pass_ms(999)
        assert (await till.ask("GET", "/v1/catalog")).status == 200
        assert (await till.ask("GET", "/v1/catalog", headers=wrong)).status == 429
        till.clock.pass_ms(1)
        _, fresh = await create_operator_key(till.ledger, till.clock, till.ids, "fresh")
        assert (
            await till.ask("GET", "/v1/catalog", headers={"Authorization": f"Bearer {fresh}"})
        ).status == 200
        assert (await till.ask("GET", "/v1/catalog", headers=wrong)).status == 401
        # No wrong key has blocked a user.
        charge = {"feature": "generate_goal", "user": "maria"}
        assert (await till.ask("POST", "/v1/organizations/acme/charges", charge)).status == 201


@pytest.mark.parametrize("trusted", [False, True])
async def test_only_a_trusted_proxy_says_who_the_client_is(trusted: bool) -> None:
    # R-ABU-6
    served = {"trusted_proxies": ["127.0.0.1"]} if trusted else {}
    async with running_till(":memory:", served=served, wrong_keys_burst=3) as till:
        statuses = []
        for number in range(5):
            sent = {"Authorization": f"Bearer {keys.write(RIGHT)}", "X-Forwarded-For": f"192.0.2.{number}"}
            statuses.append((await till.ask("GET", "/v1/catalog", headers=sent)).status)
        assert statuses == ([401] * 5 if trusted else [401, 401, 401, 429, 429])


def test_the_limiter_refills_and_forgets() -> None:
    # R-ABU-6
    limiter = Limiter(burst=2, interval_ms=1000)
    limiter.take("a", 0)
    assert limiter.wait_ms("a", 0) == 0
    limiter.take("a", 0)
    assert limiter.wait_ms("a", 0) == 1000
    assert limiter.wait_ms("a", 400) == 600
    assert limiter.wait_ms("a", 1000) == 0
    assert limiter.wait_ms("b", 0) == 0
    # Trying on while it is empty costs nothing more, and a clock set back does not lock out for ever.
    for _ in range(100):
        limiter.take("a", 0)
    assert limiter.wait_ms("a", -3_600_000) == 1000
    assert limiter.wait_ms("a", 1000) == 0


def test_the_limiter_costs_bounded_memory() -> None:
    limiter = Limiter(burst=2, interval_ms=1000)
    for number in range(3 * ADDRESSES_MAX):
        limiter.take(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 0)
        assert len(limiter._full_at) <= ADDRESSES_MAX
    limiter.take("last", 10_000)
    assert len(limiter._full_at) == 1


@pytest.mark.parametrize(
    ("client", "counted_as"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("::1", "0:0:0:0::/64"),
        ("fe80::1:2:3:4", "fe80:0:0:0::/64"),
        ("::ffff:192.0.2.7", "::ffff:192.0.2.7"),
        ("", ""),
    ],
)
def test_a_network_of_one_client_counts_as_one(client: str, counted_as: str) -> None:
    assert network(client) == counted_as
