"""The usage page: true figures, for whoever holds its link or a key, and for nobody else, on both engines."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.desk import SECRET
from tests.support.selling_models import Store, keys_in, running_store
from tests.web.test_checkout import Forms
from tokentill.flows.api_keys import Issued, Scope
from tokentill.flows.checkout import Ask
from tokentill.rules import keys, links
from tokentill.rules.links import Link
from tokentill.rules.purchases import Purchase
from tokentill.rules.refusals import Code
from tokentill.web.problems import TITLES

# R-SALE-4, R-SALE-6, R-SALE-8

USAGE = "/account/usage"
FOREVER = 2**53


@pytest.fixture(params=["sqlite", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    database = (
        request.getfixturevalue("postgres_url") if request.param == "postgres" else str(tmp_path / "till.db")
    )
    async with running_store(tmp_path, database, wrong_keys_burst=3, wrong_key_interval_ms=60_000) as made:
        yield made


async def bought(store: Store) -> tuple[str, str]:
    """The usage page's link of a customer who has bought a pack, and the key that came with it."""
    placed = await store.shop.checkout.buy_pack(Ask(organization="acme"), "gpt_4_starter")
    assert isinstance(placed, Purchase), placed
    landing = await store.paid(placed.url or "")
    _, text = await store.page(landing, do="key")
    [key] = keys_in(text)
    found = re.search(r'href="([^"]+/account/usage[^"]+)"', text)
    assert found is not None
    return found[1], key


async def issued(store: Store, scope: Scope | None = None, organization: str = "acme") -> Issued:
    made = await store.fit.keys.issue(organization, "server", scope)
    assert isinstance(made, Issued)
    return made


async def words(store: Store, url: str) -> str:
    status, text = await store.page(url)
    assert status == 200, text
    return Forms(text).words


async def test_it_shows_what_there_is_and_what_was_used(store: Store) -> None:
    url, key = await bought(store)
    before = await words(store, url)
    assert "20,000 tokens to use" in before
    assert "0 tokens in 0 calls" in before
    for text in ("one two three", "four"):
        assert await store.call(key, text) == 200
    account = await store.ledger.account("acme")
    assert account is not None
    spent = 20_000 - account.free
    after = await words(store, url)
    assert f"{account.free:,} tokens to use" in after
    assert f"{spent:,} tokens in 2 calls" in after
    for said in ("GPT-4 Starter", "Echo (a test, no AI)", f"…{key[-4:]}", "Last calls", "charged", "By day"):
        assert said in after, said


async def test_what_was_refused_is_there(store: Store) -> None:
    url, _ = await bought(store)
    assert "Refused" not in await words(store, url)
    small = await issued(store, Scope(spend_max=0))
    for _ in range(2):
        assert await store.call(small.text) == 402
    refused = (await words(store, url)).partition("Refused")[2]
    assert TITLES[Code.KEY_LIMIT] in refused


async def test_nothing_is_shown_without_a_link_that_opens_something(store: Store) -> None:
    url, key = await bought(store)
    made = await issued(store)
    link = url.partition("?link=")[2]
    other = links.write(SECRET, Link("other", FOREVER, "nothing"))
    stranger = links.write(bytes(32), Link("acme", FOREVER, key=made.key.id))
    for text in ("", link[:-2], link.upper() + "00", other, stranger, "x" * 5_000):
        status, page = await store.page(f"{USAGE}?link={text}")
        assert status == (200 if not text else 403)
        assert "tokens to use" not in page
        assert "acme" not in page
    async with store.client.get(url) as answer:
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'self';")
        page = await answer.text()
        assert "<script" not in page
        assert "style=" not in page
        assert key not in page
    async with store.client.put(url) as answer:
        assert answer.status == 405


async def test_a_link_ends_in_time_and_with_its_key(store: Store) -> None:
    url, key = await bought(store)
    read = keys.read(key)
    assert read is not None
    over = links.write(SECRET, Link("acme", 1, key=read.id))
    assert (await store.page(f"{USAGE}?link={over}"))[0] == 403
    pasted = links.write(SECRET, Link("acme", FOREVER, key=read.id))
    for address in (url, f"{USAGE}?link={pasted}"):
        assert (await store.page(address))[0] == 200
    await store.fit.keys.revoke("acme", read.id)
    for address in (url, f"{USAGE}?link={pasted}"):
        assert (await store.page(address))[0] == 403


async def test_a_key_opens_it_and_a_wrong_one_is_counted(store: Store) -> None:
    # R-ABU-6
    _, key = await bought(store)
    status, text = await store.page(USAGE, key=f" {key} ")
    assert status == 200
    assert "tokens to use" in text
    for _ in range(3):
        status, text = await store.page(USAGE, key=key[:-1] + ("0" if key[-1] != "0" else "1"))
        assert (status, "no key that works" in text) == (401, True)
        assert key not in text
    status, text = await store.page(USAGE, key="tt_sk_nothing")
    assert (status, "Too many wrong keys" in text) == (429, True)
    assert (await store.page(USAGE, key=key))[0] == 200


async def test_a_narrowed_key_sees_its_own_calls(store: Store) -> None:
    _, key = await bought(store)
    narrow = await issued(store, Scope(models=("echo",), spend_max=500))
    assert await store.call(key, "this is none of its business") == 200
    assert await store.call(narrow.text) == 200
    replaced = await store.fit.keys.rotate("acme", narrow.key.id)
    assert isinstance(replaced, Issued)
    status, text = await store.page(USAGE, key=replaced.text)
    seen = Forms(text).words
    has = await store.fit.keys.spent(replaced.key)
    assert status == 200
    assert f"{has.spent:,} tokens in 1 call," in seen
    assert f"{has.spent} are spent and {500 - has.spent} left" in seen
    for secret in ("Where they are from", "By key", f"…{key[-4:]}"):
        assert secret not in seen
    assert (await store.page(USAGE, key=narrow.text))[0] == 401


async def test_what_a_host_wrote_is_only_text(store: Store) -> None:
    await store.open("<b>o&o</b>")
    made = await store.fit.keys.issue("<b>o&o</b>", '<img src="x">')
    assert isinstance(made, Issued)
    _, text = await store.page(USAGE, key=made.text)
    assert "<b>" not in text
    assert "&lt;b&gt;o&amp;o&lt;/b&gt;" in text


async def test_many_look_at_once(store: Store) -> None:
    url, key = await bought(store)
    pages = asyncio.gather(*(store.page(url) for _ in range(8)))
    calls = asyncio.gather(*(store.call(key) for _ in range(8)))
    assert {status for status, _ in await pages} == {200}
    assert set(await calls) == {200}
