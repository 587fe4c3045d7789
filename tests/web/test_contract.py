"""What each route answers, over a real server and the real ledger of each engine."""

import asyncio
from typing import Any

import pytest

from tests.web.conftest import START, Till

ORG = "/v1/organizations/acme"
GOAL = {"feature": "generate_goal", "user": "maria"}


async def test_reserve_run_settle(each_till: Till) -> None:
    # R-LED-3
    held = await each_till.ask("POST", f"{ORG}/holds", GOAL)
    assert held.status == 201
    hold = held.json["operation"]
    assert held.json == {
        "operation": hold,
        "kind": "hold",
        "tokens": 3,
        "balance": 197,
        "held": 3,
        "entry": held.json["entry"],
        "time": START,
        "deadline": START + 35_000,
        "output_tokens_max": 2000,
    }
    settled = await each_till.done("POST", f"{ORG}/holds/{hold}/settle", {"tokens": 1})
    assert (settled["kind"], settled["tokens"], settled["balance"]) == ("charge", 1, 199)
    assert (settled["released"], settled["held"]) == (2, 0)


async def test_a_released_hold_costs_nothing(each_till: Till) -> None:
    # R-LED-3
    hold = (await each_till.done("POST", f"{ORG}/holds", GOAL))["operation"]
    released = await each_till.done("POST", f"{ORG}/holds/{hold}/release")
    assert (released["kind"], released["balance"], released["held"]) == ("release", 200, 0)


async def test_a_late_success_is_not_charged(each_till: Till) -> None:
    # R-LED-3
    hold = (await each_till.done("POST", f"{ORG}/holds", {**GOAL, "timeout_ms": 1000}))["operation"]
    await each_till.done("POST", f"{ORG}/holds/{hold}/extend", {"timeout_ms": 10_000})
    each_till.clock.pass_ms(15_001)
    late = await each_till.ask("POST", f"{ORG}/holds/{hold}/settle", {})
    assert (late.status, late.code) == (409, "hold_expired")
    assert (await each_till.done("GET", f"{ORG}/balance"))["remaining"] == 200


async def test_charge_and_refund(each_till: Till) -> None:
    # R-LED-7
    charged = await each_till.done("POST", f"{ORG}/charges", GOAL)
    assert (charged["kind"], charged["tokens"], charged["balance"]) == ("charge", 3, 197)
    path = f"{ORG}/charges/{charged['operation']}/refund"
    refunded = await each_till.done("POST", path, {"reason": "it failed after all"})
    assert (refunded["kind"], refunded["tokens"], refunded["balance"]) == ("refund", 3, 200)
    assert (await each_till.ask("POST", path, {"tokens": 1})).code == "already_refunded"


async def test_the_balance(each_till: Till) -> None:
    # R-LED-1
    await each_till.done("POST", f"{ORG}/grants", {"tokens": 500, "origin": "pack", "reference": "order 7"})
    await each_till.done("POST", f"{ORG}/charges", GOAL)
    each_till.clock.pass_ms(3_000)
    await each_till.done("POST", f"{ORG}/holds", GOAL)
    balance = await each_till.done("GET", f"{ORG}/balance")
    assert balance["monthly"] == 200
    assert balance["additional"] == 500
    assert balance["used"] == 3
    assert balance["reserved"] == 3
    assert balance["remaining"] == 694
    assert balance["reset_at"] > START
    whole = await each_till.done("GET", ORG)
    assert (whole["id"], whole["plan"], whole["standing"]) == ("acme", "pro", "active")
    assert whole["balance"]["remaining"] == 694


async def test_no_token_is_spent_twice_however_many_ask_at_once(each_till: Till) -> None:
    # R-LED-3
    async def use(number: int) -> int:
        goal = {"feature": "generate_goal", "user": f"u{number}"}
        if number % 2:
            return (await each_till.ask("POST", f"{ORG}/charges", goal)).status
        held = await each_till.ask("POST", f"{ORG}/holds", goal)
        if held.status == 201:
            await each_till.done("POST", f"{ORG}/holds/{held.json['operation']}/settle", {})
        return held.status

    statuses = await asyncio.gather(*(use(number) for number in range(150)))
    balance = await each_till.done("GET", f"{ORG}/balance")
    assert statuses.count(201) == 66
    assert (balance["used"], balance["reserved"], balance["remaining"]) == (198, 0, 2)
    assert set(statuses) <= {201, 402, 429}


async def test_adjusting_by_hand_names_who_did_it(each_till: Till) -> None:
    # R-LED-8
    adjusted = await each_till.done("POST", f"{ORG}/adjustments", {"tokens": -50, "reason": "counted twice"})
    assert (adjusted["kind"], adjusted["balance"]) == ("adjustment", 150)
    line = (await each_till.done("GET", f"{ORG}/journal?limit=1"))["entries"][0]
    assert (line["kind"], line["actor"], line["reason"]) == ("adjustment", "backend", "counted twice")
    too_much = await each_till.ask("POST", f"{ORG}/adjustments", {"tokens": -500, "reason": "x"})
    assert (too_much.status, too_much.code) == (422, "exceeds_unheld")


