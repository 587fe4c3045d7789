"""The battery of the abuse rules in front of real calls, in both APIs (R-ABU-1 … R-ABU-7)."""

from pathlib import Path
from typing import Any

from tests.support.gateways import CATALOG, Gateway, running_gateway
from tokentill.rules.entries import Alerted, Refused

# R-SALE-5

CHAT: dict[str, Any] = {"model": "big", "messages": [{"role": "user", "content": "answer=3"}]}
BOTH = {"/v1/chat/completions": CHAT, "/v1/messages": {**CHAT, "max_tokens": 20}}


def limited(limits: str) -> str:
    return CATALOG.replace("[abuse]\n", f"[abuse]\n{limits}\n")


async def recorded(gateway: Gateway, kind: type[Refused | Alerted]) -> list[Any]:
    page = await gateway.ledger.journal("acme")
    assert page is not None
    return [row.entry for row in page.rows if isinstance(row.entry, kind)]


async def test_so_many_calls_a_minute_and_an_alert_where_much_is_burnt(tmp_path: Path) -> None:
    # R-ABU-2, R-ABU-5, R-ABU-7: each answer names the layer and says when to come again; other keys are not touched.
    catalog = limited("requests_per_minute_max = 3\nburn_alert_tokens_per_hour = 10")
    async with running_gateway(tmp_path, catalog=catalog) as gateway:
        other = await gateway.open(0)
        for _ in range(3):
            assert (await gateway.ask("/v1/chat/completions", CHAT)).status == 200
        for path, body in BOTH.items():
            reply = await gateway.ask(path, body)
            error = reply.json["error"]
            assert (reply.status, error["type"], error["code"]) == (429, "rate_limit_error", "rate_limited")
            assert (error["tokentill"]["layer"], error["tokentill"]["filed"]) == ("abuse", "prevented")
            assert 50 < int(reply.headers["retry-after"]) <= 60
        assert (await gateway.ask("/v1/chat/completions", CHAT, key=other)).status == 200
        assert gateway.lab.calls == 4
        [refused] = await recorded(gateway, Refused)
        assert (refused.code, refused.status) == ("rate_limited", "prevented")
        [alert] = await recorded(gateway, Alerted)
        assert alert.code.startswith("burn")


async def test_so_many_seconds_between_two_calls(tmp_path: Path) -> None:
    # R-ABU-3
    async with running_gateway(tmp_path, catalog=limited("spacing_seconds_min = 3")) as gateway:
        assert (await gateway.ask("/v1/messages", BOTH["/v1/messages"])).status == 200
        reply = await gateway.ask("/v1/messages", BOTH["/v1/messages"])
        error = reply.json["error"]
        assert (reply.status, error["type"], error["code"]) == (429, "rate_limit_error", "too_soon")
        assert 1 <= int(reply.headers["retry-after"]) <= 3
        assert gateway.lab.calls == 1


async def test_so_many_tokens_a_call(tmp_path: Path) -> None:
    # R-ABU-1, R-ABU-4: what may be written is cut to what fits; what is read alone too much is refused, and not run.
    async with running_gateway(tmp_path, catalog=limited("tokens_per_request_max = 100")) as gateway:
        reply = await gateway.chat("answer=90", max_tokens=90)
        assert (reply.status, gateway.lab.asked[-1]["max_tokens"] < 80) == (200, True)
        assert reply.receipt["charged"] <= 100
        for _ in range(5):
            reply = await gateway.chat("word " * 100)
            assert (reply.status, reply.json["error"]["code"]) == (422, "too_large")
            assert reply.json["error"]["tokentill"]["layer"] == "abuse"
        # Each of these counts toward the block (R-ABU-6).
        assert (await gateway.chat("answer=3")).json["error"]["code"] == "blocked"
        assert gateway.lab.calls == 1
