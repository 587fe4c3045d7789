"""Metrics, logs and incidents tell what happens and never who or with which key (R-PLAT-3)."""

import asyncio
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import LogCapture

from tests.support.stores import readable
from tests.web.conftest import Till, running_till
from tokentill.ports import Health, StoreDown
from tokentill.rules import keys

ORG = "/v1/organizations/acme"
GOAL = {"feature": "generate_goal", "user": "maria-canary"}


@pytest.fixture
def logged() -> Iterator[LogCapture]:
    """Everything that is logged through structlog, as it stands before anybody tidies it."""
    capture = LogCapture()
    before = structlog.get_config()
    structlog.configure(processors=[capture], cache_logger_on_first_use=False)
    yield capture
    structlog.configure(**before)


@pytest.fixture
def heard(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Everything that is logged at all, also by a server, as a host that logs everything would have it."""
    caplog.set_level(logging.DEBUG)
    loggers = [logging.getLogger(name) for name in ("uvicorn.access", "uvicorn.error")]
    for logger in loggers:
        caplog.set_level(logging.DEBUG, logger=logger.name)
        logger.addHandler(caplog.handler)
    yield caplog
    for logger in loggers:
        logger.removeHandler(caplog.handler)


def metrics_of(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_the_metrics_count_what_happened(each_till: Till) -> None:
    # R-PLAT-3
    await each_till.done("POST", f"{ORG}/charges", GOAL)
    await each_till.ask("POST", f"{ORG}/charges", GOAL)
    await each_till.done("POST", f"{ORG}/holds", {"feature": "generate_goal", "user": "bob"}, key="j")
    await each_till.done("POST", f"{ORG}/holds/j/settle", {"tokens": 2})
    await each_till.done("POST", f"{ORG}/holds/j/settle", {"tokens": 2})
    await each_till.ask("GET", "/nothing")
    reply = await each_till.ask("GET", "/metrics")
    assert reply.headers["content-type"].startswith("text/plain")
    found = metrics_of(reply.raw.decode())
    charges = "/v1/organizations/{org}/charges"
    assert found["tokentill_requests_total", (("route", charges), ("status", "201"))] == 1
    assert found["tokentill_requests_total", (("route", charges), ("status", "429"))] == 1
    assert found["tokentill_requests_total", (("route", "other"), ("status", "404"))] == 1
    assert found["tokentill_refusals_total", (("code", "too_soon"),)] == 1
    assert found["tokentill_tokens_charged_total", ()] == 5
    assert found["tokentill_request_seconds_count", (("route", charges),)] == 2
    assert found["tokentill_request_seconds_bucket", (("le", "+Inf"), ("route", charges))] == 2
    assert found["tokentill_requests_in_flight", ()] == 1
    assert found["tokentill_incidents_total", ()] == 0
    assert found["tokentill_ledger_commands_total", ()] >= 5
    assert 1 <= found["tokentill_ledger_batches_total", ()] <= found["tokentill_ledger_commands_total", ()]


async def test_no_secret_and_no_name_reaches_logs_metrics_or_problems(
    till: Till, logged: LogCapture, heard: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    # R-PLAT-3
    own = keys.read(till.key)
    assert own is not None
    made = await till.done("POST", "/v1/operator-keys", {"name": "other"})
    replies = [
        await till.ask("GET", "/v1/operator-keys"),
        await till.ask("POST", f"{ORG}/charges", GOAL, key="idem-canary"),
        await till.ask("POST", f"{ORG}/charges", {**GOAL, "quantity": -1}),
        await till.ask("POST", f"{ORG}/charges", raw=b'{"user":"maria-canary"'),
        await till.ask("GET", f"{ORG}/balance", headers={"Authorization": f"Bearer {till.key}x"}),
        await till.ask("GET", f"{ORG}/balance", headers={"Authorization": f"Basic {till.key}"}),
        await till.ask("PUT", f"{ORG}/{till.key}"),
        await till.ask("GET", f"/{till.key}"),
        await till.ask("GET", f"/v1/organizations?{till.key}={till.key}"),
        await till.ask("GET", "/metrics"),
    ]
    till.moods.trouble = RuntimeError(f"{till.key} {GOAL['user']}")
    replies += [
        await till.ask("POST", f"{ORG}/charges", GOAL),
        await till.ask("GET", f"{ORG}/journal"),
    ]
    assert [reply.code for reply in replies[-2:]] == ["internal_error"] * 2
    assert len([entry for entry in logged.entries if entry["event"] == "incident"]) == 2
    places = [reply.raw.decode() + str(reply.headers) for reply in replies]
    places += [json.dumps(logged.entries, default=str), heard.text, *capfd.readouterr()]
    made_key = keys.read(made["key"])
    assert made_key is not None
    for place in places:
        for secret in (own.secret, made_key.secret, "idem-canary"):
            assert secret not in place
    for place in [*places[10:], places[9]]:
        assert "maria-canary" not in place


async def test_a_bug_is_an_incident_that_the_log_can_be_searched_for(till: Till, logged: LogCapture) -> None:
    # R-PLAT-3
    await till.done("GET", f"{ORG}/balance")
    till.moods.trouble = RuntimeError("boom")
    reply = await till.ask("POST", f"{ORG}/charges", GOAL)
    assert (reply.status, reply.code) == (500, "internal_error")
    (entry,) = (entry for entry in logged.entries if entry["event"] == "incident")
    assert entry["incident"] == reply.json["incident"]
    assert entry["incident"] in reply.json["detail"]
    assert entry["route"] == "/v1/organizations/{org}/charges"
    assert entry["error"] == "RuntimeError"
    assert entry["where"][-1].endswith("__getattr__")
    assert "boom" not in json.dumps(entry, default=str)
    async with till.client.get(f"{till.url}/") as page:
        assert page.status == 500
        assert (await page.json(content_type="application/problem+json"))["code"] == "internal_error"


async def test_a_database_that_is_away_is_503_with_a_time_to_come_back(till: Till) -> None:
    # R-LED-9
    await till.done("GET", f"{ORG}/balance")
    till.moods.trouble = StoreDown("postgresql://user:password@host/db is away")
    for method, path, body in [
        ("POST", f"{ORG}/charges", GOAL),
        ("GET", f"{ORG}/balance", None),
        ("GET", "/v1/health", None),
    ]:
        reply = await till.ask(method, path, body)
        assert (reply.status, reply.code, reply.headers["Retry-After"]) == (503, "store_unavailable", "1")
        assert b"password" not in reply.raw
    # An invalid request is invalid all the same, though nobody can put it on the record.
    assert (await till.ask("POST", f"{ORG}/charges", {**GOAL, "quantity": 0})).status == 422
    async with till.client.get(f"{till.url}/") as page:
        assert page.status == 200
        assert "cannot be reached" in await page.text()
    # Who has to be looked up cannot be.
    till.clock.pass_ms(10_000)
    assert (await till.ask("GET", "/v1/catalog")).code == "store_unavailable"
    till.moods.trouble = None
    assert (await till.ask("POST", f"{ORG}/charges", GOAL)).status == 201


async def test_an_unhealthy_till_says_why(till: Till) -> None:
    # R-PLAT-3
    till.moods.healths = [Health(False, "sqlite", 0, 90_000, ("the sweeper is more than a minute behind",))]
    reply = await till.ask("GET", "/v1/health")
    assert (reply.status, reply.code) == (503, "unhealthy")
    assert reply.json["problems"] == ["the sweeper is more than a minute behind"]
    assert reply.headers["Retry-After"] == "1"


async def test_health_asks_the_store_once_a_second_however_often_it_is_asked(till: Till) -> None:
    till.moods.healths = [Health(True, "sqlite", skew, 0, ()) for skew in (1, 2)]
    told = [(await till.done("GET", "/v1/health"))["clock_skew_ms"] for _ in range(5)]
    till.clock.pass_ms(1000)
    told += [(await till.done("GET", "/v1/health"))["clock_skew_ms"] for _ in range(2)]
    assert told == [1] * 5 + [2] * 2


async def test_too_many_requests_at_once_are_told_to_come_back() -> None:
    async with running_till(":memory:", in_flight_max=0) as till:
        reply = await till.ask("GET", "/v1/catalog")
        assert (reply.status, reply.code, reply.headers["Retry-After"]) == (503, "overloaded", "1")


async def test_sales_are_counted(each_till: Till) -> None:
    # R-PLAT-3
    till = each_till
    order = await till.done("POST", f"{ORG}/purchases", {"pack": "token_pack_500"})
    await till.done("POST", f"{ORG}/purchases", {"pack": "token_pack_500"})
    await till.press(order["url"], do="pay", card="4242424242424242")
    assert (await till.ask("POST", "/v1/webhooks/embedded", {"id": "forged"})).code == "bad_signature"
    await readable(till.ledger)
    await till.shop.clerk.once()
    found = metrics_of((await till.ask("GET", "/metrics")).raw.decode())
    assert found["tokentill_purchases", (("state", "delivered"),)] == 1
    assert found["tokentill_purchases", (("state", "pending"),)] == 1
    for was, count in (("in_time", 1), ("late", 0)):  # R-SALE-1
        assert found["tokentill_purchases_timed", (("clock", "paid_to_key"), ("was", was))] == count
    assert found["tokentill_purchase_seconds", (("clock", "paid_to_key"), ("quantile", "0.5"))] == 0
    assert found["tokentill_webhooks_total", (("outcome", "forged"), ("provider", "embedded"))] == 1
    assert found["tokentill_clerk_work_total", (("outcome", "done"), ("what", "notices"))] > 0
    assert ("tokentill_clerk_look_age_seconds", ()) not in found


async def test_a_stuck_clerk_is_unhealthy(till: Till) -> None:
    # R-PLAT-3
    till.shop.clerk.start()
    async with asyncio.timeout(10):
        while not till.shop.clerk.looked_at:  # noqa: ASYNC110 the clerk has no event for it
            await asyncio.sleep(0.01)
    assert (await till.ask("GET", "/v1/health")).status == 200
    await till.shop.clerk.stop()
    till.shop.clerk._loops.append(asyncio.create_task(asyncio.sleep(60)))  # it hangs
    till.clock.pass_ms(31_000)
    reply = await till.ask("GET", "/v1/health")
    assert (reply.status, reply.code) == (503, "unhealthy")
    assert reply.json["problems"] == ["the clerk has not looked for what is due for 31 s"]