async def test_payment_fails_and_is_fixed(each_till: Till) -> None:
    # R-LIC-1, R-LIC-3, R-LIC-4
    await each_till.done("POST", f"{ORG}/freeze", {"failed_at": START})
    refused = await each_till.ask("POST", f"{ORG}/charges", GOAL)
    assert (refused.status, refused.code) == (403, "licence")
    assert refused.json["layer"] == "licence"
    assert refused.json["ways_out"][0]["kind"] == "pay"
    features = await each_till.done("GET", f"{ORG}/features")
    assert features["standing"] == "past_due"
    assert [(f["feature"], f["on"], f["code"]) for f in features["features"]] == [
        ("generate_goal", False, "licence")
    ]
    assert {g["group"]: g["on"] for g in features["groups"]} == {
        "ai_features": False,
        "sync_engine": True,
        "reports": True,
    }
    await each_till.done("POST", f"{ORG}/restore")
    assert (await each_till.done("GET", f"{ORG}/balance"))["remaining"] == 200


async def test_plans_periods_and_caps(each_till: Till) -> None:
    # R-PLAN-4, R-PLAN-6
    up = await each_till.done("POST", f"{ORG}/plan", {"plan": "enterprise"})
    assert up["plan"] == "enterprise"
    assert (await each_till.done("GET", f"{ORG}/balance"))["remaining"] == 2000
    await each_till.done("POST", f"{ORG}/plan", {"plan": None})
    assert (await each_till.done("GET", f"{ORG}/balance"))["scheduled"] is True
    await each_till.done("POST", f"{ORG}/plan", {"plan": "enterprise"})
    assert (await each_till.done("GET", f"{ORG}/balance"))["scheduled"] is False
    await each_till.done("POST", f"{ORG}/cap", {"cap": 5000})
    assert (await each_till.done("GET", f"{ORG}/balance"))["cap"] == 5000
    each_till.clock.pass_ms(1000)
    reset = await each_till.done("POST", f"{ORG}/reset", {"reason": "billed early"})
    assert reset["kind"] == "reset"


async def test_every_layer_of_the_battery_answers_and_nothing_changes(each_till: Till) -> None:
    # R-ABU-8
    await each_till.done("POST", f"{ORG}/charges", GOAL)
    entries = await each_till.entries()
    checks = await each_till.done("GET", f"{ORG}/checks?feature=generate_goal&user=maria&quantity=100")
    verdicts = {row["check"]: row["refusal"] and row["refusal"]["code"] for row in checks["layers"]}
    assert verdicts == {
        "attempts": None,
        "size": "too_large",
        "rate": None,
        "spacing": "too_soon",
        "licence": None,
        "plan": None,
        "balance": "exhausted",
    }
    assert checks["tokens"] == 300
    assert (checks["refusal"]["code"], checks["layer"]) == ("too_large", "abuse")
    fine = await each_till.done("GET", f"{ORG}/checks?feature=generate_goal&user=bob")
    assert (fine["refusal"], fine["layer"]) == (None, None)
    assert await each_till.entries() == entries


async def test_the_journal_pages_to_its_end(each_till: Till) -> None:
    # R-LED-5
    for _ in range(7):
        await each_till.done("POST", f"{ORG}/grants", {"tokens": 1})
    seen: list[int] = []
    page: dict[str, Any] = {"next": ""}
    while page["next"] is not None:
        before = f"&before={page['next']}" if page["next"] else ""
        page = await each_till.done("GET", f"{ORG}/journal?limit=3{before}")
        assert len(page["entries"]) <= 3
        seen += [line["entry"] for line in page["entries"]]
    assert seen == list(range(await each_till.entries(), 0, -1))


@pytest.mark.parametrize("cursor", ["abc", "", "ajE", "ajA", "MQ", "ajEy%0A", "%C3%A9"])
async def test_a_cursor_that_is_none_is_refused(till: Till, cursor: str) -> None:
    if cursor == "ajE":
        assert (await till.ask("GET", f"{ORG}/journal?before={cursor}")).status == 200
        return
    reply = await till.ask("GET", f"{ORG}/journal?before={cursor}")
    assert (reply.status, reply.code, reply.json["field"]) == (422, "invalid_request", "before")


async def test_an_operation_is_found_by_its_id_and_by_its_key(each_till: Till) -> None:
    # R-LED-9
    held = await each_till.done("POST", f"{ORG}/holds", GOAL, key="order/7 a")
    by_key = await each_till.done("GET", f"{ORG}/operations/order%2F7%20a")
    assert by_key["operation"] == held["operation"]
    assert by_key["state"] == "held"
    await each_till.done("POST", f"{ORG}/holds/order%2F7%20a/settle", {})
    by_id = await each_till.done("GET", f"{ORG}/operations/{held['operation']}")
    assert [line["kind"] for line in by_id["entries"]] == ["hold", "charge"]
    assert by_id["state"] == "charged"
    unknown = await each_till.ask("GET", f"{ORG}/operations/{'0' * 32}")
    assert (unknown.status, unknown.code) == (404, "unknown_operation")


async def test_organizations_are_listed_in_pages(each_till: Till) -> None:
    for name in ("b", "a", "c"):
        await each_till.done("POST", "/v1/organizations", {"id": name, "plan": None})
    first = await each_till.done("GET", "/v1/organizations?limit=2")
    assert first == {"organizations": ["a", "acme"], "next": "acme"}
    second = await each_till.done("GET", "/v1/organizations?limit=2&after=acme")
    assert second["organizations"] == ["b", "c"]
    assert (await each_till.done("GET", "/v1/organizations?after=c"))["next"] is None
    again = await each_till.ask("POST", "/v1/organizations", {"id": "a"})
    assert (again.status, again.code) == (409, "organization_exists")


async def test_a_users_name_is_erased_and_the_journal_stays(each_till: Till) -> None:
    await each_till.done("POST", f"{ORG}/charges", GOAL)
    line = (await each_till.done("GET", f"{ORG}/journal?limit=1"))["entries"][0]
    assert line["user_name"] == "maria"
    path = f"{ORG}/users/maria"
    assert await each_till.done("DELETE", path) == {"user": "maria", "erased": True}
    assert await each_till.done("DELETE", path) == {"user": "maria", "erased": False}
    after = (await each_till.done("GET", f"{ORG}/journal?limit=1"))["entries"][0]
    assert "user_name" not in after
    assert (after["user"], after["link"]) == (line["user"], line["link"])
    assert (
        await each_till.ask("DELETE", "/v1/organizations/nobody/users/maria")
    ).code == "unknown_organization"


async def test_a_block_is_lifted_by_hand(each_till: Till) -> None:
    # R-ABU-6
    for _ in range(5):
        assert (await each_till.ask("POST", f"{ORG}/charges", {**GOAL, "quantity": 1000})).code == "too_large"
    blocked = await each_till.ask("POST", f"{ORG}/charges", GOAL)
    assert (blocked.status, blocked.code) == (429, "blocked")
    assert blocked.headers["Retry-After"] == "3600"
    assert blocked.json["filed"] == "fraud_flagged"
    await each_till.done("POST", f"{ORG}/users/maria/unblock", {"reason": "a faulty client"})
    assert (await each_till.done("POST", f"{ORG}/charges", GOAL))["tokens"] == 3
    none = await each_till.ask("POST", f"{ORG}/users/bob/unblock", {"reason": "none"})
    assert (none.status, none.code) == (409, "not_possible")


async def test_the_public_catalog_has_prices_and_no_costs(till: Till) -> None:
    # R-PACK-1
    catalog = await till.done("GET", "/v1/catalog")
    assert [(pack["tokens"], pack["price"], pack["per_token"]) for pack in catalog["packs"]] == [
        (500, 2900, "$0.058"),
        (2000, 7900, "$0.0395"),
    ]
    assert [
        (pack["saving"], pack["saving_percent"], pack["until"], pack["bonus"]) for pack in catalog["packs"]
    ] == [
        (2100, "42.0", None, 0),
        (12100, "60.5", None, 0),
    ]
    assert [plan["id"] for plan in catalog["plans"]] == ["starter", "pro", "enterprise"]
    text = str(catalog)
    assert "margin" not in text
    assert "per_million" not in text
    assert "abuse" not in text


async def test_health_and_the_page_for_people_need_no_key(till: Till) -> None:
    # R-PLAT-3
    async with till.client.get(f"{till.url}/v1/health") as health:
        assert health.status == 200
        assert (await health.json())["engine"] == "sqlite"
    async with till.client.get(f"{till.url}/") as page:
        text = await page.text()
        assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert "sqlite" in text
    assert "openapi.json" in text
    assert "<script" not in text
    assert "http://" not in text
    assert "https://" not in text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/nothing"),
        ("GET", "/v1"),
        ("GET", "/v1/organizations/"),
        ("GET", "/v1//organizations"),
        ("GET", "/v1/organizations/acme/nothing"),
        ("POST", "/v1/organizations/acme/holds/"),
        ("GET", "/metrics/x"),
    ],
)
async def test_an_address_that_is_nothing(till: Till, method: str, path: str) -> None:
    reply = await till.ask(method, path)
    assert (reply.status, reply.code) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/v1/organizations", "GET, HEAD, POST"),
        ("GET", f"{ORG}/holds", "POST"),
        ("DELETE", f"{ORG}/balance", "GET, HEAD"),
        ("PATCH", "/metrics", "GET, HEAD"),
    ],
)
async def test_a_method_that_is_not_possible(till: Till, method: str, path: str, allow: str) -> None:
    reply = await till.ask(method, path)
    assert (reply.status, reply.code, reply.headers["Allow"]) == (405, "method_not_allowed", allow)


async def test_a_head_request_has_no_body(till: Till) -> None:
    reply = await till.ask("HEAD", f"{ORG}/balance")
    assert (reply.status, reply.raw) == (200, b"")
